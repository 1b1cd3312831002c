(** T29: with its gains given, the scan moves each feature by maps x |-> min(h, max(l, a x + b)). They are closed under
    composition, so a sweep is an associative scan. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors projection driven sweeps.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Maps.
Variable R : realFieldType.

(** a, b, l and h of x |-> min(h, max(l, a x + b)) *)
Definition clip_affine : Type := R * R * R * R.
Implicit Types f g h : clip_affine.
Definition slope f : R := f.1.1.1.
Definition offset f : R := f.1.1.2.
Definition low f : R := f.1.2.
Definition high f : R := f.2.

Definition apply f x : R := clip1 (low f) (high f) (slope f * x + offset f).

(** g after f *)
Definition after g f : clip_affine :=
  (slope g * slope f, slope g * offset f + offset g, apply g (low f), apply g (high f)).

Lemma apply_le g x y : 0 <= slope g -> x <= y -> apply g x <= apply g y.
Proof. by move=> pos xy; rewrite clip1_le // ler_add2r ler_wpmul2l. Qed.

Lemma monotone_min (m : R -> R) : {homo m : x y / x <= y} -> forall x y, m (Num.min x y) = Num.min (m x) (m y).
Proof. by move=> mono x y; case: (leP x y) => [|/ltW] /mono le; rewrite ?(min_l le) ?(min_r le). Qed.

Lemma monotone_max (m : R -> R) : {homo m : x y / x <= y} -> forall x y, m (Num.max x y) = Num.max (m x) (m y).
Proof. by move=> mono x y; case: (leP x y) => [|/ltW] /mono le; rewrite ?(max_l le) ?(max_r le). Qed.

(** Clipping twice, the inner faces inside the outer ones. *)
Lemma clip1_clip1 (lo hi l h x : R) : lo <= l <= hi -> lo <= h <= hi -> l <= h ->
  clip1 l h (clip1 lo hi x) = clip1 l h x.
Proof.
move=> /andP[lo_l l_hi] /andP[lo_h h_hi] lh.
have [x_lo|lo_x] := leP x lo.
  have -> : clip1 lo hi x = lo by rewrite /clip1 max_r // min_l // (le_trans lo_l).
  by rewrite /clip1 !max_r // (le_trans x_lo).
have [x_hi|hi_x] := leP x hi; first by rewrite (@clip1_id _ lo hi x) // ltW.
have -> : clip1 lo hi x = hi by rewrite /clip1 max_l ?(ltW lo_x) // min_r // ltW.
by rewrite /clip1 !max_l ?min_r // ?(ltW (le_lt_trans _ hi_x)) // (le_trans h_hi) // ltW.
Qed.

(** T29. The composition of two maps is a map, for slopes that are not negative and faces in order. *)
Theorem T29_composition g f x : 0 <= slope g -> low f <= high f -> low g <= high g ->
  apply (after g f) x = apply g (apply f x).
Proof.
move=> pos faces_f faces_g; have mono : {homo apply g : y z / y <= z} by move=> y z; exact: apply_le.
have inside y : low g <= apply g y <= high g by exact: clip1_in.
have through (l h y : R) : apply g (clip1 l h y) = clip1 (apply g l) (apply g h) (apply g y).
  by rewrite {2}/clip1 monotone_min // monotone_max.
rewrite [apply f x]/apply through [apply g (_ + _)]/apply clip1_clip1 ?inside ?mono //.
by rewrite [LHS]/apply; congr clip1; rewrite /slope /offset /=; ring.
Qed.

(** T29. Composition is associative, as maps and as quadruples. *)
Theorem T29_associative f g h : 0 <= slope h -> low g <= high g -> low h <= high h ->
  after h (after g f) = after (after h g) f.
Proof.
move=> pos faces_g faces_h.
rewrite [LHS]/after [RHS]/after -!T29_composition //; congr (_, _, _, _); rewrite /slope /offset /after /=; ring.
Qed.

End Maps.

Section Scan.
Variables (R : realFieldType) (n : nat) (gamma : nat -> R) (c lo hi d1 : 'rV[R]_n) (x : nat -> 'rV[R]_n) (u : nat -> R).

(** Token t's map of feature i, given its gain. *)
Definition token_map i t : clip_affine R :=
  (gamma t, c 0 i - gamma t * c 0 i + u t * x t 0 i, lo 0 i, hi 0 i).

(** T29. The driven run applies the maps of its tokens, feature by feature. *)
Theorem T29_token_map i t :
  driven d1 (gain_step gamma c lo hi x) u t.+1 0 i =
  apply (token_map i t) (driven d1 (gain_step gamma c lo hi x) u t 0 i).
Proof. by rewrite /= /apply /slope /offset /low /high !mxE /=; congr clip1; entries; ring. Qed.

(** The maps of tokens 0 to t, composed in order; any bracketing gives the same. *)
Fixpoint joined i t : clip_affine R := if t is t'.+1 then after (token_map i t'.+1) (joined i t') else token_map i 0.

Theorem T29_joined i t : (forall t, 0 <= gamma t) -> lo 0 i <= hi 0 i ->
  driven d1 (gain_step gamma c lo hi x) u t.+1 0 i = apply (joined i t) (d1 0 i).
Proof.
move=> gates faces.
have inside s : low (joined i s) <= high (joined i s).
  elim: s => //= s IH; apply: apply_le => //; exact: gates.
elim: t => [|t IH]; rewrite T29_token_map // IH /= T29_composition //; exact: gates.
Qed.

End Scan.
