(** Finite sums and products over the tokens t < T: potentials that telescope, the inequality between the
    arithmetic and the geometric mean, Cauchy-Schwarz. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Field.
Variable R : realFieldType.
Implicit Types (x y : nat -> R) (T : nat).

(** Inequalities with the same slack: the rest is ring arithmetic. *)
Lemma le_same_slack (a b c d : R) : a <= b -> b - a = d - c -> c <= d.
Proof. by rewrite -subr_ge0 => pos same; rewrite -subr_ge0 -same. Qed.

(** A potential D that pays for [loss] and is refilled by [gain]. *)
Lemma potential_sum (D loss gain : nat -> R) T :
  (forall t, (t < T)%N -> D t.+1 + loss t <= D t + gain t) ->
  D T + \sum_(t < T) loss t <= D 0%N + \sum_(t < T) gain t.
Proof.
elim: T => [|T IH] step; first by rewrite !big_ord0.
rewrite !big_ord_recr /=.
have paid := ler_add (IH (fun t lt => step t (ltnW lt))) (step T (ltnSn T)).
move: (\sum_(t < T) loss t) (\sum_(t < T) gain t) paid => losses gains paid.
apply: (le_same_slack paid).
ring.
Qed.

(** A non-negative potential pays at most what it holds at the start. *)
Lemma potential_pays (D loss : nat -> R) T :
  (forall t, 0 <= D t) -> (forall t, (t < T)%N -> D t.+1 + loss t <= D t) ->
  \sum_(t < T) loss t <= D 0%N.
Proof.
move=> D_ge0 step; have := @potential_sum D loss (fun=> 0) T.
rewrite [X in _ <= _ + X]big1 // addr0 => paid.
by apply: (le_trans _ (paid _)) => [|t lt]; rewrite ?addr0 ?step // ler_addr.
Qed.

(** The geometric mean is at most the arithmetic mean, which is at most C / T. *)
Lemma product_le_mean_power x (C : R) T :
  (forall t, (t < T)%N -> 0 <= x t) -> \sum_(t < T) x t <= C ->
  \prod_(t < T) x t <= (C / T%:R) ^+ T.
Proof.
move=> x_ge0 sum_le; case: T x_ge0 sum_le => [|T] x_ge0 sum_le; first by rewrite big_ord0 expr0.
have pos : {in 'I_T.+1, forall t : 'I_T.+1, 0 <= x t} by move=> t _; apply: x_ge0.
have [agm _] := leif_AGM pos; rewrite card_ord in agm; apply: (le_trans agm).
have sum_ge0 : 0 <= \sum_(t < T.+1) x t by apply: sumr_ge0 => t _; apply: pos.
apply: ler_expn2r; rewrite ?nnegrE ?divr_ge0 ?ler0n ?(le_trans sum_ge0) //.
by rewrite ler_pmul2r // invr_gt0 ltr0Sn.
Qed.

Lemma sum_all_equal x (c : R) T : (forall t, x t = c) -> \sum_(t < T) x t = T%:R * c.
Proof. by move=> same; rewrite (eq_bigr (fun=> c)) // sumr_const card_ord mulr_natl. Qed.

Lemma prod_all_equal x (c : R) T : (forall t, x t = c) -> \prod_(t < T) x t = c ^+ T.
Proof. by move=> same; rewrite (eq_bigr (fun=> c)) // prodr_const card_ord. Qed.

(** (sum x y)^2 <= (sum x^2) (sum y^2) *)
Lemma cauchy_schwarz_sum x y T :
  (\sum_(t < T) x t * y t) ^+ 2 <= (\sum_(t < T) x t ^+ 2) * (\sum_(t < T) y t ^+ 2).
Proof.
have row_dot x' y' : dot (\row_(t < T) x' t) (\row_(t < T) y' t) = \sum_(t < T) x' t * y' t :> R.
  by apply: eq_bigr => t _; rewrite !mxE.
have := cauchy_schwarz (\row_(t < T) x t) (\row_(t < T) y t).
by rewrite /norm_sq !row_dot.
Qed.

End Field.

Section Squares.
Variable R : realFieldType.
Implicit Types a b : R.

(** 2 a b <= a^2 + b^2 *)
Lemma two_mul_le a b : 2 * (a * b) <= a ^+ 2 + b ^+ 2.
Proof.
rewrite -subr_ge0; have -> : a ^+ 2 + b ^+ 2 - 2 * (a * b) = (a - b) ^+ 2 by ring.
exact: sqr_ge0.
Qed.

(** x^2 <= M x with M at least 0 where x is 0: the square cancels. *)
Lemma le_of_sqr_le a b : 0 <= a -> 0 <= b -> a ^+ 2 <= b * a -> a <= b.
Proof.
move=> a_ge0 b_ge0; have [->//|a_neq0] := eqVneq a 0.
by rewrite expr2 ler_pmul2r // lt_def a_neq0.
Qed.

End Squares.
