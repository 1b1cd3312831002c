(** Recurrences driven by given gains: d_{t+1} = step_t(d_t, u_t), where the recurrence itself would use the gain
    out_t(d_t). Sweeping, u |-> out(d(u)), finds its gains; entry by entry Lipschitz constants say how fast. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors causal.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(** |u|, entry by entry *)
Definition magnitude (R : realFieldType) n (u : 'rV[R]_n) : 'rV[R]_n := \row_i `|u 0 i|.

Section Driven.
Variables (R : realFieldType) (n : nat) (start : 'rV[R]_n).
Variables (step : nat -> 'rV[R]_n -> R -> 'rV[R]_n) (out : nat -> 'rV[R]_n -> R).
Implicit Types (u v e : nat -> R) (d : 'rV[R]_n) (t j m T : nat).

(** The run driven by u, and the gains that it would have wanted. *)
Fixpoint driven u t : 'rV[R]_n := if t is t'.+1 then step t' (driven u t') (u t') else start.
Definition sweep u t : R := out t (driven u t).

(** The recurrence itself, and its gains. *)
Fixpoint solved t : 'rV[R]_n := if t is t'.+1 then step t' (solved t') (out t' (solved t')) else start.
Definition solved_gain t : R := out t (solved t).

Lemma driven_ext u v T : (forall t, (t < T)%N -> u t = v t) -> driven u T = driven v T.
Proof. by elim: T => [|T IH] same //=; rewrite same // IH // => t tT; rewrite same // ltnW. Qed.

Lemma driven_solved T u : (forall t, (t < T)%N -> u t = solved_gain t) -> driven u T = solved T.
Proof. by elim: T => [|T IH] same //=; rewrite same // IH // => t tT; rewrite same // ltnW. Qed.

Lemma sweep_solved t : sweep solved_gain t = solved_gain t.
Proof. by rewrite /sweep driven_solved. Qed.

Lemma sweep_fixed_only u T : (forall t, (t < T)%N -> sweep u t = u t) ->
  forall t, (t < T)%N -> u t = solved_gain t.
Proof.
move=> fixed; elim/ltn_ind => t IH tT; rewrite -fixed // /sweep driven_solved // => j jt.
by apply: IH => //; exact: ltn_trans tT.
Qed.

Lemma sweeps_exact u m t : (t < m)%N -> iter m sweep u t = solved_gain t.
Proof.
elim: m t => // m IH t tm; rewrite iterS /sweep driven_solved // => j jt.
by apply: IH; exact: leq_trans jt _.
Qed.

Variables (keep : nat -> R) (push pull : nat -> 'rV[R]_n).

(** What a change e of the gains does to the run, at most: a run without a box, and its read. *)
Fixpoint carried e t : 'rV[R]_n := if t is t'.+1 then keep t' *: carried e t' + e t' *: push t' else 0.
Definition spread e t : R := dot (pull t) (carried e t).

(** N_tj: what gain j does to gain t, at most. *)
Definition coupling t j : R := (\prod_(j.+1 <= i < t) keep i) * dot (pull t) (push j).

Lemma carried_sum e t : carried e t = \sum_(j < t) (e j * \prod_(j.+1 <= i < t) keep i) *: push j.
Proof.
elim: t => [|t IH] /=; first by rewrite big_ord0.
rewrite big_ord_recr /= big_geq // mulr1 IH scaler_sumr; congr (_ + _); apply: eq_bigr => j _.
rewrite scalerA [in RHS]big_nat_recr //=; congr (_ *: _); ring.
Qed.

Lemma spread_causal e t : spread e t = causal coupling e t.
Proof.
rewrite /spread carried_sum dot_sumr; apply: eq_bigr => j _.
by rewrite dotZr /coupling; atoms; ring.
Qed.

Hypothesis keep_ge0 : forall t, 0 <= keep t.
Hypothesis push_ge0 : forall t i, 0 <= push t 0 i.
Hypothesis pull_ge0 : forall t i, 0 <= pull t 0 i.
Hypothesis step_close : forall t d d' x y i,
  `|step t d x 0 i - step t d' y 0 i| <= keep t * `|d 0 i - d' 0 i| + `|x - y| * push t 0 i.
Hypothesis out_close : forall t d d', `|out t d - out t d'| <= dot (pull t) (magnitude (d - d')).

Lemma coupling_ge0 t j : (j < t)%N -> 0 <= coupling t j.
Proof.
move=> _; rewrite mulr_ge0 ?prodr_ge0 //; apply: sumr_ge0 => i _; by rewrite mulr_ge0.
Qed.

Lemma driven_close u v t i :
  `|driven u t 0 i - driven v t 0 i| <= carried (fun j => `|u j - v j|) t 0 i.
Proof.
elim: t => [|t IH] /=; first by rewrite subrr normr0 mxE.
apply: (le_trans (step_close _ _ _ _ _ _)); rewrite !mxE ler_add2r.
exact: ler_wpmul2l.
Qed.

(** |Phi(u) - Phi(v)| <= N |u - v| *)
Lemma sweep_close u v t : `|sweep u t - sweep v t| <= causal coupling (fun j => `|u j - v j|) t.
Proof.
rewrite -spread_causal; apply: (le_trans (out_close _ _ _)); apply: ler_sum => i _.
by apply: ler_wpmul2l => //; rewrite !mxE driven_close.
Qed.

Lemma sweeps_close u m t :
  `|iter m sweep u t - solved_gain t| <= iter m (causal coupling) (fun j => `|u j - solved_gain j|) t.
Proof.
elim: m t => // m IH t; rewrite -sweep_solved; apply: (le_trans (sweep_close _ _ _)).
by rewrite [iter m.+1 (causal _) _]iterS; apply: causal_le => [|j _]; [exact: coupling_ge0|exact: IH].
Qed.

(** What v misses by being no fixed point bounds how far it is from the fixed point. *)
Lemma defect_close v r T : (forall t, (t < T)%N -> `|v t - sweep v t| <= r t) ->
  forall t, (t < T)%N -> `|v t - solved_gain t| <=
    causal coupling (fun j => `|v j - solved_gain j|) t + r t.
Proof.
move=> defect t tT; have := ler_dist_add (sweep v t) (v t) (solved_gain t).
move/le_trans; apply; rewrite addrC; apply: ler_add; last exact: defect.
by rewrite -[X in _ - X]sweep_solved; exact: sweep_close.
Qed.

End Driven.
