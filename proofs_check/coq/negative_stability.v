(** T27: writes contract in a metric that moves with d, and in no fixed one: the error of a run whose every step
    contracts can grow for ever. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors projection chunk.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(** x, y, x, y, ... *)
Definition alternating A (x y : A) (t : nat) : A := if odd t then y else x.

Section Growth.
Variable R : realFieldType.
Implicit Types x y z l h : R.

(** Two numbers as a row. *)
Definition pair_row x y : 'rV[R]_2 := \row_i (if i == 0 then x else y).

Lemma dot_pair x y x' y' : dot (pair_row x y) (pair_row x' y') = x * x' + y * y'.
Proof. by rewrite /dot !big_ord_recl big_ord0 !mxE addr0. Qed.

Lemma had_pair x y x' y' : had (pair_row x y) (pair_row x' y') = pair_row (x * x') (y * y').
Proof. by apply/rowP => i; rewrite !mxE; case: ifP. Qed.

(** A quotient of natural numbers below another one. *)
Lemma quotient_le (a b c e : nat) : (0 < b)%N -> (0 < e)%N -> (a * e <= c * b)%N -> a%:R / b%:R <= c%:R / e%:R :> R.
Proof.
move=> b_gt0 e_gt0 le; rewrite ler_pdivr_mulr ?ltr0n // mulrAC ler_pdivl_mulr ?ltr0n //.
by rewrite -!natrM ler_nat.
Qed.

Let key1 := pair_row (- 3 / 5) (4 / 5).
Let key2 := pair_row (4 / 5) (3 / 5).
Let low := pair_row (17 / 14) (9 / 7).
Let high := pair_row (9 / 7) (17 / 14).
Let eta : R := 25 / 28 * (125 / 91).
Let anchor : 'rV[R]_2 := const_mx (43 / 21 * (5 / 7)).
Let lo : 'rV[R]_2 := const_mx (2 / 3).
Let hi : 'rV[R]_2 := const_mx (3 / 2).
Let d := scan eta (fun=> 1) (fun=> 1 / 4) anchor lo hi low (fun t => feature (alternating key1 key2 t)).

Lemma both_in_box : in_box lo hi low /\ in_box lo hi high.
Proof. by split=> i; rewrite !mxE; case: ifP => _; rewrite !quotient_le. Qed.

Lemma calibrated : calibrate eta 1 (1 / 4) anchor lo hi low (feature key1) = high /\
  calibrate eta 1 (1 / 4) anchor lo hi high (feature key2) = low.
Proof.
have [low_box high_box] := both_in_box.
split; rewrite /eta /calibrate /calibrate_free /feature !had_pair dot_pair.
  rewrite (_ : _ + _ = high) ?clip_id //; apply/rowP => i; rewrite !mxE; case: ifP => _; by field.
rewrite (_ : _ + _ = low) ?clip_id //; apply/rowP => i; rewrite !mxE; case: ifP => _; by field.
Qed.

Lemma dE t : d t = alternating low high t.
Proof.
elim: t => // t IH.
have -> : d t.+1 = calibrate eta 1 (1 / 4) anchor lo hi (d t) (feature (alternating key1 key2 t)) by [].
by rewrite IH /alternating /=; case: (odd t); [exact: (proj2 calibrated)|exact: (proj1 calibrated)].
Qed.

Let S := memory (alternating key1 key2) d (fun=> 0 : 'rV[R]_1) (fun=> 11 / 7) (key1 - key2).

(** What a write does to the read along u. *)
Lemma read_step t u : dot u (S t.+1) =
  dot u (S t) - 11 / 7 * dot (alternating key1 key2 t) (S t) * dot u (had (d t) (alternating key1 key2 t)).
Proof.
rewrite /S memoryS -/S /write /residual sub0r dot_mx dotDr dotZr linearN /= mulNmx tr_scalar_mx mul_scalar_mx.
by rewrite dotNr dotZr mulrN mulrA.
Qed.

(** Over a period the reads p of key1 and q of key2 become -(1.02...) p + ..., so p - q grows in size by 1.03. *)
Lemma period_step m : let p := dot key1 (S m.*2) in let q := dot key2 (S m.*2) in
  dot key1 (S m.+1.*2) = - (49 / 50 + (66 / 1225) ^+ 2) * p + 66 / 1225 * q /\
  dot key2 (S m.+1.*2) = 49 / 50 * (66 / 1225 * p - q).
Proof.
move=> p q.
have even : alternating key1 key2 m.*2 = key1 /\ d m.*2 = low by rewrite dE /alternating odd_double.
have odd1 : alternating key1 key2 m.*2.+1 = key2 /\ d m.*2.+1 = high by rewrite dE /alternating /= odd_double.
have [k1 d1] := even; have [k2 d2] := odd1.
have step1 u : dot u (S m.*2.+1) = dot u (S m.*2) - 11 / 7 * p * dot u (had low key1) by rewrite read_step k1 d1.
have step2 u : dot u (S m.*2.+2) = dot u (S m.*2.+1) - 11 / 7 * dot key2 (S m.*2.+1) * dot u (had high key2).
  by rewrite read_step k2 d2.
rewrite doubleS !step2 !step1 -/p -/q !had_pair !dot_pair.
by split; field.
Qed.

(** The sign of p alternates, that of q is the other one, and |p| + |q| grows. *)
Lemma reads_grow m : let p := (-1) ^+ m * dot key1 (S m.*2) in let q := - ((-1) ^+ m * dot key2 (S m.*2)) in
  [/\ 0 <= p, 0 <= q & (103 / 100) ^+ m * 2 <= p + q].
Proof.
have nonneg (a b : nat) : 0 <= a%:R / b%:R :> R by rewrite divr_ge0 ?ler0n.
elim: m => [|m [p_ge0 q_ge0 grown]].
  rewrite /= !expr0 !mul1r /S /= !dotBr !dot_pair; split.
  - by rewrite (_ : _ - _ = 1) ?ler01 //; field.
  - by rewrite (_ : - _ = 1) ?ler01 //; field.
  by rewrite (_ : _ + _ = 2) ?lexx //; field.
have [-> ->] := period_step m; rewrite exprS mulN1r.
move: ((-1) ^+ m) (dot key1 _) (dot key2 _) p_ge0 q_ge0 grown => s p q p_ge0 q_ge0 grown.
set e := 49 / 50 : R; set h := 66 / 1225 : R.
have e_ge0 : 0 <= e := nonneg 49%N 50%N; have h_ge0 : 0 <= h := nonneg 66%N 1225%N.
split.
- have -> : - s * (- (e + h ^+ 2) * p + h * q) = (e + h ^+ 2) * (s * p) + h * (- (s * q)) by ring.
  by apply: addr_ge0; apply: mulr_ge0 => //; rewrite addr_ge0 ?sqr_ge0.
- have -> : - (- s * (e * (h * p - q))) = e * (h * (s * p) + - (s * q)) by ring.
  by apply: mulr_ge0 => //; apply: addr_ge0 => //; apply: mulr_ge0.
have -> : - s * (- (e + h ^+ 2) * p + h * q) + - (- s * (e * (h * p - q))) =
  (e + h ^+ 2 + e * h) * (s * p) + (h + e) * (- (s * q)) by ring.
rewrite exprS -mulrA; have rate1 : 103 / 100 <= h + e :> R.
  have -> : h + e = 2533 / 2450 by rewrite /h /e; field.
  by rewrite quotient_le.
have rate2 : h + e <= e + h ^+ 2 + e * h.
  rewrite -subr_ge0; have -> : e + h ^+ 2 + e * h - (h + e) = 66 / 1225 * (83 / 2450) by rewrite /h /e; field.
  by apply: mulr_ge0; [exact: nonneg 66%N 1225%N|exact: nonneg 83%N 2450%N].
apply: (le_trans (ler_wpmul2l (nonneg 103%N 100%N) grown)); rewrite mulrDr.
by apply: ler_add; apply: ler_wpmul2r => //; exact: le_trans rate2.
Qed.

(** T27. Without the cost of changing the metric the bound is false: unit keys that alternate, anchored APF inside
    [2/3, 3/2], every 0 <= beta a_t <= 2, values 0 (S* = 0), and the error |S|_F^2 grows by at least 1.03^2 in every
    period of two tokens, for ever. *)
Theorem T27_needs_metric_cost (t m : nat) :
  [/\ norm_sq (alternating key1 key2 t) = 1, forall i, 2 / 3 <= d t 0 i <= 3 / 2,
      0 <= 11 / 7 * alignment (d t) (feature (alternating key1 key2 t)) <= 2 &
      (103 / 100) ^+ (m * 2) * frob_sq (S 0) <= frob_sq (S m.*2)].
Proof.
split.
- rewrite /alternating; case: ifP => _; rewrite /norm_sq dot_pair; by field.
- have [low_box high_box] := both_in_box; move=> i; rewrite dE /alternating.
  by case: ifP => _; [have := high_box i|have := low_box i]; rewrite [lo 0 i]mxE [hi 0 i]mxE.
- have -> : 11 / 7 * alignment (d t) (feature (alternating key1 key2 t)) = 99 / 50.
    by rewrite dE /alternating /alignment /feature; case: ifP => _; rewrite had_pair dot_pair; field.
  by rewrite divr_ge0 ?ler0n //= ler_pdivr_mulr ?ltr0n // -natrM ler_nat.
have [p_ge0 q_ge0 grown] := reads_grow m.
have two_gt0 : 0 < 2 :> R by rewrite ltr0n.
have key_norm : norm_sq (key1 - key2) = 2 by rewrite norm_sqB /norm_sq !dot_pair; field.
have frobE (x : 'rV[R]_2) : frob_sq x = norm_sq x by rewrite /norm_sq dot_inner.
rewrite !frobE /S [memory _ _ _ _ _ 0]/= -/S key_norm -(ler_pmul2l two_gt0).
have := cauchy_schwarz (key1 - key2) (S m.*2); rewrite key_norm; apply: le_trans.
rewrite dotBl.
have -> : (dot key1 (S m.*2) - dot key2 (S m.*2)) ^+ 2 =
    ((-1) ^+ m * dot key1 (S m.*2) + - ((-1) ^+ m * dot key2 (S m.*2))) ^+ 2.
  by rewrite -mulrBr exprMn sqrr_sign mul1r.
rewrite exprM (_ : 2 * (((103 / 100) ^+ m) ^+ 2 * 2) = ((103 / 100) ^+ m * 2) ^+ 2); last by move: (_ ^+ m) => z; ring.
apply: ler_expn2r; rewrite ?nnegrE ?addr_ge0 //.
by rewrite mulr_ge0 ?ler0n ?exprn_ge0 ?divr_ge0 ?ler0n.
Qed.

End Growth.
