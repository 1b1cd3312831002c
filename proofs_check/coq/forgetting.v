(** T13: forgetting. The anchored step with forgetting factors gamma_t: what it descends, how fast two runs meet, and
    where a constant key leaves it. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token sums projection.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Descent.
Variables (R : realFieldType) (n : nat).
Implicit Types (c d e s lo hi : 'rV[R]_n) (eta gamma lambda : R).

(** l(d) + lambda |d - c|^2 / 2 and its gradient *)
Definition anchored_loss lambda c d s : R := surrogate d s + lambda / 2 * norm_sq (d - c).
Definition anchored_gradient lambda c d s : 'rV[R]_n := surrogate_gradient d s + lambda *: (d - c).

(** T13. The anchored loss is exactly quadratic, with the gradient [anchored_gradient]. *)
Theorem T13_anchored_quadratic lambda c d e s :
  anchored_loss lambda c (d + e) s = anchored_loss lambda c d s + dot (anchored_gradient lambda c d s) e +
    (dot e s ^+ 2 / 2 + lambda / 2 * norm_sq e).
Proof.
rewrite /anchored_loss /anchored_gradient T4_exact_quadratic (dotDl (surrogate_gradient _ _)) dotZl.
by rewrite (addrAC d e) norm_sqD; atoms; field.
Qed.

(** T13. The step with forgetting factor gamma and anchor c is projected gradient descent on
    l(d) + lambda |d - c|^2 / 2 with lambda = (1 - gamma) / eta. *)
Theorem T13_forgetting_is_regularised_descent eta gamma c lo hi d s : eta != 0 ->
  calibrate eta 1 gamma c lo hi d s = clip lo hi (d - eta *: anchored_gradient ((1 - gamma) / eta) c d s).
Proof.
move=> nz; congr clip; apply/rowP => i; rewrite !mxE; entries; field; exact: nz.
Qed.

End Descent.

Section Runs.
Variables (R : realFieldType) (n : nat).
Implicit Types (c d e s lo hi : 'rV[R]_n) (eta : R).

(** The anchor and the target cancel between two runs: what is left is gamma I - eta w s s^T. *)
Lemma free_difference eta w gamma c d e s :
  calibrate_free eta w gamma c d s - calibrate_free eta w gamma c e s =
  gamma *: (d - e) - (eta * w * dot (d - e) s) *: s.
Proof.
by rewrite dotBl /calibrate_free; apply/rowP => i; rewrite !mxE; entries; ring.
Qed.

(** gamma I - eta w s s^T does not stretch by more than gamma, if eta w |s|^2 <= 2 gamma. *)
Lemma free_contraction eta w gamma c d e s :
  0 <= eta * w -> eta * w * norm_sq s <= 2 * gamma ->
  norm_sq (calibrate_free eta w gamma c d s - calibrate_free eta w gamma c e s) <=
  gamma ^+ 2 * norm_sq (d - e).
Proof.
move=> step_ge0; rewrite -subr_ge0 => small; rewrite free_difference norm_sqB !norm_sqZ dotZl dotZr -subr_ge0.
set h := eta * w in step_ge0 small *; set x := dot (d - e) s.
have -> : gamma ^+ 2 * norm_sq (d - e) - (gamma ^+ 2 * norm_sq (d - e) - 2 * (gamma * (h * x * x))
    + (h * x) ^+ 2 * norm_sq s) = h * x ^+ 2 * (2 * gamma - h * norm_sq s).
  by clearbody h x; atoms; ring.
by apply: mulr_ge0 small; apply: mulr_ge0 (sqr_ge0 _).
Qed.

(** From token t on, h tokens. *)
Lemma forgetting_from eta (w gamma : nat -> R) c lo hi d e (s : nat -> 'rV[R]_n) t h :
  let run f := scan eta w gamma c lo hi f s in
  (forall i, (t <= i < t + h)%N -> 0 <= eta * w i) ->
  (forall i, (t <= i < t + h)%N -> eta * w i * norm_sq (s i) <= 2 * gamma i) ->
  norm_sq (run d (t + h)%N - run e (t + h)%N) <=
  (\prod_(t <= i < t + h) gamma i) ^+ 2 * norm_sq (run d t - run e t).
Proof.
move=> run; elim: h => [|h IH] step_ge0 small.
  by rewrite addn0 big_geq // expr1n mul1r.
have last_in : (t <= t + h < t + h.+1)%N by rewrite leq_addr addnS ltnSn.
have earlier i : (t <= i < t + h)%N -> (t <= i < t + h.+1)%N.
  by case/andP=> -> lt; rewrite addnS (ltn_trans lt).
rewrite addnS big_nat_recr ?leq_addr //= exprMn mulrAC mulrC.
apply: (le_trans (clip_nonexpansive _ _ _ _)).
apply: (le_trans (free_contraction _ _ _ (step_ge0 _ last_in) (small _ last_in))).
apply: ler_wpmul2l; first exact: sqr_ge0.
by apply: IH => i in_range; [apply: step_ge0|apply: small]; apply: earlier.
Qed.

(** T13. Two runs of the same tokens from different starts, with clipping: if eta w_t >= 0 and
    eta w_t |s_t|^2 <= 2 gamma_t for all t < T, then |d_T - d'_T|^2 <= (prod_{t < T} gamma_t)^2 |d_0 - d'_0|^2.
    (d_0 is the first preconditioner; no box membership and no gamma <= 1 is needed.) *)
Theorem T13_forgetting eta (w gamma : nat -> R) c lo hi d e (s : nat -> 'rV[R]_n) T :
  (forall t, (t < T)%N -> 0 <= eta * w t) ->
  (forall t, (t < T)%N -> eta * w t * norm_sq (s t) <= 2 * gamma t) ->
  norm_sq (scan eta w gamma c lo hi d s T - scan eta w gamma c lo hi e s T) <=
  (\prod_(t < T) gamma t) ^+ 2 * norm_sq (d - e).
Proof.
move=> step_ge0 small; rewrite -(big_mkord xpredT gamma).
by apply: (@forgetting_from eta w gamma c lo hi d e s 0 T) => t; rewrite add0n; [apply: step_ge0|apply: small].
Qed.

(** T13. With one gamma: if eta >= 0 and eta |s_t|^2 <= 2 gamma, then |d_T - d'_T|^2 <= gamma^(2T) |d_0 - d'_0|^2. *)
Theorem T13_forgetting_constant eta gamma c lo hi d e (s : nat -> 'rV[R]_n) T :
  let run f := scan eta (fun=> 1) (fun=> gamma) c lo hi f s in
  0 <= eta -> (forall t, (t < T)%N -> eta * norm_sq (s t) <= 2 * gamma) ->
  norm_sq (run d T - run e T) <= gamma ^+ (2 * T) * norm_sq (d - e).
Proof.
move=> run eta_ge0 small; have := @T13_forgetting eta (fun=> 1) (fun=> gamma) c lo hi d e s T.
by rewrite prodr_const card_ord -exprM mulnC; apply=> t lt; rewrite mulr1 // small.
Qed.

(** T13, half-life. If gamma^h <= 1/2 then h more tokens at least halve the distance of two runs (its square is
    quartered): h = ln 2 / (- ln gamma) tokens are enough. *)
Theorem T13_half_life eta gamma c lo hi d e (s : nat -> 'rV[R]_n) t h :
  let run f := scan eta (fun=> 1) (fun=> gamma) c lo hi f s in
  0 <= eta -> 0 <= gamma -> gamma ^+ h <= 1 / 2 ->
  (forall i, eta * norm_sq (s i) <= 2 * gamma) ->
  norm_sq (run d (t + h)%N - run e (t + h)%N) <= (1 / 2) ^+ 2 * norm_sq (run d t - run e t).
Proof.
move=> run eta_ge0 gamma_ge0 half small.
have := @forgetting_from eta (fun=> 1) (fun=> gamma) c lo hi d e s t h.
rewrite prodr_const_nat addKn => /(_ _ _)/le_trans; apply.
- by move=> i _; rewrite mulr1.
- by move=> i _; rewrite mulr1.
apply: ler_wpmul2r; first exact: norm_sq_ge0.
by apply: ler_expn2r; rewrite ?nnegrE ?exprn_ge0 ?divr_ge0 ?ler01 ?ler0n.
Qed.

End Runs.

Section Norms.
Variables (R : rcfType) (n : nat).

(** T13, with norms: |d_T - d'_T| <= gamma^T |d_0 - d'_0|. *)
Theorem T13_forgetting_norm (eta gamma : R) (c lo hi d e : 'rV[R]_n) (s : nat -> 'rV[R]_n) T :
  let run f := scan eta (fun=> 1) (fun=> gamma) c lo hi f s in
  0 <= eta -> 0 <= gamma -> (forall t, (t < T)%N -> eta * norm_sq (s t) <= 2 * gamma) ->
  Num.sqrt (norm_sq (run d T - run e T)) <= gamma ^+ T * Num.sqrt (norm_sq (d - e)).
Proof.
move=> run eta_ge0 gamma_ge0 small.
rewrite -[X in X * _](ger0_norm (exprn_ge0 T gamma_ge0)) -sqrtr_sqr -sqrtrM ?sqr_ge0 //.
by rewrite -exprM mulnC ler_wsqrtr // T13_forgetting_constant.
Qed.

End Norms.

Section ConstantKey.
Variables (R : realFieldType) (n : nat).
Implicit Types (c d s : 'rV[R]_n) (eta gamma a : R).

(** What the unprojected step does to the alignment a = <d, s> of a key that comes again. *)
Definition next_alignment eta gamma c s a : R :=
  dot c s + gamma * (a - dot c s) + eta * (1 - a) * norm_sq s.

(** a_inf = ((1 - gamma) <c, s> + eta |s|^2) / ((1 - gamma) + eta |s|^2) *)
Definition limit_alignment eta gamma c s : R :=
  ((1 - gamma) * dot c s + eta * norm_sq s) / ((1 - gamma) + eta * norm_sq s).

(** The run of one key, unprojected. *)
Definition constant_path eta gamma c s d (t : nat) : 'rV[R]_n :=
  iter t (fun x => calibrate_free eta 1 gamma c x s) d.

(** T13. [next_alignment] is the alignment after the unprojected step. *)
Theorem T13_next_alignment eta gamma c d s :
  dot (calibrate_free eta 1 gamma c d s) s = next_alignment eta gamma c s (dot d s).
Proof. by rewrite /calibrate_free /next_alignment !dotDl !dotZl dotBl /norm_sq; atoms; ring. Qed.

(** T13. a_inf is the one and only fixed point of the alignment of a constant key. *)
Theorem T13_fixed_point eta gamma c s a : (1 - gamma) + eta * norm_sq s != 0 ->
  (next_alignment eta gamma c s a = a) <-> (a = limit_alignment eta gamma c s).
Proof.
rewrite /next_alignment /limit_alignment; atoms => nz; split=> [fixed|->].
  apply: (mulIf nz); rewrite divfK //; apply/eqP; rewrite eq_sym -subr_eq0 -(subrr a) -{2}fixed.
  by apply/eqP; ring.
by field.
Qed.

(** T13. The alignment approaches a_inf by exactly the factor gamma - eta |s|^2 per token:
    a_t - a_inf = (gamma - eta |s|^2)^t (a_0 - a_inf). *)
Theorem T13_alignment_rate eta gamma c s d t : (1 - gamma) + eta * norm_sq s != 0 ->
  dot (constant_path eta gamma c s d t) s - limit_alignment eta gamma c s =
  (gamma - eta * norm_sq s) ^+ t * (dot d s - limit_alignment eta gamma c s).
Proof.
move=> nz; elim: t => [|t IH]; first by rewrite expr0 mul1r.
rewrite /constant_path iterS T13_next_alignment -/(constant_path _ _ _ _ _ t).
rewrite exprS -mulrA -IH /next_alignment /limit_alignment; move: nz; atoms => nz; field; exact: nz.
Qed.

(** T13. An anchor with <c, s> = 1 removes the bias: a_inf = 1. For unit keys c = 1 (all ones) is such an anchor. *)
Theorem T13_anchor_removes_bias eta gamma c s : (1 - gamma) + eta * norm_sq s != 0 ->
  dot c s = 1 -> limit_alignment eta gamma c s = 1.
Proof. by move=> nz anchored; rewrite /limit_alignment anchored mulr1 divff. Qed.

End ConstantKey.

Section IsotropicKeys.
Variables (R : realFieldType) (n N : nat).
Implicit Types (eta gamma x : R) (s : 'I_N -> 'rV[R]_n).

(** kappa = ((1 - gamma) y + eta/K) / ((1 - gamma) + eta/K) for the anchor y (all ones) *)
Definition isotropic_limit eta gamma y : R := ((1 - gamma) * y + eta / n%:R) / ((1 - gamma) + eta / n%:R).

(** T13. N equally likely keys of norm one (<1, s_i> = 1) whose features average to 1/K, and c = y (all ones): from
    x (all ones) the mean of the unprojected step is (y + gamma (x - y) + (eta/K)(1 - x)) (all ones), whose one fixed
    point is kappa. *)
Theorem T13_isotropic_mean eta gamma x y s :
  (0 < N)%N -> (forall i, dot (ones R n) (s i) = 1) ->
  N%:R^-1 *: (\sum_i s i) = n%:R^-1 *: ones R n ->
  N%:R^-1 *: (\sum_i calibrate_free eta 1 gamma (y *: ones R n) (x *: ones R n) (s i)) =
  (y + gamma * (x - y) + eta / n%:R * (1 - x)) *: ones R n.
Proof.
move=> N_gt0 unit_keys mean_key.
have N_neq0 : N%:R != 0 :> R by rewrite pnatr_eq0 -lt0n.
under eq_bigr => i _ do rewrite /calibrate_free -scalerBl dotZl unit_keys !mulr1 scalerA -scalerDl.
rewrite big_split sumr_const card_ord -scaler_sumr scalerDr -scaler_nat (scalerA N%:R^-1 N%:R) mulVf // scale1r.
by rewrite (scalerA _ (eta * _)) (mulrC N%:R^-1) -(scalerA (eta * _)) mean_key scalerA -scalerDl mulrAC.
Qed.

(** T13. kappa is that fixed point. *)
Theorem T13_isotropic_fixed_point eta gamma x y : (1 - gamma) + eta / n%:R != 0 ->
  (y + gamma * (x - y) + eta / n%:R * (1 - x) = x) <-> (x = isotropic_limit eta gamma y).
Proof.
rewrite /isotropic_limit; move: (eta / n%:R) => h nz; split=> [fixed|->]; last by field.
apply: (mulIf nz); rewrite divfK //; apply/eqP; rewrite eq_sym -subr_eq0 -(subrr x) -{2}fixed.
by apply/eqP; ring.
Qed.

End IsotropicKeys.
