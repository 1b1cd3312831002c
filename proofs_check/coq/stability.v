(** T16 over many steps, and what holds of a metric that moves: the multi-step bound of T27. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token sums chunk lyapunov.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section ManySteps.
Variables (R : realFieldType) (p n : nat).
Implicit Types (target : 'M[R]_(p, n)) (k d : nat -> 'rV[R]_n) (beta : nat -> R) (T : nat).

(** T16, many steps. With one d throughout, on a realisable stream, the tokens account for all of the decrease:
    V(E_T) = V(E_0) - sum_{t < T} beta_t (2 - beta_t a_t) |E_t k_t|^2. *)
Theorem T16_many_steps target k (d : 'rV[R]_n) beta (S0 : 'M[R]_(p, n)) T :
  let S := memory k (fun=> d) (fun t => k t *m target^T) beta S0 in
  (forall i, d 0 i != 0) ->
  lyapunov d (S T - target) = lyapunov d (S0 - target) -
    \sum_(t < T) beta t * (2 - beta t * alignment d (feature (k t))) * norm_sq (k t *m (S t - target)^T).
Proof.
move=> S nz; elim: T => [|T IH]; first by rewrite big_ord0 subr0.
by rewrite big_ord_recr /= opprD addrA -IH T16_lyapunov_identity.
Qed.

(** max_i d_{t,i} / d_{t+1,i}: what changing the metric after token t costs at most. *)
Definition metric_cost d t : R := \big[Num.max/0]_(i < n) (d t 0 i / d t.+1 0 i).

Lemma metric_cost_ge0 d t : 0 <= metric_cost d t.
Proof. by rewrite /metric_cost; elim/big_rec: _ => // i x _ x_ge0; rewrite le_maxr x_ge0 orbT. Qed.

(** T27, what does hold. If d_t > 0 and 0 <= beta_t a_t <= 2 throughout, on a realisable stream:
    V(d_T, E_T) <= (prod_{t < T} max_i d_{t,i} / d_{t+1,i}) V(d_0, E_0). *)
Theorem T27_product_bound target k d beta (S0 : 'M[R]_(p, n)) T :
  let S := memory k d (fun t => k t *m target^T) beta S0 in
  (forall t, (t <= T)%N -> forall i, 0 < d t 0 i) ->
  (forall t, (t < T)%N -> 0 <= beta t * alignment (d t) (feature (k t)) <= 2) ->
  lyapunov (d T) (S T - target) <= (\prod_(t < T) metric_cost d t) * lyapunov (d 0%N) (S0 - target).
Proof.
move=> S pos steps.
suff bound t : (t <= T)%N ->
    lyapunov (d t) (S t - target) <= (\prod_(j < t) metric_cost d j) * lyapunov (d 0%N) (S0 - target).
  exact: bound.
elim: t => [|t IH] tT; first by rewrite big_ord0 mul1r.
apply: (le_trans (T16_metric_change_max _ _ (pos t (ltnW tT)))).
rewrite big_ord_recr /= -mulrA mulrCA; apply: ler_wpmul2l; first exact: metric_cost_ge0.
apply: le_trans (T16_contraction _ _ (pos t (ltnW tT)) (steps t tT)) _.
exact: IH (ltnW tT).
Qed.

End ManySteps.
