(** The projection onto the box: its values lie in the box, it fixes the box, and it is non-expansive. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(** As [atoms], for the entries of rows and matrices. *)
Ltac entries := atoms; repeat (let x := fresh "entry" in set x := (fun_of_matrix _ _ _); clearbody x).

Section Scalar.
Variable R : realFieldType.
Implicit Types lo hi x y : R.

Lemma clip1_in lo hi x : lo <= hi -> lo <= clip1 lo hi x <= hi.
Proof. by move=> le; rewrite /clip1 le_minr le_minl le_maxr le !lexx !orbT. Qed.

Lemma clip1_id lo hi x : lo <= x <= hi -> clip1 lo hi x = x.
Proof. by case/andP=> lo_x x_hi; rewrite /clip1 max_l // min_l. Qed.

(** Clipping keeps the order ... *)
Lemma clip1_le lo hi x y : x <= y -> clip1 lo hi x <= clip1 lo hi y.
Proof. by move=> xy; rewrite /clip1 le_minr !le_minl le_maxl !le_maxr xy !lexx !orbT. Qed.

(** ... and never stretches a difference. *)
Lemma clip1_sub_le lo hi x y : x <= y -> clip1 lo hi y - clip1 lo hi x <= y - x.
Proof.
move=> xy; rewrite ler_subl_addr /clip1.
have stretch : Num.max y lo <= y - x + Num.max x lo.
  by rewrite le_maxl addr_maxr subrK !le_maxr lexx ler_addr subr_ge0 xy orbT.
by rewrite addr_minr le_minr !le_minl stretch ler_addr subr_ge0 xy orbT.
Qed.

Lemma clip1_nonexpansive lo hi x y : (clip1 lo hi x - clip1 lo hi y) ^+ 2 <= (x - y) ^+ 2.
Proof.
wlog xy : x y / x <= y => [sym|].
  by case/orP: (le_total x y) => [/sym//|/sym]; rewrite -sqrrN opprB -(sqrrN (y - x)) opprB.
rewrite -sqrrN opprB -(sqrrN (x - y)) opprB; apply: ler_expn2r.
- by rewrite nnegrE subr_ge0 clip1_le.
- by rewrite nnegrE subr_ge0.
exact: clip1_sub_le.
Qed.

End Scalar.

Section Box.
Variables (R : realFieldType) (n : nat).
Implicit Types lo hi d u x y : 'rV[R]_n.

(** A box with a point in it is not empty in any coordinate. *)
Lemma in_box_sides lo hi u i : in_box lo hi u -> lo 0 i <= hi 0 i.
Proof. by move=> box; case/andP: (box i); apply: le_trans. Qed.

(** T5, T8, T14: the projection lands in the box. *)
Lemma clip_in_box lo hi u d : in_box lo hi u -> in_box lo hi (clip lo hi d).
Proof. by move=> box i; rewrite mxE clip1_in // (in_box_sides i box). Qed.

Lemma clip_id lo hi d : in_box lo hi d -> clip lo hi d = d.
Proof. by move=> box; apply/rowP => i; rewrite mxE clip1_id. Qed.

Lemma clip_idem lo hi u d : in_box lo hi u -> clip lo hi (clip lo hi d) = clip lo hi d.
Proof. by move=> box; apply: clip_id; apply: clip_in_box box. Qed.

(** |clip x - clip y|^2 <= |x - y|^2 *)
Lemma clip_nonexpansive lo hi x y : norm_sq (clip lo hi x - clip lo hi y) <= norm_sq (x - y).
Proof. by rewrite !norm_sqE; apply: ler_sum => i _; rewrite !mxE clip1_nonexpansive. Qed.

(** |clip x - u|^2 <= |x - u|^2 for a point u of the box. *)
Lemma clip_toward lo hi u x : in_box lo hi u -> norm_sq (clip lo hi x - u) <= norm_sq (x - u).
Proof. by move=> box; rewrite -{1}(clip_id box) clip_nonexpansive. Qed.

End Box.
