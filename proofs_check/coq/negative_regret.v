(** What fails when a hypothesis of T5, T6, T7, T8, T13 or T14 is dropped: counterexamples with one feature, over any
    real field. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token sums projection regret agnostic forgetting one_feature.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Runs.
Variable R : realFieldType.
Implicit Types eta : R.

(** Box [0, 2], s = 1, d_1 = 2, a step of at least 2 = 2/M: the iterates jump between the two ends for ever. *)
Lemma jumping_path eta t : 2 <= eta ->
  path eta (one 0) (one 2) (one 2) (fun=> one 1) t = one (if odd t then 0 else 2).
Proof.
move=> large; elim: t => //= t ->; rewrite plain_one.
case: (odd t) => /=; congr one; rewrite ?mulr1 ?mul0r ?subr0 ?add0r ?mulr1.
  by rewrite clip1_high ?ler0n.
rewrite clip1_low ?ler0n //; have -> : 2 + eta * (1 - 2) = 2 - eta by ring.
by rewrite subr_le0.
Qed.

Lemma jumping_gap eta t : 2 <= eta ->
  gap eta (one 0) (one 2) (one 2) (fun=> one 1) t ^+ 2 = 1.
Proof. by move=> large; rewrite /gap jumping_path // dot_one; case: (odd t); ring. Qed.

(** Box [0, 1/2], s = 1, d_1 = 1/2: the projection holds the iterate at 1/2, short of the target 1. *)
Lemma held_path eta t : 0 <= eta ->
  path eta (one 0) (one 2^-1) (one 2^-1) (fun=> one 1) t = one 2^-1.
Proof.
move=> eta_ge0; elim: t => //= t ->; rewrite plain_one clip1_high ?invr_ge0 ?ler0n // ler_addl !mulr1.
by rewrite mulr_ge0 // subr_ge0 invf_le1 ?ltr0n // ler1n.
Qed.

Lemma held_gap t : gap (1 : R) (one 0) (one 2^-1) (one 2^-1) (fun=> one 1) t ^+ 2 = 4^-1.
Proof. by rewrite /gap held_path ?ler01 // dot_one; field. Qed.

End Runs.

Section Regret.
Variable R : realFieldType.
Implicit Types eta : R.

(** T5 needs eta < 2/M. With M = 1 and any eta >= 2, one run meets every other hypothesis and its sum of squared gaps is
    T: no bound independent of T holds. *)
Theorem T5_needs_small_step eta : 2 <= eta ->
  exists (lo hi first u : 'rV[R]_1) (s : nat -> 'rV[R]_1),
    [/\ in_box lo hi u, forall t, dot u (s t) = 1, forall t, norm_sq (s t) <= 1 &
        forall T, \sum_(t < T) gap eta lo hi first s t ^+ 2 = T%:R].
Proof.
move=> large; exists (one 0), (one 2), (one 2), (one 1), (fun=> one 1); split.
- by apply: in_box_one; rewrite ler01 ler1n.
- by move=> t; rewrite dot_one mulr1.
- by move=> t; rewrite norm_sq_one expr1n.
move=> T; rewrite -[RHS]mulr1; exact: sum_all_equal (fun t => jumping_gap t large).
Qed.

(** T5 needs interpolation: <u, s_t> = 1. A run from d_1 = u in the box, eta = M = 1, where <u, s_t> = 1/2: the sum is
    T/4, the claimed bound is 0. *)
Theorem T5_needs_interpolation :
  exists (lo hi u : 'rV[R]_1) (s : nat -> 'rV[R]_1),
    [/\ in_box lo hi u, forall t, norm_sq (s t) <= 1 &
        forall T, \sum_(t < T) gap 1 lo hi u s t ^+ 2 = T%:R / 4 /\
                  norm_sq (u - u) / (1 * (2 - 1 * 1)) = 0 :> R].
Proof.
exists (one 0), (one 2^-1), (one 2^-1), (fun=> one 1); split.
- by apply: in_box_one; rewrite lexx invr_ge0 ler0n.
- by move=> t; rewrite norm_sq_one expr1n.
by move=> T; split; [exact: (sum_all_equal T (@held_gap R))|rewrite subrr norm_sq0 mul0r].
Qed.

(** T5 needs u in the box. With eta = M = 1, u = 1 interpolates outside the box [0, 1/2]: the sum is T/4, the claimed
    bound is 1/4. *)
Theorem T5_needs_u_in_the_box :
  exists (lo hi first u : 'rV[R]_1) (s : nat -> 'rV[R]_1),
    [/\ forall t, dot u (s t) = 1, forall t, norm_sq (s t) <= 1 &
        forall T, \sum_(t < T) gap 1 lo hi first s t ^+ 2 = T%:R / 4 /\
                  norm_sq (first - u) / (1 * (2 - 1 * 1)) = 4^-1 :> R].
Proof.
exists (one 0), (one 2^-1), (one 2^-1), (one 1), (fun=> one 1); split.
- by move=> t; rewrite dot_one mulr1.
- by move=> t; rewrite norm_sq_one expr1n.
move=> T; split; first exact: (sum_all_equal T (@held_gap R)).
by rewrite one_sub norm_sq_one; field.
Qed.

(** T6 needs full writes (beta = 1). With d_1 = u, so C = 0, and the gate 1/2, all other hypotheses hold (eta = M = 1),
    no token loss before its write is zero, and after it a quarter is left, not nothing. *)
Theorem T6_needs_full_writes :
  exists (lo hi u : 'rV[R]_1) (S0 : 'M[R]_(1, 1)) (k : nat -> 'rV[R]_1) (v : nat -> 'rV[R]_1),
    let s t := feature (k t) in
    let d := path 1 lo hi u s in
    let C := norm_sq (u - u) / (1 * (2 - 1 * 1)) in
    [/\ in_box lo hi u, forall t, dot u (s t) = 1, forall t, norm_sq (s t) <= 1 &
        forall T, (0 < T)%N ->
          (C / T%:R) ^+ T * \prod_(t < T) loss_before S0 k v d (fun=> 2^-1) t <
          \prod_(t < T) loss_after S0 k v d (fun=> 2^-1) t].
Proof.
exists (one 1), (one 1), (one 1), 0, (fun=> one 1), (fun=> one 1) => s d C.
have sE t : s t = one 1 by rewrite /s /feature; apply/rowP => i; rewrite !mxE mulr1.
have box : in_box (one 1) (one 1) (one (1 : R)) by apply: in_box_one; rewrite lexx.
have dE t : d t = one 1.
  elim: t => // t IH; rewrite /d /= -/(d t) IH sE plain_one.
  have -> : 1 + 1 * (1 - 1 * 1) * 1 = 1 :> R by ring.
  by rewrite clip1_id // lexx.
split=> // [t|t|T T_gt0]; rewrite ?sE ?dot_one ?norm_sq_one ?mulr1 ?expr1n //.
have quarter_gt0 : 0 < (1 - 2^-1 * (1 * 1)) ^+ 2 :> R.
  by rewrite exprn_gt0 // !mulr1 subr_gt0 invf_lt1 ?ltr0n // ltr1n.
have before_gt0 t : 0 < loss_before 0 (fun=> one 1) (fun=> one 1) d (fun=> 2^-1) t.
  elim: t => [|t IH].
    by rewrite /loss_before /= /token_loss /residual trmx0 mulmx0 subr0 norm_sq_one expr1n divr_gt0 ?ltr01 ?ltr0n.
  rewrite /loss_before -[token_loss _ _ _]/(loss_after 0 (fun=> one 1) (fun=> one 1) d (fun=> 2^-1) t).
  rewrite loss_after_ratio -/(s t) sE dE dot_one; exact: mulr_gt0 quarter_gt0 IH.
rewrite /C subrr norm_sq0 !mul0r expr0n gtn_eqF // mul0r; apply: prodr_gt0 => t _.
rewrite loss_after_ratio -/(s t) sE dE dot_one; exact: mulr_gt0 quarter_gt0 (before_gt0 t).
Qed.

(** T7 needs beta >= 0: false at beta = -1, a = 3. *)
Theorem T7_needs_nonnegative_gate :
  exists beta a : R, `|1 - beta| + beta * `|1 - a| < `|1 - beta * a|.
Proof.
exists (-1), 3; have -> : 1 - -1 = 2 :> R by ring.
have -> : 1 - 3 = - 2 :> R by ring.
have -> : 1 - -1 * 3 = 4 :> R by ring.
by rewrite normrN !normr_nat mulN1r subrr ltr0n.
Qed.

(** T8 needs eta < 1/M. With M = 1 and any eta > 1 it is false at T = 1. *)
Theorem T8_needs_small_step eta : 1 < eta ->
  exists (lo hi first u : 'rV[R]_1) (s : nat -> 'rV[R]_1),
    [/\ in_box lo hi u, forall t, norm_sq (s t) <= 1 &
        (\sum_(t < 1) surrogate u (s t) + norm_sq (first - u) / (2 * eta)) / (1 - eta * 1) <
        \sum_(t < 1) surrogate (path eta lo hi first s t) (s t)].
Proof.
move=> large; have eta_gt0 : 0 < eta := lt_trans ltr01 large.
exists (one 0), (one 2), (one 2), (one 1), (fun=> one 1); split.
- by apply: in_box_one; rewrite ler01 ler1n.
- by move=> t; rewrite norm_sq_one expr1n.
rewrite !big_ord1 !surrogate_one one_sub norm_sq_one !mulr1 subrr expr0n mul0r add0r.
have -> : 2 - 1 = 1 :> R by ring.
have -> : (1 - 2) ^+ 2 / 2 = 2^-1 :> R by field.
apply: (@lt_trans _ _ 0); last by rewrite invr_gt0 ltr0n.
by rewrite pmulr_rlt0 ?divr_gt0 ?exprn_gt0 ?mulr_gt0 ?ltr01 ?ltr0n // invr_lt0 subr_lt0.
Qed.

(** T8, with steps of at least 2/M no other constant helps: the loss of the run is T/2, that of u is 0. *)
Theorem T8_needs_bounded_step eta : 2 <= eta ->
  exists (lo hi first u : 'rV[R]_1) (s : nat -> 'rV[R]_1),
    [/\ in_box lo hi u, forall t, norm_sq (s t) <= 1, forall t, surrogate u (s t) = 0 &
        forall T, \sum_(t < T) surrogate (path eta lo hi first s t) (s t) = T%:R / 2].
Proof.
move=> large; exists (one 0), (one 2), (one 2), (one 1), (fun=> one 1); split.
- by apply: in_box_one; rewrite ler01 ler1n.
- by move=> t; rewrite norm_sq_one expr1n.
- by move=> t; rewrite surrogate_one mulr1 subrr expr0n mul0r.
have losses t : surrogate (path eta (one 0) (one 2) (one 2) (fun=> one 1) t) (one 1) = 2^-1 :> R.
  by have := jumping_gap t large; rewrite /gap /surrogate => ->; rewrite div1r.
by move=> T; apply: (sum_all_equal T losses).
Qed.

(** T8 needs u in the box. With M = 1 and any eta > 0, u = 1 has no loss but lies outside the box [0, 1/2]: the
    loss of the run is T/8, the claimed bound does not depend on T. *)
Theorem T8_needs_u_in_the_box eta : 0 < eta ->
  exists (lo hi first u : 'rV[R]_1) (s : nat -> 'rV[R]_1),
    [/\ forall t, norm_sq (s t) <= 1, forall t, surrogate u (s t) = 0, norm_sq (first - u) = 4^-1 &
        forall T, \sum_(t < T) surrogate (path eta lo hi first s t) (s t) = T%:R / 8].
Proof.
move=> eta_gt0; exists (one 0), (one 2^-1), (one 2^-1), (one 1), (fun=> one 1); split.
- by move=> t; rewrite norm_sq_one expr1n.
- by move=> t; rewrite surrogate_one mulr1 subrr expr0n mul0r.
- by rewrite one_sub norm_sq_one; field.
have losses t : surrogate (path eta (one 0) (one 2^-1) (one 2^-1) (fun=> one 1) t) (one 1) = 8^-1 :> R.
  by rewrite held_path ?ltW // surrogate_one; field.
by move=> T; apply: (sum_all_equal T losses).
Qed.

(** T13 needs eta |s|^2 <= 2 gamma. For any gamma >= 0 and eta > 2 gamma, with |s| = 1 and a box that no iterate
    leaves, the two runs from 1 and 0 are further apart than gamma after one token. *)
Theorem T13_needs_small_step eta gamma : 0 <= gamma -> 2 * gamma < eta ->
  exists (lo hi first other : 'rV[R]_1) (s : nat -> 'rV[R]_1),
    let run f := scan eta (fun=> 1) (fun=> gamma) 0 lo hi f s in
    (forall t, norm_sq (s t) = 1) /\
    gamma ^+ (2 * 1) * norm_sq (first - other) < norm_sq (run first 1%N - run other 1%N).
Proof.
move=> gamma_ge0 large; have gamma_le : gamma <= eta.
  by apply: le_trans (ltW large); rewrite mulr_natl mulr2n ler_addl.
have eta_ge0 : 0 <= eta := le_trans gamma_ge0 gamma_le.
exists (one 0), (one eta), (one 1), (one 0), (fun=> one 1) => run; split=> [t|].
  by rewrite norm_sq_one expr1n.
have -> : run (one 1) 1%N = one gamma.
  rewrite /run /= zero_one calibrate_one; congr one; rewrite clip1_id; first by ring.
  have -> : 0 + gamma * (1 - 0) + eta * (1 - 1 * 1) * 1 = gamma by ring.
  by rewrite gamma_ge0.
have -> : run (one 0) 1%N = one eta.
  rewrite /run /= zero_one calibrate_one; congr one; rewrite clip1_id; first by ring.
  have -> : 0 + gamma * (0 - 0) + eta * (1 - 0 * 1) * 1 = eta by ring.
  by rewrite eta_ge0 lexx.
rewrite !one_sub !norm_sq_one subr0 expr1n mulr1 muln1 -[X in _ < X]sqrrN opprB.
by rewrite ltr_expn2r ?nnegrE ?subr_ge0 // ltr_subr_addr -mulr2n -mulr_natl.
Qed.

End Regret.

Section Tracking.
Variable R : rcfType.

(** T14 needs the path length. Two tokens, each with a comparator of its own in the box [0, 1] and without loss, d_1 the
    first comparator, eta = 1/8, M = 4: without the path term the bound would be 0, but the loss is 1/2. *)
Theorem T14_needs_path_length :
  exists (lo hi first : 'rV[R]_1) (u s : nat -> 'rV[R]_1),
    [/\ forall t, in_box lo hi (u t), forall t, norm_sq (s t) <= 4,
        (\sum_(t < 2) surrogate (u t) (s t) + norm_sq (first - u 0%N) / (2 * 8^-1)) / (1 - 8^-1 * 4) = 0 &
        \sum_(t < 2) surrogate (path 8^-1 lo hi first s t) (s t) = 2^-1].
Proof.
pose s t : 'rV[R]_1 := one (if t is 0%N then 1 else 2).
pose u t : 'rV[R]_1 := one (if t is 0%N then 1 else 2^-1).
exists (one 0), (one 1), (one 1), u, s; split.
- by case=> [|t]; apply: in_box_one; rewrite ?ler01 ?lexx ?invr_ge0 ?ler0n ?invf_le1 ?ltr0n ?ler1n.
- by case=> [|t]; rewrite norm_sq_one ?expr1n ?ler1n // -natrX ler_nat.
- rewrite big_ord_recl big_ord1 /= !surrogate_one subrr norm_sq0 mul0r addr0.
  have -> : (1 - 1 * 1) ^+ 2 / 2 + (1 - 2^-1 * 2) ^+ 2 / 2 = 0 :> R by field.
  exact: mul0r.
rewrite big_ord_recl big_ord1 /= plain_one clip1_id; last by rewrite !mulr1 subrr mulr0 addr0 ler01 lexx.
by rewrite !surrogate_one; field.
Qed.

End Tracking.
