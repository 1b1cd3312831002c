(** Rows with one entry, for counterexamples with one feature. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section OneFeature.
Variable R : realFieldType.
Implicit Types x y lo hi eta : R.

(** A row with one entry. *)
Definition one x : 'rV[R]_1 := const_mx x.

Lemma dot_one x y : dot (one x) (one y) = x * y.
Proof. by rewrite /dot big_ord1 !mxE. Qed.

Lemma norm_sq_one x : norm_sq (one x) = x ^+ 2.
Proof. by rewrite /norm_sq dot_one. Qed.

Lemma one_sub x y : one x - one y = one (x - y).
Proof. by apply/rowP => i; rewrite !mxE. Qed.

Lemma in_box_one lo hi x : lo <= x <= hi -> in_box (one lo) (one hi) (one x).
Proof. by move=> inside i; rewrite !mxE. Qed.

Lemma surrogate_one x y : surrogate (one x) (one y) = (1 - x * y) ^+ 2 / 2.
Proof. by rewrite /surrogate dot_one. Qed.

Lemma calibrate_one eta gamma c lo hi x y :
  calibrate eta 1 gamma (one c) (one lo) (one hi) (one x) (one y) =
  one (clip1 lo hi (c + gamma * (x - c) + eta * (1 - x * y) * y)).
Proof.
by rewrite /calibrate /calibrate_free dot_one; apply/rowP => i; rewrite !mxE mulr1.
Qed.

Lemma zero_one : 0 = one 0 :> 'rV[R]_1.
Proof. by apply/rowP => i; rewrite !mxE. Qed.

Lemma plain_one eta lo hi x y :
  calibrate eta 1 1 0 (one lo) (one hi) (one x) (one y) = one (clip1 lo hi (x + eta * (1 - x * y) * y)).
Proof. by rewrite zero_one calibrate_one; congr (one (clip1 _ _ _)); ring. Qed.

Lemma clip1_low lo hi x : x <= lo -> lo <= hi -> clip1 lo hi x = lo.
Proof. by move=> low le; rewrite /clip1 max_r // min_l. Qed.

Lemma clip1_high lo hi x : lo <= hi -> hi <= x -> clip1 lo hi x = hi.
Proof. by move=> le high; rewrite /clip1 min_r // le_maxr high. Qed.

End OneFeature.
