(** T28: T6 is tight up to e/2 a token. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token sums regret scan negative_stability euler.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Alternating.
Variables (R : realFieldType) (n : nat).
Variables (M a b : R) (d1 u s1 s2 : 'rV[R]_n).
Notation s := (alternating s1 s2).
Notation d := (unprojected M^-1 (fun=> 1) (fun=> 1) 0 d1 s).
Notation C := (M * norm_sq (d1 - u)).
Notation sin_sq := (1 - (dot s1 s2 / M) ^+ 2).
Hypothesis M_gt0 : 0 < M.
Hypothesis norms : norm_sq s1 = M /\ norm_sq s2 = M.
Hypothesis fits : dot u s1 = 1 /\ dot u s2 = 1.
Hypothesis plane : d1 - u = a *: s1 + b *: s2.
Hypothesis ahead : dot (d1 - u) s2 = 0.

(** In the plane of both features and orthogonal to the one that comes next but one, the error is seen at one angle. *)
Lemma plane_gap (e x y : 'rV[R]_n) (p q : R) : norm_sq x = M -> norm_sq y = M -> dot x y ^+ 2 = dot s1 s2 ^+ 2 ->
  e = p *: x + q *: y -> dot e y = 0 -> dot e x ^+ 2 = M * sin_sq * norm_sq e.
Proof.
move=> xx yy cross eE orth; have nz : M != 0 by rewrite gt_eqF.
have eq1 : norm_sq e = p * dot e x by rewrite {1}/norm_sq {2}eE dotDr !dotZr orth mulr0 addr0.
have eq2 : dot e x = p * M + q * dot x y by rewrite eE dotDl !dotZl (dotC y) -xx.
have eq3 : p * dot x y + q * M = 0 by rewrite -orth eE dotDl !dotZl -yy.
rewrite eq1; have -> : M * sin_sq * (p * dot e x) = p * (M - dot s1 s2 ^+ 2 / M) * dot e x.
  by move: (dot s1 s2) (dot e x) => c g; field.
rewrite expr2; congr (_ * _); rewrite eq2 -cross; move: (dot x y) eq3 => c eq3.
have -> : q = - (p * c / M) by apply: (mulIf nz); rewrite mulNr mulfVK //; apply/eqP; rewrite -addr_eq0 addrC eq3.
by field.
Qed.

Lemma alternating_state t : exists p q, [/\ d t - u = p *: s t + q *: s t.+1, dot (d t - u) (s t.+1) = 0 &
  norm_sq (d t - u) = (1 - sin_sq) ^+ t * norm_sq (d1 - u)].
Proof.
have nz : M != 0 by rewrite gt_eqF.
have [n1 n2] := norms; have [f1 f2] := fits.
have norm_s t' : norm_sq (s t') = M by rewrite /alternating; case: ifP.
have fit t' : dot u (s t') = 1 by rewrite /alternating; case: ifP.
have cross t' : dot (s t') (s t'.+1) ^+ 2 = dot s1 s2 ^+ 2.
  by rewrite /alternating /=; case: (odd t') => //=; rewrite (dotC s2).
elim: t => [|t [p [q [eE orth size]]]]; first by exists a, b; rewrite expr0 mul1r.
have back : s t.+2 = s t by rewrite /alternating /= negbK.
have gap := plane_gap (norm_s t) (norm_s t.+1) (cross t) eE orth.
set g := dot (d t - u) (s t) in gap.
have step : d t.+1 - u = (d t - u) - (M^-1 * g) *: s t.
  rewrite /= calibrate_plain /g dotBl fit addrAC -scaleNr; congr (_ + _ *: _); ring.
exists q, (p - M^-1 * g); rewrite back step; split.
- by rewrite eE scalerBl addrAC addrC.
- by rewrite dotBl dotZl -/(norm_sq (s t)) norm_s -/g mulrAC mulVf // mul1r subrr.
rewrite norm_sqB norm_sqZ dotZr norm_s -/g [(1 - sin_sq) ^+ t.+1]exprS -[RHS]mulrA -size.
have -> : norm_sq (d t - u) - 2 * (M^-1 * g * g) + (M^-1 * g) ^+ 2 * M = norm_sq (d t - u) - g ^+ 2 / M.
  by field.
by rewrite gap; move: (norm_sq _) (dot s1 s2) => e c; field.
Qed.

(** T28. Two alternating features of one squared norm M, eta = 1/M, and a start whose error lies in their plane,
    orthogonal to the second: with C = M |d_1 - u|^2, T5's constant, and sin^2 of their angle,
    prod_{t < T} (1 - a_t)^2 = (C sin^2)^T (1 - sin^2)^(T (T - 1) / 2). *)
Theorem T28_alternating_product T :
  \prod_(t < T) (1 - dot (d t) (s t)) ^+ 2 = (C * sin_sq) ^+ T * (1 - sin_sq) ^+ 'C(T, 2).
Proof.
have [n1 n2] := norms; have [f1 f2] := fits.
have norm_s t' : norm_sq (s t') = M by rewrite /alternating; case: ifP.
have fit t' : dot u (s t') = 1 by rewrite /alternating; case: ifP.
have cross t' : dot (s t') (s t'.+1) ^+ 2 = dot s1 s2 ^+ 2.
  by rewrite /alternating /=; case: (odd t') => //=; rewrite (dotC s2).
elim: T => [|T IH]; first by rewrite big_ord0 !expr0 mulr1.
have [p [q [eE orth size]]] := alternating_state T.
have gap := plane_gap (norm_s T) (norm_s T.+1) (cross T) eE orth.
rewrite big_ord_recr /= IH binS bin1 exprD [(C * sin_sq) ^+ T.+1]exprS.
have -> : (1 - dot (d T) (s T)) ^+ 2 = C * sin_sq * (1 - sin_sq) ^+ T.
  have -> : (1 - dot (d T) (s T)) ^+ 2 = dot (d T - u) (s T) ^+ 2 by rewrite dotBl fit -sqrrN opprB.
  by rewrite gap size; move: ((1 - sin_sq) ^+ T) (norm_sq _) (dot s1 s2) => e N c; ring.
by move: ((1 - sin_sq) ^+ T) ((1 - sin_sq) ^+ 'C(T, 2)) (C * sin_sq) ((C * sin_sq) ^+ T) => e f g h; ring.
Qed.

End Alternating.

(** T28. So T6 cannot be improved by more than e/2 a token: where the cosine is 1 - 1/(T + 1), for every number e that no
    (1 + 1/m)^m exceeds, such as Euler's, prod_{t < T} (1 - a_t)^2 >= (2/e)^T (C / T)^T. *)
Theorem T28_tight (R : archiFieldType) n (M a b e : R) (d1 u s1 s2 : 'rV[R]_n) T :
  let C := M * norm_sq (d1 - u) in
  let d := unprojected M^-1 (fun=> 1) (fun=> 1) 0 d1 (alternating s1 s2) in
  0 < M -> norm_sq s1 = M /\ norm_sq s2 = M -> dot u s1 = 1 /\ dot u s2 = 1 ->
  d1 - u = a *: s1 + b *: s2 -> dot (d1 - u) s2 = 0 ->
  (forall m, (1 + m%:R^-1) ^+ m <= e) -> (0 < T)%N -> dot s1 s2 / M = 1 - (T%:R + 1)^-1 ->
  (2 / e) ^+ T * (C / T%:R) ^+ T <= \prod_(t < T) (1 - dot (d t) (alternating s1 s2 t)) ^+ 2.
Proof.
move=> C d M_gt0 norms fits plane ahead euler T_gt0 angle.
rewrite (T28_alternating_product M_gt0 norms fits plane ahead) angle -/C -exprMn subKr.
have T_pos : 0 < T%:R :> R by rewrite ltr0n.
have T1_pos : 0 < T%:R + 1 :> R by rewrite addr_gt0 ?ltr01.
set z := 1 - (T%:R + 1)^-1; have zE : z = T%:R / (T%:R + 1) by rewrite /z; field; rewrite gt_eqF.
have C_ge0 : 0 <= C by rewrite mulr_ge0 ?norm_sq_ge0 ?ltW.
have e_gt0 : 0 < e by apply: lt_le_trans (euler 0%N); rewrite expr0 ltr01.
have two_pairs : ('C(T, 2) * 2 = T.-1 * T)%N by rewrite mulnC -mul_bin_diag bin1 mulnC.
rewrite -exprM mulnC two_pairs exprM -exprMn; apply: ler_expn2r.
- by rewrite nnegrE; apply: mulr_ge0; apply: divr_ge0; rewrite ?ler0n // ltW.
- have z_ge0 : 0 <= z by rewrite zE divr_ge0 ?ltW.
  have z_le1 : z <= 1 by rewrite ger_addl oppr_le0 invr_ge0 ltW.
  have square : z ^+ 2 <= 1 by rewrite exprn_ile1.
  by rewrite nnegrE; apply: mulr_ge0; rewrite ?exprn_ge0 // mulr_ge0 ?subr_ge0.
have -> : C * (1 - z ^+ 2) * z ^+ T.-1 = shrink R T * (C / T%:R).
  have powers (y : R) : y ^+ T = y * y ^+ T.-1 by rewrite -exprS prednK.
  rewrite zE /shrink !expr_div_n [(T%:R + 1) ^+ T.+1]exprS !powers.
  have y_nz := lt0r_neq0 T_pos; have y1_nz := lt0r_neq0 T1_pos; have Q_nz := expf_neq0 T.-1 y1_nz.
  move: (T%:R : R) ((T%:R : R) ^+ T.-1) ((T%:R + 1 : R) ^+ T.-1) y_nz y1_nz Q_nz => y P Q y_nz y1_nz Q_nz.
  by field; rewrite Q_nz y_nz y1_nz.
by apply: ler_wpmul2r; [rewrite divr_ge0 // ltW|exact: shrink_above].
Qed.
