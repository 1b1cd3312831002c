(** What T28 needs of e: (2 - 1/(T+1)) (1 - 1/(T+1))^T is at least 2/e for every T, and comes as near as one likes.

    Without the exponential function, e is any number that no (1 + 1/m)^m exceeds. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(** ((1 + w) / (1 - w))^N <= (1 + N w) / (1 - N w): the inverse hyperbolic tangent is superadditive. *)
Lemma superadditive (R : realFieldType) (w : R) N : 0 <= w -> N%:R * w <= 1 ->
  (1 + w) ^+ N * (1 - N%:R * w) <= (1 + N%:R * w) * (1 - w) ^+ N.
Proof.
move=> w_ge0; elim: N => [|m IH] small; first by rewrite !expr0 mul0r subr0 addr0 !mulr1.
have mS : m.+1%:R = m%:R + 1 :> R by rewrite -addn1 natrD.
have [->|w_neq0] := eqVneq w 0; first by rewrite !mulr0 !addr0 !subr0 !expr1n.
have w_gt0 : 0 < w by rewrite lt_def w_neq0.
have before : 0 < 1 - m%:R * w.
  by rewrite subr_gt0; apply: lt_le_trans small; rewrite mS mulrDl mul1r ltr_addl.
have small_m : m%:R * w <= 1 by apply: ltW; rewrite -subr_gt0.
have {}IH := IH small_m.
rewrite -(ler_pmul2r before).
have keep : 0 <= (1 + w) * (1 - m.+1%:R * w) by apply: mulr_ge0; [rewrite addr_ge0 ?ler01|rewrite subr_ge0].
have -> : (1 + w) ^+ m.+1 * (1 - m.+1%:R * w) * (1 - m%:R * w) =
    (1 + w) ^+ m * (1 - m%:R * w) * ((1 + w) * (1 - m.+1%:R * w)).
  by rewrite exprS; move: ((1 + w) ^+ m) => P; ring.
apply: le_trans (ler_wpmul2r keep IH) _.
have w_le1 : w <= 1 by apply: le_trans small; rewrite mS mulrDl mul1r ler_addr mulr_ge0 ?ler0n.
rewrite exprS; set Q := (1 - w) ^+ m; have Q_ge0 : 0 <= Q by rewrite exprn_ge0 // subr_ge0.
rewrite -subr_ge0 mS; move: (m%:R : R) (ler0n R m) => y y_ge0.
have -> : (1 + (y + 1) * w) * ((1 - w) * Q) * (1 - y * w) - (1 + y * w) * Q * ((1 + w) * (1 - (y + 1) * w)) =
  Q * (2 * (y * (y + 1) * w ^+ 3)) by ring.
apply: mulr_ge0 => //; apply: mulr_ge0; first exact: ler0n.
by apply: mulr_ge0; [apply: mulr_ge0; rewrite ?addr_ge0 ?ler01|exact: exprn_ge0].
Qed.

Section Shrink.
Variable R : archiFieldType.

(** (2 - 1/(T+1)) (1 - 1/(T+1))^T *)
Definition shrink T : R := (2 * T%:R + 1) * T%:R ^+ T / (T%:R + 1) ^+ T.+1.

Lemma shrink_decreases n : shrink n.+1 <= shrink n.
Proof.
rewrite /shrink -[in n.+1%:R]addn1 natrD; move: (ler0n R n); set y : R := n%:R => y_ge0.
have x_gt0 : 0 < y + 1 by rewrite ltr_spaddr ?ltr01.
have x1_gt0 : 0 < y + 1 + 1 by rewrite addr_gt0 ?ltr01.
rewrite ler_pdivr_mulr ?exprn_gt0 // mulrAC ler_pdivl_mulr ?exprn_gt0 //.
set x := y + 1; set D := 2 * x ^+ 2 - 1.
have D_gt0 : 0 < D.
  have -> : D = 2 * y ^+ 2 + 4 * y + 1 by rewrite /D /x; ring.
  by apply: ltr_paddl; rewrite ?ltr01 // addr_ge0 // mulr_ge0 ?sqr_ge0 ?ler0n.
have N_x : n.+1%:R = x by rewrite -addn1 natrD.
have small : n.+1%:R * D^-1 <= 1.
  rewrite N_x ler_pdivr_mulr // mul1r -subr_ge0.
  have -> : D - x = y * (2 * y + 3) by rewrite /D /x; ring.
  by apply: mulr_ge0 => //; apply: addr_ge0; rewrite ?mulr_ge0 ?ler0n.
have D_ge0 : 0 <= D^-1 by rewrite invr_ge0 ltW.
have := superadditive D_ge0 small; rewrite N_x.
have D_nz : D != 0 by rewrite gt_eqF.
have -> : 1 + D^-1 = 2 * x ^+ 2 / D by rewrite /D in D_nz *; field.
have -> : 1 - D^-1 = 2 * (y * (x + 1)) / D by rewrite /D /x in D_nz *; field.
have -> : 1 - x / D = (2 * x + 1) * y / D by rewrite /D /x in D_nz *; field.
have -> : 1 + x / D = (2 * y + 1) * (x + 1) / D by rewrite /D /x in D_nz *; field.
rewrite !exprMn exprVn.
have scale_gt0 : 0 < 2 ^+ n.+1 * (D ^+ n.+1)^-1 * D^-1 by rewrite !mulr_gt0 ?invr_gt0 ?exprn_gt0 ?ltr0n.
have -> : 2 ^+ n.+1 * (x ^+ n.+1 * x ^+ n.+1) / D ^+ n.+1 * ((2 * x + 1) * y / D) =
    2 ^+ n.+1 / D ^+ n.+1 / D * ((2 * x + 1) * x ^+ n.+1 * x ^+ n.+1 * y).
  by move: (x ^+ n.+1) (2 ^+ n.+1) (D ^+ n.+1)^-1 D^-1 => P t e i; ring.
have -> : (2 * y + 1) * (x + 1) / D * (2 ^+ n.+1 * (y ^+ n.+1 * (x + 1) ^+ n.+1) / D ^+ n.+1) =
    2 ^+ n.+1 / D ^+ n.+1 / D * ((2 * y + 1) * y ^+ n * (x + 1) ^+ n.+2 * y).
  rewrite [(x + 1) ^+ n.+2]exprS [y ^+ n.+1]exprS.
  by move: ((x + 1) ^+ n.+1) (y ^+ n) (2 ^+ n.+1) (D ^+ n.+1)^-1 D^-1 => P Y t e i; ring.
rewrite ler_pmul2l //.
have [y0|y_nz] := eqVneq y 0; last by rewrite ler_pmul2r // lt_def y_nz.
move=> _; have -> : n = 0%N by apply/eqP; rewrite -(pnatr_eq0 R) -/y y0.
rewrite /x y0 expr0 -subr_ge0 (_ : _ - _ = 1) ?ler01 //; ring.
Qed.

(** No (2 - 1/(T+1)) (1 - 1/(T+1))^T is below 2/e. *)
Lemma shrink_above (e : R) T : (forall m, (1 + m%:R^-1) ^+ m <= e) -> 2 / e <= shrink T.
Proof.
move=> euler; have e_gt0 : 0 < e by apply: lt_le_trans (euler 0%N); rewrite expr0 ltr01.
have far M : (T <= M)%N -> shrink M <= shrink T.
  by move/subnK <-; elim: (M - T)%N => // j; exact: le_trans (shrink_decreases _).
have floor M : (2 - (M%:R + 1)^-1) / e <= shrink M.
  have [->|M_gt0] := posnP M.
    rewrite /shrink expr0 expr1 mulr0 !add0r invr1 !mulr1 (_ : 2 - 1 = 1); last by ring.
    by rewrite div1r invf_le1 //; have := euler 0%N; rewrite expr0.
  have m_gt0 : 0 < M%:R :> R by rewrite ltr0n.
  have m1_gt0 : 0 < M%:R + 1 :> R by rewrite addr_gt0 ?ltr01.
  have := euler M; have -> : 1 + M%:R^-1 = (M%:R + 1) / M%:R :> R by field; rewrite gt_eqF.
  rewrite exprMn exprVn ler_pdivr_mulr ?exprn_gt0 // => below.
  rewrite ler_pdivr_mulr // /shrink exprS invfM.
  have -> : 2 - (M%:R + 1)^-1 = (2 * M%:R + 1) / (M%:R + 1) :> R by field; rewrite gt_eqF.
  have -> : (2 * M%:R + 1) * M%:R ^+ M * ((M%:R + 1)^-1 / (M%:R + 1) ^+ M) * e =
      (2 * M%:R + 1) / (M%:R + 1) * (e * M%:R ^+ M / (M%:R + 1) ^+ M).
    by move: (M%:R ^+ M) ((M%:R + 1) ^+ M)^-1 (M%:R + 1)^-1 => a b c; ring.
  have share_gt0 : 0 < (2 * M%:R + 1) / (M%:R + 1) :> R.
    by apply: divr_gt0 => //; apply: addr_gt0; rewrite ?ltr01 // mulr_gt0 ?ltr0n.
  by rewrite ler_pmulr // ler_pdivl_mulr ?exprn_gt0 // mul1r.
rewrite leNgt; apply/negP => low.
have room : 0 < 2 - shrink T * e by rewrite subr_gt0 -ltr_pdivl_mulr.
have [M large] : exists M, (2 - shrink T * e)^-1 < M%:R.
  by exists (Num.ExtraDef.archi_bound (2 - shrink T * e)^-1); apply: archi_boundP; rewrite invr_ge0 ltW.
set N := maxn T M; have N_gt0 : 0 < N%:R + 1 :> R by rewrite ltr_spaddr ?ltr01 ?ler0n.
have near : 2 - shrink T * e <= (N%:R + 1)^-1.
  rewrite ler_subl_addr addrC -ler_subl_addr -ler_pdivr_mulr //.
  exact: le_trans (floor N) (far _ (leq_maxl T M)).
have beyond : M%:R <= N%:R + 1 :> R by apply: ler_paddr; rewrite ?ler01 // ler_nat leq_maxr.
have : N%:R + 1 <= (2 - shrink T * e)^-1 by rewrite -[X in X <= _]invrK lef_pinv ?posrE ?invr_gt0.
by move/(le_trans beyond)/(lt_le_trans large); rewrite ltxx.
Qed.

End Shrink.
