(** T7: the residual ratios under any write gate beta_t, and beta-aware calibration. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token sums projection regret.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(** T7. For a gate beta >= 0, |1 - beta a| <= |1 - beta| + beta |1 - a|. The left side is sqrt q_t by T3. *)
Theorem T7_any_gate (R : realFieldType) (beta a : R) : 0 <= beta ->
  `|1 - beta * a| <= `|1 - beta| + beta * `|1 - a|.
Proof.
move=> beta_ge0; rewrite -{3}(ger0_norm beta_ge0) -normrM.
have -> : 1 - beta * a = (1 - beta) + beta * (1 - a) by ring.
exact: ler_norm_add.
Qed.

Section Means.
Variable R : rcfType.
Implicit Types (x y beta a : nat -> R) (T : nat).

(** (1/T) sum x |y| <= sqrt((1/T) sum x^2) sqrt((1/T) sum y^2) *)
Lemma mean_product_le x y T :
  (\sum_(t < T) x t * `|y t|) / T%:R <=
  Num.sqrt ((\sum_(t < T) x t ^+ 2) / T%:R) * Num.sqrt ((\sum_(t < T) y t ^+ 2) / T%:R).
Proof.
have sum_ge0 z : 0 <= \sum_(t < T) z t ^+ 2 :> R by apply: sumr_ge0 => t _; apply: sqr_ge0.
rewrite -sqrtrM ?divr_ge0 ?ler0n // mulrACA -expr2 exprVn.
apply: (le_trans (ler_norm _)); rewrite -sqrtr_sqr ler_wsqrtr // expr_div_n.
apply: ler_wpmul2r; first by rewrite invr_ge0 exprn_ge0 ?ler0n.
have := cauchy_schwarz_sum x (fun t => `|y t|) T; congr (_ <= _ * _).
by apply: eq_bigr => t _; rewrite real_normK ?num_real.
Qed.

(** The mean of |1 - beta_t a_t| where the sum of (1 - a_t)^2 is at most C. *)
Lemma mean_factor_le beta a (C : R) T :
  (forall t, (t < T)%N -> 0 <= beta t) -> \sum_(t < T) (1 - a t) ^+ 2 <= C ->
  (\sum_(t < T) `|1 - beta t * a t|) / T%:R <=
  (\sum_(t < T) `|1 - beta t|) / T%:R + Num.sqrt ((\sum_(t < T) beta t ^+ 2) / T%:R) * Num.sqrt (C / T%:R).
Proof.
move=> beta_ge0 sum_le; have T_inv : 0 <= T%:R^-1 :> R by rewrite invr_ge0 ler0n.
apply: (@le_trans _ _ ((\sum_(t < T) (`|1 - beta t| + beta t * `|1 - a t|)) / T%:R)).
  by apply: ler_wpmul2r => //; apply: ler_sum => t _; apply: T7_any_gate; apply: beta_ge0.
rewrite big_split mulrDl ler_add2l.
apply: (le_trans (mean_product_le beta (fun t => 1 - a t) T)).
by rewrite ler_wpmul2l ?sqrtr_ge0 // ler_wsqrtr // ler_wpmul2r.
Qed.

(** A bound B on the mean of x_t >= 0 bounds their product by B^T. *)
Lemma product_le_mean_bound x (B : R) T :
  (forall t, (t < T)%N -> 0 <= x t) -> (\sum_(t < T) x t) / T%:R <= B -> \prod_(t < T) x t <= B ^+ T.
Proof.
move=> x_ge0 mean_le; apply: (le_trans (product_le_mean_power x_ge0 (lexx _))).
have mean_ge0 : 0 <= (\sum_(t < T) x t) / T%:R by rewrite divr_ge0 ?ler0n ?sumr_ge0 // => t _; apply: x_ge0.
by apply: ler_expn2r; rewrite ?nnegrE ?(le_trans mean_ge0).
Qed.

End Means.

Section AnyGate.
Variables (R : rcfType) (p n : nat).
Implicit Types (eta M : R) (lo hi u : 'rV[R]_n) (beta : nat -> R) (T : nat).

(** T7. Where the residual is not zero, sqrt q_t = |1 - beta_t a_t| <= |1 - beta_t| + beta_t |1 - a_t|. *)
Theorem T7_root_ratio (S : 'M[R]_(p, n)) (k d : 'rV[R]_n) (v : 'rV[R]_p) (b : R) :
  0 <= b -> residual S k v != 0 ->
  Num.sqrt (token_loss (write S k v d b) k v / token_loss S k v) <=
  `|1 - b| + b * `|1 - alignment d (feature k)|.
Proof. by move=> b_ge0 nz; rewrite T3_residual_ratio // sqrtr_sqr T7_any_gate. Qed.

(** T7. Under T5, with C its right side, and for gates beta_t >= 0:
    (1/T) sum |1 - beta_t a_t| <= (1/T) sum |1 - beta_t| + sqrt((1/T) sum beta_t^2) sqrt(C/T). *)
Theorem T7_mean_bound eta M lo hi u (d1 : 'rV[R]_n) (s : nat -> 'rV[R]_n) beta T :
  let a t := dot (path eta lo hi d1 s t) (s t) in
  let C := norm_sq (d1 - u) / (eta * (2 - eta * M)) in
  in_box lo hi u ->
  (forall t, (t < T)%N -> dot u (s t) = 1) ->
  (forall t, (t < T)%N -> norm_sq (s t) <= M) ->
  0 < eta -> eta * M < 2 ->
  (forall t, (t < T)%N -> 0 <= beta t) ->
  (\sum_(t < T) `|1 - beta t * a t|) / T%:R <=
  (\sum_(t < T) `|1 - beta t|) / T%:R + Num.sqrt ((\sum_(t < T) beta t ^+ 2) / T%:R) * Num.sqrt (C / T%:R).
Proof.
by move=> a C box interpolates small eta_gt0 eta_M beta_ge0; apply: mean_factor_le; last exact: interpolating_regret.
Qed.

(** T7. Under T5, with C its right side, and for gates beta_t >= 0:
    prod |1 - beta_t a_t| <= ((1/T) sum |1 - beta_t| + sqrt((1/T) sum beta_t^2) sqrt(C/T))^T. *)
Theorem T7_product_bound eta M lo hi u (d1 : 'rV[R]_n) (s : nat -> 'rV[R]_n) beta T :
  let a t := dot (path eta lo hi d1 s t) (s t) in
  let C := norm_sq (d1 - u) / (eta * (2 - eta * M)) in
  in_box lo hi u ->
  (forall t, (t < T)%N -> dot u (s t) = 1) ->
  (forall t, (t < T)%N -> norm_sq (s t) <= M) ->
  0 < eta -> eta * M < 2 ->
  (forall t, (t < T)%N -> 0 <= beta t) ->
  \prod_(t < T) `|1 - beta t * a t| <=
  ((\sum_(t < T) `|1 - beta t|) / T%:R +
    Num.sqrt ((\sum_(t < T) beta t ^+ 2) / T%:R) * Num.sqrt (C / T%:R)) ^+ T.
Proof.
move=> a C box interpolates small eta_gt0 eta_M beta_ge0.
by apply: (@product_le_mean_bound _ (fun t => `|1 - beta t * a t|)) => //; apply: T7_mean_bound.
Qed.

(** T7, for the token losses of the memory, with B the base of [T7_product_bound]:
    prod f_t(after write t) <= (B^T)^2 prod f_t(before write t). *)
Theorem T7_token_losses eta M lo hi u (d1 : 'rV[R]_n)
    (S0 : 'M[R]_(p, n)) (k : nat -> 'rV[R]_n) (v : nat -> 'rV[R]_p) beta T :
  let s t := feature (k t) in
  let d := path eta lo hi d1 s in
  let C := norm_sq (d1 - u) / (eta * (2 - eta * M)) in
  let B := (\sum_(t < T) `|1 - beta t|) / T%:R +
    Num.sqrt ((\sum_(t < T) beta t ^+ 2) / T%:R) * Num.sqrt (C / T%:R) in
  in_box lo hi u ->
  (forall t, (t < T)%N -> dot u (s t) = 1) ->
  (forall t, (t < T)%N -> norm_sq (s t) <= M) ->
  0 < eta -> eta * M < 2 ->
  (forall t, (t < T)%N -> 0 <= beta t) ->
  \prod_(t < T) loss_after S0 k v d beta t <= (B ^+ T) ^+ 2 * \prod_(t < T) loss_before S0 k v d beta t.
Proof.
move=> s d C B box interpolates small eta_gt0 eta_M beta_ge0; apply: product_loss_after_le.
have le := T7_product_bound d1 box interpolates small eta_gt0 eta_M beta_ge0.
rewrite (eq_bigr (fun t : 'I_T => `|1 - beta t * dot (d t) (s t)| ^+ 2)) => [|t _].
  rewrite prodrXl; apply: ler_expn2r => //; rewrite nnegrE ?prodr_ge0 //.
  by apply: le_trans le; rewrite prodr_ge0.
by rewrite real_normK ?num_real.
Qed.

End AnyGate.

Section BetaAwarePath.
Variables (R : realFieldType) (n : nat) (eta : R) (lo hi d1 : 'rV[R]_n).
Variables (beta : nat -> R) (s : nat -> 'rV[R]_n).

(** T7, beta-aware. The scan of the features beta_t s_t calibrates with the feedback beta_t (1 - beta_t a_t) s_t. *)
Theorem T7_beta_aware_feedback t :
  let d := path eta lo hi d1 (fun t => beta t *: s t) in
  d t.+1 = clip lo hi (d t + (eta * (beta t * (1 - beta t * dot (d t) (s t)))) *: s t).
Proof.
move=> d; rewrite [LHS]/= /calibrate calibrate_plain dotZr scalerA -/(d t).
by congr (clip _ _ (_ + _ *: _)); ring.
Qed.

Lemma beta_gap t :
  1 - beta t * dot (path eta lo hi d1 (fun t => beta t *: s t) t) (s t) = gap eta lo hi d1 (fun t => beta t *: s t) t.
Proof. by rewrite /gap dotZr. Qed.

End BetaAwarePath.

Section BetaAware.
Variables (R : realFieldType) (p n : nat).
Implicit Types (eta M : R) (lo hi u : 'rV[R]_n) (beta : nat -> R) (T : nat).

(** T7, beta-aware. With the feedback beta_t (1 - beta_t a_t) s_t, if a point u of the box has beta_t <u, s_t> = 1, if
    |beta_t s_t|^2 <= M and 0 < eta < 2/M, then sum_{t < T} (1 - beta_t a_t)^2 <= |d_1 - u|^2 / (eta (2 - eta M)). *)
Theorem T7_beta_aware_regret eta M lo hi u (d1 : 'rV[R]_n) beta (s : nat -> 'rV[R]_n) T :
  in_box lo hi u ->
  (forall t, (t < T)%N -> beta t * dot u (s t) = 1) ->
  (forall t, (t < T)%N -> norm_sq (beta t *: s t) <= M) ->
  0 < eta -> eta * M < 2 ->
  \sum_(t < T) (1 - beta t * dot (path eta lo hi d1 (fun t => beta t *: s t) t) (s t)) ^+ 2 <=
  norm_sq (d1 - u) / (eta * (2 - eta * M)).
Proof.
move=> box interpolates small eta_gt0 eta_M; under eq_bigr do rewrite beta_gap.
by apply: interpolating_regret => // t lt; rewrite dotZr interpolates.
Qed.

(** T7, beta-aware. Under [T7_beta_aware_regret], with C its right side: prod_{t < T} (1 - beta_t a_t)^2 <= (C/T)^T. *)
Theorem T7_beta_aware_super_geometric eta M lo hi u (d1 : 'rV[R]_n) beta (s : nat -> 'rV[R]_n) T :
  in_box lo hi u ->
  (forall t, (t < T)%N -> beta t * dot u (s t) = 1) ->
  (forall t, (t < T)%N -> norm_sq (beta t *: s t) <= M) ->
  0 < eta -> eta * M < 2 ->
  \prod_(t < T) (1 - beta t * dot (path eta lo hi d1 (fun t => beta t *: s t) t) (s t)) ^+ 2 <=
  (norm_sq (d1 - u) / (eta * (2 - eta * M)) / T%:R) ^+ T.
Proof.
move=> box interpolates small eta_gt0 eta_M; under eq_bigr do rewrite beta_gap.
by apply: super_geometric => // t lt; rewrite dotZr interpolates.
Qed.

(** T7, beta-aware, for the token losses: prod f_t(after write t) <= (C/T)^T prod f_t(before write t). *)
Theorem T7_beta_aware_token_losses eta M lo hi u (d1 : 'rV[R]_n)
    (S0 : 'M[R]_(p, n)) (k : nat -> 'rV[R]_n) (v : nat -> 'rV[R]_p) beta T :
  let s t := feature (k t) in
  let d := path eta lo hi d1 (fun t => beta t *: s t) in
  in_box lo hi u ->
  (forall t, (t < T)%N -> beta t * dot u (s t) = 1) ->
  (forall t, (t < T)%N -> norm_sq (beta t *: s t) <= M) ->
  0 < eta -> eta * M < 2 ->
  \prod_(t < T) loss_after S0 k v d beta t <=
  (norm_sq (d1 - u) / (eta * (2 - eta * M)) / T%:R) ^+ T * \prod_(t < T) loss_before S0 k v d beta t.
Proof.
move=> s d box interpolates small eta_gt0 eta_M; apply: product_loss_after_le.
exact: T7_beta_aware_super_geometric.
Qed.

End BetaAware.
