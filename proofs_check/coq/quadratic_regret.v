(** T20, T21 and the robust T15: the regret of the calibrate steps against any point of the box, for steps up to 2/M,
    with forgetting towards any anchor and with normalised feedback. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token sums projection regret newton_quadratic.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Step.
Variables (R : realFieldType) (n : nat).
Variables (eta M : R) (w gamma : nat -> R) (c lo hi d1 u : 'rV[R]_n) (s : nat -> 'rV[R]_n) (T : nat).
Notation d := (scan eta w gamma c lo hi d1 s).
Notation gap := (fun t => 1 - dot (d t) (s t)).
Notation b := (fun t => 1 - dot u (s t)).
Notation mu := (2 - eta * M).
Hypothesis u_box : in_box lo hi u.
Hypothesis weights : forall t, (t < T)%N -> 0 <= w t.
Hypothesis gammas : forall t, (t < T)%N -> 0 < gamma t <= 1.
Hypothesis small : forall t, (t < T)%N -> w t * norm_sq (s t) <= gamma t * M.
Hypothesis eta_gt0 : 0 < eta.
Hypothesis eta_M : eta * M < 2.

(** |g p + (1 - g) q + h r|^2, by convexity in p and q. *)
Lemma mixed_step (g h : R) (p q r : 'rV[R]_n) : 0 < g <= 1 ->
  norm_sq (g *: p + (1 - g) *: q + h *: r) <=
  g * norm_sq p + 2 * h * dot p r + h ^+ 2 / g * norm_sq r + (1 - g) * norm_sq q.
Proof.
case/andP=> g_gt0 g_le1; rewrite -subr_ge0.
have nz : g != 0 by rewrite gt_eqF.
have -> : g * norm_sq p + 2 * h * dot p r + h ^+ 2 / g * norm_sq r + (1 - g) * norm_sq q
   - norm_sq (g *: p + (1 - g) *: q + h *: r) = g * (1 - g) * norm_sq (p + (h / g) *: r - q).
  rewrite (norm_sqB (p + _)) !norm_sqD !norm_sqZ !dotDl !dotZl !dotZr (dotC r q).
  by atoms; field.
by rewrite mulr_ge0 ?norm_sq_ge0 // mulr_ge0 ?subr_ge0 // ltW.
Qed.

(** The distance to u pays for eta w (mu gap^2 - 2 gap b), and forgetting refills it from the anchor. *)
Lemma quadratic_step t : (t < T)%N ->
  norm_sq (d t.+1 - u) + eta * (mu * (w t * gap t ^+ 2) - 2 * (w t * (gap t * b t))) <=
  gamma t * norm_sq (d t - u) + (1 - gamma t) * norm_sq (c - u).
Proof.
move=> lt; have g_in := gammas lt; have /andP[g_gt0 g_le1] := g_in.
have := clip_toward (calibrate_free eta (w t) (gamma t) c (d t) (s t)) u_box => toward.
rewrite -[d t.+1]/(clip lo hi (calibrate_free eta (w t) (gamma t) c (d t) (s t))).
apply: (le_trans (ler_add toward (lexx _))).
have -> : calibrate_free eta (w t) (gamma t) c (d t) (s t) - u =
  gamma t *: (d t - u) + (1 - gamma t) *: (c - u) + (eta * w t * (1 - dot (d t) (s t))) *: s t.
  by rewrite /calibrate_free; apply/rowP => i; rewrite !mxE; entries; ring.
apply: (le_trans (ler_add (mixed_step _ _ _ _ g_in) (lexx _))).
have along : dot (d t - u) (s t) = (1 - dot u (s t)) - (1 - dot (d t) (s t)) by rewrite dotBl; atoms; ring.
rewrite along; have sm := small lt; rewrite -subr_ge0 in sm; have nz : gamma t != 0 by rewrite gt_eqF.
rewrite -subr_ge0; move: (1 - dot (d t) (s t)) (1 - dot u (s t)) => g e.
have extra : 0 <= (eta * g) ^+ 2 * w t * ((gamma t)^-1 * (gamma t * M - w t * norm_sq (s t))).
  by apply: mulr_ge0; apply: mulr_ge0; rewrite ?sqr_ge0 ?weights // invr_ge0 ltW.
apply: (le_trans extra); rewrite le_eqVlt; apply/orP; left; apply/eqP.
by move: (norm_sq (d t - u)) (norm_sq (s t)) (norm_sq (c - u)) (gamma t) nz => D S C G nz; field.
Qed.

(** The same without the gate on what is there already. *)
Lemma quadratic_refill t : (t < T)%N ->
  norm_sq (d t.+1 - u) + eta * (mu * (w t * gap t ^+ 2) - 2 * (w t * (gap t * b t))) <=
  norm_sq (d t - u) + (1 - gamma t) * norm_sq (c - u).
Proof.
move=> lt; apply: (le_trans (quadratic_step lt)); rewrite ler_add2r ler_pimull ?norm_sq_ge0 //.
by case/andP: (gammas lt).
Qed.

(** R_t, from R_0 = |d_1 - u|^2: how far from u forgetting, the anchor and the stream's own misfit let d_t be. *)
Fixpoint distance_limit (t : nat) : R :=
  if t is t'.+1 then
    gamma t' * distance_limit t' + (1 - gamma t') * norm_sq (c - u) + eta / mu * (w t' * b t' ^+ 2)
  else norm_sq (d1 - u).

(** T21. |d_t - u|^2 <= R_t, R_{t+1} = gamma_t R_t + (1 - gamma_t) |c - u|^2 + (eta / mu) w_t (1 - <u, s_t>)^2. *)
Theorem T21_distance t : (t <= T)%N -> norm_sq (d t - u) <= distance_limit t.
Proof.
have mu_gt0 : 0 < mu by rewrite subr_gt0.
elim: t => [//|t IH] lt; have nz : mu != 0 by rewrite gt_eqF.
have /andP[g_gt0 _] := gammas lt.
have square : 0 <= eta / mu * (w t * (mu * gap t - b t) ^+ 2).
  apply: mulr_ge0; first by rewrite divr_ge0 ?ltW.
  by rewrite mulr_ge0 ?sqr_ge0 ?weights.
have kept := ler_wpmul2l (ltW g_gt0) (IH (ltnW lt)).
apply: (le_same_slack (ler_add (ler_add (quadratic_step lt) square) kept)).
rewrite [distance_limit t.+1]/=; move: (distance_limit t) (norm_sq (d t.+1 - u)) (norm_sq (d t - u)) => r D D'.
by move: (1 - dot (d t) (s t)) (1 - dot u (s t)) (norm_sq (c - u)) => g e C; field.
Qed.

End Step.

(** X = ((B + sqrt (B^2 + mu D / eta)) / mu)^2, given B^2: the root of mu X - 2 B sqrt X = D / eta. *)
Definition quadratic_bound (R : rcfType) (eta mu misfit D : R) : R :=
  ((Num.sqrt misfit + Num.sqrt (misfit + mu * (D / eta))) / mu) ^+ 2.

Section Bound.
Variables (R : rcfType).
Implicit Types (eta mu A D : R).

(** T20. Where some u interpolates, X is the bound of T5. *)
Theorem T20_is_T5 eta mu D : 0 < eta -> 0 < mu -> 0 <= D ->
  quadratic_bound eta mu 0 D = D / (eta * mu).
Proof.
move=> eta_gt0 mu_gt0 D_ge0; rewrite /quadratic_bound sqrtr0 !add0r exprMn sqr_sqrtr.
  by field; rewrite !gt_eqF.
by rewrite mulr_ge0 ?divr_ge0 ?(ltW mu_gt0) ?(ltW eta_gt0).
Qed.

(** T20. X is never above the bound of T8, where T8 applies (sums of squares against sums of squares): eta M < 1, and
    mu = 2 - eta M. *)
Theorem T20_never_above_T8 eta mu A D : 0 < eta -> 1 < mu -> 0 <= A -> 0 <= D ->
  quadratic_bound eta mu A D <= (A + D / eta) / (mu - 1).
Proof.
move=> eta_gt0 mu_gt1 A_ge0 D_ge0; have mu_gt0 : 0 < mu := lt_trans ltr01 mu_gt1.
have E_ge0 : 0 <= D / eta by rewrite divr_ge0 ?(ltW eta_gt0).
rewrite /quadratic_bound; move: (D / eta) E_ge0 => E E_ge0.
have S_ge0 : 0 <= A + mu * E by rewrite addr_ge0 ?mulr_ge0 ?(ltW mu_gt0).
move: (sqrtr_ge0 A) (sqrtr_ge0 (A + mu * E)) (sqr_sqrtr A_ge0) (sqr_sqrtr S_ge0).
move: (Num.sqrt A) (Num.sqrt (A + mu * E)) => a r a_ge0 r_ge0 aE rE.
rewrite ler_pdivl_mulr ?subr_gt0 //; have nz : mu != 0 by rewrite gt_eqF.
have -> : E = (r ^+ 2 - a ^+ 2) / mu by rewrite rE aE addrC addKr mulrC mulKf.
rewrite -aE -subr_ge0.
have -> : a ^+ 2 + (r ^+ 2 - a ^+ 2) / mu - ((a + r) / mu) ^+ 2 * (mu - 1) =
    ((a + r) / mu - a) ^+ 2 by field.
exact: sqr_ge0.
Qed.

End Bound.

Section Forgetting.
Variables (R : rcfType) (n : nat).
Implicit Types (eta M : R) (w gamma : nat -> R) (c lo hi u : 'rV[R]_n) (s : nat -> 'rV[R]_n) (T : nat).

(** T21. Any anchor c, forgetting factors 0 < gamma_t <= 1, feedback weights w_t >= 0, any u in the box: if
    w_t |s_t|^2 <= gamma_t M and 0 < eta < 2/M then, with mu = 2 - eta M,
    sum_{t < T} w_t (1 - a_t)^2 <= ((B + sqrt (B^2 + mu D / eta)) / mu)^2 for B^2 = sum_{t < T} w_t (1 - <u, s_t>)^2 and
    D = |d_1 - u|^2 + sum_{t < T} (1 - gamma_t) |c - u|^2. *)
Theorem T21_forgetting_regret eta M w gamma c lo hi (d1 : 'rV[R]_n) u s T :
  in_box lo hi u ->
  (forall t, (t < T)%N -> 0 <= w t) ->
  (forall t, (t < T)%N -> 0 < gamma t <= 1) ->
  (forall t, (t < T)%N -> w t * norm_sq (s t) <= gamma t * M) ->
  0 < eta -> eta * M < 2 ->
  \sum_(t < T) w t * (1 - dot (scan eta w gamma c lo hi d1 s t) (s t)) ^+ 2 <=
  quadratic_bound eta (2 - eta * M) (\sum_(t < T) w t * (1 - dot u (s t)) ^+ 2)
    (norm_sq (d1 - u) + (\sum_(t < T) (1 - gamma t)) * norm_sq (c - u)).
Proof.
move=> box weights gates small eta_gt0 eta_M; set d := scan eta w gamma c lo hi d1 s; set mu := 2 - _.
have mu_gt0 : 0 < mu by rewrite subr_gt0.
set X := (X in X <= _); set A := \sum_(t < T) w t * (1 - dot u _) ^+ 2.
have [X_ge0 A_ge0] : 0 <= X /\ 0 <= A.
  by split; apply: sumr_ge0 => t _; rewrite mulr_ge0 ?sqr_ge0 ?weights.
apply: solve_quadratic => //.
have := potential_sum (quadratic_refill eta c d1 box weights gates small).
rewrite -mulr_suml -[in X in X -> _]mulr_sumr sumrB -!mulr_sumr -/X => paid.
set cross := \sum_(t < T) _ in paid.
have cs : cross <= Num.sqrt X * Num.sqrt A.
  apply: (le_trans (ler_norm _)); rewrite -sqrtr_sqr -sqrtrM // ler_wsqrtr //.
  pose root x t := Num.sqrt (w t) * x t.
  have := cauchy_schwarz_sum (root (fun t => 1 - dot (d t) (s t))) (root (fun t => 1 - dot u (s t))) T.
  congr (_ ^+ 2 <= _ * _); apply: eq_bigr => t _; rewrite /root ?exprMn ?sqr_sqrtr ?weights //.
  by rewrite mulrACA -expr2 sqr_sqrtr ?weights.
rewrite ler_pdivl_mulr // mulrC.
apply: (@le_trans _ _ (eta * (mu * X - 2 * cross))).
  by rewrite ler_pmul2l // ler_add2l ler_opp2 ler_pmul2l ?ltr0n.
by apply: le_trans paid; rewrite ler_addr norm_sq_ge0.
Qed.

(** T21, product form: with X that bound, prod_{t < T} w_t (1 - a_t)^2 <= (X / T)^T. *)
Theorem T21_super_geometric eta M w gamma c lo hi (d1 : 'rV[R]_n) u s T :
  in_box lo hi u ->
  (forall t, (t < T)%N -> 0 <= w t) ->
  (forall t, (t < T)%N -> 0 < gamma t <= 1) ->
  (forall t, (t < T)%N -> w t * norm_sq (s t) <= gamma t * M) ->
  0 < eta -> eta * M < 2 ->
  \prod_(t < T) (w t * (1 - dot (scan eta w gamma c lo hi d1 s t) (s t)) ^+ 2) <=
  (quadratic_bound eta (2 - eta * M) (\sum_(t < T) w t * (1 - dot u (s t)) ^+ 2)
    (norm_sq (d1 - u) + (\sum_(t < T) (1 - gamma t)) * norm_sq (c - u)) / T%:R) ^+ T.
Proof.
move=> box weights gates small eta_gt0 eta_M; set d := scan eta w gamma c lo hi d1 s.
apply: (@product_le_mean_power _ (fun t => w t * (1 - dot (d t) (s t)) ^+ 2)).
  by move=> t lt; rewrite mulr_ge0 ?sqr_ge0 ?weights.
exact: T21_forgetting_regret.
Qed.

(** T21, an anchor that interpolates keeps super-geometric decay: c = u costs nothing. *)
Theorem T21_anchor_at_u eta M w gamma lo hi (d1 : 'rV[R]_n) u s T :
  in_box lo hi u ->
  (forall t, (t < T)%N -> 0 <= w t) ->
  (forall t, (t < T)%N -> 0 < gamma t <= 1) ->
  (forall t, (t < T)%N -> w t * norm_sq (s t) <= gamma t * M) ->
  0 < eta -> eta * M < 2 ->
  (forall t, (t < T)%N -> dot u (s t) = 1) ->
  \prod_(t < T) (w t * (1 - dot (scan eta w gamma u lo hi d1 s t) (s t)) ^+ 2) <=
  (norm_sq (d1 - u) / (eta * (2 - eta * M)) / T%:R) ^+ T.
Proof.
move=> box weights gates small eta_gt0 eta_M fit.
have := T21_super_geometric u d1 box weights gates small eta_gt0 eta_M.
have -> : \sum_(t < T) w t * (1 - dot u (s t)) ^+ 2 = 0.
  by apply: big1 => t _; rewrite fit // subrr expr0n mulr0.
rewrite subrr norm_sq0 mulr0 addr0.
by rewrite T20_is_T5 ?subr_gt0 ?norm_sq_ge0.
Qed.

End Forgetting.

Section Unweighted.
Variables (R : realFieldType) (n : nat).

(** What T21 asks of the weights and of the forgetting factors, where both are 1. *)
Lemma plain_small (M : R) (s : nat -> 'rV[R]_n) T : (forall t, (t < T)%N -> norm_sq (s t) <= M) ->
  let one := (fun=> 1) : nat -> R in
  [/\ forall t, (t < T)%N -> 0 <= one t, forall t, (t < T)%N -> 0 < one t <= 1 &
      forall t, (t < T)%N -> one t * norm_sq (s t) <= one t * M].
Proof. by move=> small one; split=> t lt; rewrite /one ?ler01 ?ltr01 ?lexx // !mul1r small. Qed.

End Unweighted.

Section Plain.
Variables (R : rcfType) (p n : nat).
Implicit Types (eta M : R) (lo hi u : 'rV[R]_n) (s : nat -> 'rV[R]_n) (T : nat).

(** T20. Any stream, any u in the box, |s_t|^2 <= M, 0 < eta < 2/M, mu = 2 - eta M, B^2 = sum (1 - <u, s_t>)^2:
    sum_{t < T} (1 - a_t)^2 <= X = ((B + sqrt (B^2 + mu |d_1 - u|^2 / eta)) / mu)^2. *)
Theorem T20_quadratic_regret eta M lo hi (d1 : 'rV[R]_n) u s T :
  in_box lo hi u ->
  (forall t, (t < T)%N -> norm_sq (s t) <= M) ->
  0 < eta -> eta * M < 2 ->
  \sum_(t < T) gap eta lo hi d1 s t ^+ 2 <=
  quadratic_bound eta (2 - eta * M) (\sum_(t < T) (1 - dot u (s t)) ^+ 2) (norm_sq (d1 - u)).
Proof.
move=> box /plain_small[weights gates small] eta_gt0 eta_M.
have := T21_forgetting_regret 0 d1 box weights gates small eta_gt0 eta_M.
congr (_ <= quadratic_bound _ _ _ _); try by apply: eq_bigr => t _; rewrite mul1r.
by rewrite big1 => [|t _]; rewrite ?subrr // mul0r addr0.
Qed.

(** T20, product form: prod_{t < T} (1 - a_t)^2 <= (X / T)^T, with no interpolation. *)
Theorem T20_super_geometric eta M lo hi (d1 : 'rV[R]_n) u s T :
  in_box lo hi u ->
  (forall t, (t < T)%N -> norm_sq (s t) <= M) ->
  0 < eta -> eta * M < 2 ->
  \prod_(t < T) gap eta lo hi d1 s t ^+ 2 <=
  (quadratic_bound eta (2 - eta * M) (\sum_(t < T) (1 - dot u (s t)) ^+ 2) (norm_sq (d1 - u)) / T%:R) ^+ T.
Proof.
move=> box small eta_gt0 eta_M.
apply: (@product_le_mean_power _ (fun t => gap eta lo hi d1 s t ^+ 2)); first by move=> t _; exact: sqr_ge0.
exact: T20_quadratic_regret.
Qed.

(** T20, for the token losses of full writes: prod f_t(after write t) <= (X / T)^T prod f_t(before write t). *)
Theorem T20_token_losses eta M lo hi (d1 : 'rV[R]_n) u (S0 : 'M[R]_(p, n)) (k : nat -> 'rV[R]_n) (v : nat -> 'rV[R]_p) T :
  let s t := feature (k t) in
  let d := path eta lo hi d1 s in
  in_box lo hi u ->
  (forall t, (t < T)%N -> norm_sq (s t) <= M) ->
  0 < eta -> eta * M < 2 ->
  \prod_(t < T) loss_after S0 k v d (fun=> 1) t <=
  (quadratic_bound eta (2 - eta * M) (\sum_(t < T) (1 - dot u (s t)) ^+ 2) (norm_sq (d1 - u)) / T%:R) ^+ T *
    \prod_(t < T) loss_before S0 k v d (fun=> 1) t.
Proof.
move=> s d box small eta_gt0 eta_M; apply: product_loss_after_le.
rewrite (eq_bigr (fun t : 'I_T => gap eta lo hi d1 s t ^+ 2)); first exact: T20_super_geometric.
by move=> t _; rewrite mul1r.
Qed.

End Plain.

Section Robust.
Variables (R : realFieldType) (n : nat).

(** T15, robust. |s_t|^2 <= M, 0 < eta < 2/M, mu = 2 - eta M, any u in the box:
    |d_T - u|^2 <= |d_1 - u|^2 + (eta / mu) sum_{t < T} (1 - <u, s_t>)^2. For u = 1: keys that are nearly unit keep d
    near 1. *)
Theorem T15_robust (eta M : R) (lo hi d1 u : 'rV[R]_n) (s : nat -> 'rV[R]_n) T :
  in_box lo hi u ->
  (forall t, (t < T)%N -> norm_sq (s t) <= M) ->
  0 < eta -> eta * M < 2 ->
  norm_sq (path eta lo hi d1 s T - u) <=
  norm_sq (d1 - u) + eta / (2 - eta * M) * \sum_(t < T) (1 - dot u (s t)) ^+ 2.
Proof.
move=> box small eta_gt0 eta_M.
have [weights gates small1] := plain_small small.
have := T21_distance 0 d1 box weights gates small1 eta_gt0 eta_M (leqnn T); congr (_ <= _).
elim: (T) => [|t IH]; first by rewrite big_ord0 mulr0 addr0.
by rewrite big_ord_recr /= IH subrr mul0r !mul1r addr0 mulrDr addrA.
Qed.

End Robust.
