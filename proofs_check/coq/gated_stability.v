(** Gates over many tokens: when they make the memory contract, and what feedback must know of the write gate. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token sums projection chunk lyapunov gated gated_chunk regret gates
  quadratic_regret stability fixed_point one_feature negative_stability.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Gated.
Variables (R : realFieldType) (p n : nat).
Implicit Types (S E : 'M[R]_(p, n)) (a b lo hi : R) (d k : 'rV[R]_n) (v : 'rV[R]_p).

(** A gate with alpha_i^2 <= a scales the metric by a at most. *)
Lemma gate_metric d (al : 'rV[R]_n) a S : (forall i, 0 < d 0 i) -> (forall i, al 0 i ^+ 2 <= a) ->
  lyapunov d (S *m diag_mx al) <= a * lyapunov d S.
Proof.
move=> pos gate; rewrite !lyapunovE mulr_sumr; apply: ler_sum => i _.
rewrite mulr_sumr; apply: ler_sum => j _; rewrite mul_mx_diag mxE exprMn mulrAC mulrC.
by apply: ler_wpmul2r; rewrite ?gate // divr_ge0 ?sqr_ge0 ?ltW.
Qed.

(** What two memories differ in is written over as a memory whose values are 0. *)
Lemma gated_difference (al : 'rV[R]_n) S S' k v d b :
  kda_write al S k v d b - kda_write al S' k v d b = write ((S - S') *m diag_mx al) k (k *m (0 : 'M[R]_(p, n))^T) d b - 0.
Proof.
rewrite /kda_write /write /residual subr0 trmx0 mulmx0 mulmxBl; move: (S *m _) (S' *m _) => A B.
have -> : 0 - k *m (A - B)^T = (v - k *m A^T) - (v - k *m B^T).
  by rewrite linearB /= mulmxBr sub0r !opprB [RHS]addrC subrKA.
move: (v - k *m A^T) (v - k *m B^T) => r r'.
by rewrite [(r - r')^T]linearB /= mulmxBl scalerBr opprD addrACA.
Qed.

(** T27 with gates, one step: alpha_i^2 <= a and 0 <= beta a_t <= 2 leave at most a of what two memories differ in. *)
Theorem T27_gated_contraction (al : 'rV[R]_n) a S S' k v d b :
  (forall i, 0 < d 0 i) -> 0 <= b * alignment d (feature k) <= 2 -> (forall i, al 0 i ^+ 2 <= a) ->
  lyapunov d (kda_write al S k v d b - kda_write al S' k v d b) <= a * lyapunov d (S - S').
Proof.
move=> pos step gate; rewrite gated_difference; apply: le_trans (gate_metric _ pos gate).
by have := T16_contraction 0 ((S - S') *m diag_mx al) pos step; rewrite [X in _ <= lyapunov _ X]subr0.
Qed.

(** T27 with gates, many steps, whatever the values are: two memories of the same tokens satisfy
    V(d_T, S_T - S_T') <= (prod_{t < T} a_t max_i d_{t,i} / d_{t+1,i}) V(d_0, S_0 - S_0'). *)
Theorem T27_gated_product (alpha k d : nat -> 'rV[R]_n) (v : nat -> 'rV[R]_p) (beta a : nat -> R) (S0 S0' : 'M[R]_(p, n)) T :
  let S := gated_memory alpha k d v beta S0 in
  let S' := gated_memory alpha k d v beta S0' in
  (forall t, (t <= T)%N -> forall i, 0 < d t 0 i) ->
  (forall t, (t < T)%N -> 0 <= beta t * alignment (d t) (feature (k t)) <= 2) ->
  (forall t, (t < T)%N -> 0 <= a t) -> (forall t, (t < T)%N -> forall i, alpha t 0 i ^+ 2 <= a t) ->
  lyapunov (d T) (S T - S' T) <= (\prod_(t < T) (a t * metric_cost d t)) * lyapunov (d 0%N) (S0 - S0').
Proof.
move=> S S' pos steps a_ge0 gates.
suff bound t : (t <= T)%N ->
    lyapunov (d t) (S t - S' t) <= (\prod_(j < t) (a j * metric_cost d j)) * lyapunov (d 0%N) (S0 - S0').
  exact: bound.
elim: t => [|t IH] tT; first by rewrite big_ord0 mul1r.
apply: (le_trans (T16_metric_change_max _ _ (pos t (ltnW tT)))).
rewrite big_ord_recr /= [a t * _]mulrC -mulrA mulrCA -[X in _ <= X]mulrA; apply: ler_wpmul2l; first exact: metric_cost_ge0.
apply: le_trans (T27_gated_contraction _ _ (v t) (pos t (ltnW tT)) (steps t tT) (gates t tT)) _.
by apply: ler_wpmul2l; [exact: a_ge0|exact: IH (ltnW tT)].
Qed.

(** T27 with gates, in the plain norm: with d in [lo, hi], a gate alpha_i^2 <= lo / hi makes every write contract. *)
Theorem T27_gated_norm (al : 'rV[R]_n) lo hi S S' k v d b :
  0 < lo -> lo <= hi -> (forall i, lo <= d 0 i <= hi) -> 0 <= b * alignment d (feature k) <= 2 ->
  (forall i, al 0 i ^+ 2 <= lo / hi) ->
  frob_sq (kda_write al S k v d b - kda_write al S' k v d b) <= frob_sq (S - S').
Proof.
move=> lo_gt0 lo_hi box step gate; have hi_gt0 := lt_le_trans lo_gt0 lo_hi.
have pos i : 0 < d 0 i by apply: lt_le_trans lo_gt0 _; case/andP: (box i).
have above E : frob_sq E <= hi * lyapunov d E.
  rewrite lyapunovE /frob_sq innerE mulr_sumr; apply: ler_sum => i _; rewrite mulr_sumr; apply: ler_sum => j _.
  by rewrite mulrA ler_pdivl_mulr // mulrC -expr2 ler_wpmul2r ?sqr_ge0 //; case/andP: (box j).
have below E : lo * lyapunov d E <= frob_sq E.
  rewrite lyapunovE /frob_sq innerE mulr_sumr; apply: ler_sum => i _; rewrite mulr_sumr; apply: ler_sum => j _.
  by rewrite mulrA ler_pdivr_mulr // -expr2 [X in _ <= X]mulrC ler_wpmul2r ?sqr_ge0 //; case/andP: (box j).
apply: le_trans (above _) _; apply: le_trans (below _).
have := T27_gated_contraction S S' v pos step gate; move: (lyapunov d (S - S')) => V contracts.
apply: le_trans (ler_wpmul2l (ltW hi_gt0) contracts) _.
by rewrite mulrA mulrCA mulfV ?mulr1 // gt_eqF.
Qed.

End Gated.

(** T17, T20. Feedback that knows the write gate has T20 in x_t = beta_t s_t, and its gaps are the roots of the residual
    ratios, whatever gate the state has: prod f_t(S_t) <= (X / T)^T prod f_t(S_{t-1} Diag(alpha_t)). *)
Theorem T17_beta_aware_token_losses (R : rcfType) p n eta M lo hi (d1 u : 'rV[R]_n) (alpha k : nat -> 'rV[R]_n)
    (v : nat -> 'rV[R]_p) (beta : nat -> R) (S0 : 'M[R]_(p, n)) T :
  let x t := beta t *: feature (k t) in
  let S := gated_memory alpha k (path eta lo hi d1 x) v beta S0 in
  in_box lo hi u -> (forall t, (t < T)%N -> norm_sq (x t) <= M) -> 0 < eta -> eta * M < 2 ->
  \prod_(t < T) token_loss (S t.+1) (k t) (v t) <=
  (quadratic_bound eta (2 - eta * M) (\sum_(t < T) (1 - beta t * dot u (feature (k t))) ^+ 2) (norm_sq (d1 - u)) / T%:R) ^+ T *
  \prod_(t < T) token_loss (S t *m diag_mx (alpha t)) (k t) (v t).
Proof.
move=> x S box small eta_gt0 eta_M.
have ratio t : token_loss (S t.+1) (k t) (v t) =
    gap eta lo hi d1 x t ^+ 2 * token_loss (S t *m diag_mx (alpha t)) (k t) (v t).
  by rewrite /S gated_memoryS T3_loss_identity /gap dotZr.
under eq_bigr do rewrite ratio; rewrite big_split /=; apply: ler_wpmul2r.
  by apply: prodr_ge0 => t _; rewrite divr_ge0 ?norm_sq_ge0 ?ler0n.
have <- : \sum_(t < T) (1 - dot u (x t)) ^+ 2 = \sum_(t < T) (1 - beta t * dot u (feature (k t))) ^+ 2.
  by apply: eq_bigr => t _; rewrite dotZr.
exact: (T20_super_geometric d1 box small eta_gt0 eta_M).
Qed.

(** T17. Plain feedback drives 1 - a_t to zero, and then a write leaves (1 - beta)^2 of the loss, whatever the gate is. *)
Theorem T17_plain_feedback_leaves (R : realFieldType) p n (alpha k d : 'rV[R]_n) (v : 'rV[R]_p) S beta :
  alignment d (feature k) = 1 ->
  token_loss (kda_write alpha S k v d beta) k v = (1 - beta) ^+ 2 * token_loss (S *m diag_mx alpha) k v.
Proof. by move=> fit; rewrite T17_kda fit mulr1. Qed.

(** T17. So feedback that does not know the write gate fails where that is not 1: one feature of 1, beta = 1/2, d_1 = 1,
    eta = 4 in the box [0, 3]. Plain feedback leaves 1/4 of every token's loss for ever; beta-aware feedback nothing from
    the second token on. *)
Theorem T17_needs_beta_aware (R : realFieldType) (t : nat) :
  let d s := path 4 (one 0) (one 3) (one 1) (fun=> one s : 'rV[R]_1) in
  (1 - 1 / 2 * dot (d 1 t) (one 1)) ^+ 2 = 1 / 4 /\ (1 - 1 / 2 * dot (d (1 / 2) t.+1) (one 1)) ^+ 2 = 0.
Proof.
move=> d.
have plain : d 1 t = one 1.
  by apply: fixed_path => [|t']; [apply: in_box_one; rewrite ler01 ler1n|rewrite dot_one mulr1].
have aware : d (1 / 2) t.+1 = one 2.
  have dS x y : calibrate 4 1 1 0 (one 0) (one 3) (one x) (one y) = one (clip1 0 3 (x + 4 * (1 - x * y) * y)) :> 'rV[R]_1.
    exact: plain_one.
  have stays : clip1 0 3 2 = 2 :> R by rewrite clip1_id // ler0n ler_nat.
  elim: t {plain} => [|t IH].
    rewrite /d /= dS; have -> : 1 + 4 * (1 - 1 * (1 / 2)) * (1 / 2) = 2 :> R by field.
    by rewrite stays.
  have -> : d (1 / 2) t.+2 = calibrate 4 1 1 0 (one 0) (one 3) (d (1 / 2) t.+1) (one (1 / 2)) by [].
  rewrite IH dS; have -> : 2 + 4 * (1 - 2 * (1 / 2)) * (1 / 2) = 2 :> R by field.
  by rewrite stays.
by rewrite plain aware !dot_one; split; field.
Qed.
