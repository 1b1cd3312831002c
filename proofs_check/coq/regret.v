(** T5, T6: the regret of the calibrate steps when one point of the box interpolates, and what it means for the
    token losses. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token sums projection.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Step.
Variables (R : realFieldType) (n : nat).
Implicit Types (d s u lo hi : 'rV[R]_n) (eta : R).

(** Plain OSDN moves along the key feature alone. *)
Lemma calibrate_plain eta d s :
  calibrate_free eta 1 1 0 d s = d + (eta * (1 - dot d s)) *: s.
Proof. by rewrite /calibrate_free add0r subr0 scale1r mulr1. Qed.

(** One calibrate step against a point of the box; the projection only helps. *)
Lemma step_distance eta lo hi d s u : in_box lo hi u ->
  norm_sq (calibrate eta 1 1 0 lo hi d s - u) <=
  norm_sq (d - u) + 2 * eta * (1 - dot d s) * dot (d - u) s + eta ^+ 2 * (1 - dot d s) ^+ 2 * norm_sq s.
Proof.
move=> box; apply: (le_trans (clip_toward _ box)).
rewrite calibrate_plain addrAC norm_sqD norm_sqZ dotZr exprMn.
rewrite le_eqVlt; apply/orP; left; apply/eqP; ring.
Qed.

End Step.

Section Regret.
Variables (R : realFieldType) (n : nat).
Variables (eta M : R) (lo hi d1 u : 'rV[R]_n) (s : nat -> 'rV[R]_n) (T : nat).
Notation d := (path eta lo hi d1 s).
Notation gap := (gap eta lo hi d1 s).

Hypothesis u_box : in_box lo hi u.
Hypothesis interpolates : forall t, (t < T)%N -> dot u (s t) = 1.
Hypothesis small : forall t, (t < T)%N -> norm_sq (s t) <= M.
Hypothesis eta_gt0 : 0 < eta.
Hypothesis eta_M : eta * M < 2.

(** The distance to u pays for the squared gap. *)
Lemma interpolating_step t : (t < T)%N ->
  norm_sq (d t.+1 - u) + eta * (2 - eta * M) * gap t ^+ 2 <= norm_sq (d t - u).
Proof.
move=> lt; have step := step_distance eta (d t) (s t) u_box.
have along : dot (d t - u) (s t) = - gap t by rewrite dotBl (interpolates lt) /definitions.gap opprB.
rewrite along -/(gap t) in step; have slack := small lt.
rewrite -subr_ge0 in slack.
apply: (le_trans (ler_add step (lexx _))); rewrite -subr_ge0.
have -> : norm_sq (d t - u) - (norm_sq (d t - u) + 2 * eta * gap t * - gap t
    + eta ^+ 2 * gap t ^+ 2 * norm_sq (s t) + eta * (2 - eta * M) * gap t ^+ 2)
  = (eta * gap t) ^+ 2 * (M - norm_sq (s t)) by ring.
by rewrite mulr_ge0 ?sqr_ge0.
Qed.

Lemma interpolating_regret :
  \sum_(t < T) gap t ^+ 2 <= norm_sq (d1 - u) / (eta * (2 - eta * M)).
Proof.
have pos : 0 < eta * (2 - eta * M) by rewrite mulr_gt0 ?subr_gt0.
rewrite ler_pdivl_mulr // mulr_suml.
have := potential_pays (fun t => norm_sq_ge0 (d t - u)) interpolating_step.
by rewrite -mulr_sumr mulrC mulr_suml.
Qed.

Lemma super_geometric :
  \prod_(t < T) gap t ^+ 2 <= (norm_sq (d1 - u) / (eta * (2 - eta * M)) / T%:R) ^+ T.
Proof.
apply: (@product_le_mean_power _ (fun t => gap t ^+ 2)) interpolating_regret => t _; exact: sqr_ge0.
Qed.

End Regret.

Section Memory.
Variables (R : realFieldType) (p n : nat) (S0 : 'M[R]_(p, n)) (k : nat -> 'rV[R]_n) (v : nat -> 'rV[R]_p).
Variables (d : nat -> 'rV[R]_n) (beta : nat -> R).

Notation memory := (memory k d v beta S0).

(** f_t before and after the write of token t. *)
Definition loss_before t : R := token_loss (memory t) (k t) (v t).
Definition loss_after t : R := token_loss (memory t.+1) (k t) (v t).

Lemma loss_after_ratio t :
  loss_after t = (1 - beta t * dot (d t) (feature (k t))) ^+ 2 * loss_before t.
Proof. exact: T3_loss_identity. Qed.

Lemma loss_before_ge0 t : 0 <= loss_before t.
Proof. exact: token_loss_ge0. Qed.

Lemma product_loss_after T :
  \prod_(t < T) loss_after t =
  (\prod_(t < T) (1 - beta t * dot (d t) (feature (k t))) ^+ 2) * \prod_(t < T) loss_before t.
Proof. by rewrite -big_split; apply: eq_bigr => t _; apply: loss_after_ratio. Qed.

(** A bound on the product of the squared factors is a bound on the product of the token losses. *)
Lemma product_loss_after_le T (bound : R) :
  \prod_(t < T) (1 - beta t * dot (d t) (feature (k t))) ^+ 2 <= bound ->
  \prod_(t < T) loss_after t <= bound * \prod_(t < T) loss_before t.
Proof.
move=> le; rewrite product_loss_after; apply: ler_wpmul2r => //.
by apply: prodr_ge0 => t _; apply: loss_before_ge0.
Qed.

(** The same for the residual ratios q_t, where no residual is zero. *)
Lemma product_ratio T : (forall t, (t < T)%N -> loss_before t != 0) ->
  \prod_(t < T) (loss_after t / loss_before t) =
  \prod_(t < T) (1 - beta t * dot (d t) (feature (k t))) ^+ 2.
Proof.
by move=> nz; apply: eq_bigr => t _; rewrite loss_after_ratio mulfK ?nz.
Qed.

End Memory.

Section Theorems.
Variables (R : realFieldType) (p n : nat).
Implicit Types (eta M : R) (lo hi u : 'rV[R]_n) (T : nat).

(** T5. If a point u of the box interpolates, <u, s_t> = 1 for all t < T, if |s_t|^2 <= M, and if 0 < eta < 2/M, then
    sum_{t < T} (1 - a_t)^2 <= |d_1 - u|^2 / (eta (2 - eta M)). The start d_1 may lie outside the box. *)
Theorem T5_interpolating_regret eta M lo hi u (d1 : 'rV[R]_n) (s : nat -> 'rV[R]_n) T :
  in_box lo hi u ->
  (forall t, (t < T)%N -> dot u (s t) = 1) ->
  (forall t, (t < T)%N -> norm_sq (s t) <= M) ->
  0 < eta -> eta * M < 2 ->
  \sum_(t < T) gap eta lo hi d1 s t ^+ 2 <= norm_sq (d1 - u) / (eta * (2 - eta * M)).
Proof. exact: interpolating_regret. Qed.

(** T6. Under T5, with C its right side: prod_{t < T} (1 - a_t)^2 <= (C/T)^T. *)
Theorem T6_super_geometric eta M lo hi u (d1 : 'rV[R]_n) (s : nat -> 'rV[R]_n) T :
  in_box lo hi u ->
  (forall t, (t < T)%N -> dot u (s t) = 1) ->
  (forall t, (t < T)%N -> norm_sq (s t) <= M) ->
  0 < eta -> eta * M < 2 ->
  \prod_(t < T) gap eta lo hi d1 s t ^+ 2 <= (norm_sq (d1 - u) / (eta * (2 - eta * M)) / T%:R) ^+ T.
Proof. exact: super_geometric. Qed.

(** T6, for the token losses. Tokens (k_t, v_t) are written in full (beta = 1) into the memory, with the
    preconditioners that plain OSDN calibrates on s_t = k_t * k_t. Under T5, whatever the values and the first memory,
    prod_{t < T} f_t(after write t) <= (C/T)^T prod_{t < T} f_t(before write t). *)
Theorem T6_token_losses eta M lo hi u (d1 : 'rV[R]_n)
    (S0 : 'M[R]_(p, n)) (k : nat -> 'rV[R]_n) (v : nat -> 'rV[R]_p) T :
  let s t := feature (k t) in
  let d := path eta lo hi d1 s in
  in_box lo hi u ->
  (forall t, (t < T)%N -> dot u (s t) = 1) ->
  (forall t, (t < T)%N -> norm_sq (s t) <= M) ->
  0 < eta -> eta * M < 2 ->
  \prod_(t < T) loss_after S0 k v d (fun=> 1) t <=
  (norm_sq (d1 - u) / (eta * (2 - eta * M)) / T%:R) ^+ T * \prod_(t < T) loss_before S0 k v d (fun=> 1) t.
Proof.
move=> s d box interpolates small eta_gt0 eta_M; apply: product_loss_after_le.
rewrite (eq_bigr (fun t : 'I_T => gap eta lo hi d1 s t ^+ 2)); first exact: super_geometric.
by move=> t _; rewrite mul1r.
Qed.

(** T6, for the token residual ratios q_t = f_t(after write t) / f_t(before write t), where no residual is zero:
    prod_{t < T} q_t <= (C/T)^T. *)
Theorem T6_residual_ratios eta M lo hi u (d1 : 'rV[R]_n)
    (S0 : 'M[R]_(p, n)) (k : nat -> 'rV[R]_n) (v : nat -> 'rV[R]_p) T :
  let s t := feature (k t) in
  let d := path eta lo hi d1 s in
  in_box lo hi u ->
  (forall t, (t < T)%N -> dot u (s t) = 1) ->
  (forall t, (t < T)%N -> norm_sq (s t) <= M) ->
  0 < eta -> eta * M < 2 ->
  (forall t, (t < T)%N -> loss_before S0 k v d (fun=> 1) t != 0) ->
  \prod_(t < T) (loss_after S0 k v d (fun=> 1) t / loss_before S0 k v d (fun=> 1) t) <=
  (norm_sq (d1 - u) / (eta * (2 - eta * M)) / T%:R) ^+ T.
Proof.
move=> s d box interpolates small eta_gt0 eta_M nz; rewrite product_ratio //.
rewrite (eq_bigr (fun t : 'I_T => gap eta lo hi d1 s t ^+ 2)); first exact: super_geometric.
by move=> t _; rewrite mul1r.
Qed.

End Theorems.
