(** T19: how long the preconditioner takes to calibrate, on average, when the keys are independent.

    d_t is the unprojected iterate (the projection is inactive), w = 1. The randomness is a finite probability space. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors scan probability.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Mean.
Variables (R : realFieldType) (Omega : finType) (P : Omega -> R).
Hypothesis P_distribution : distribution P.
Variables (n : nat) (eta gamma : R) (c d1 u : 'rV[R]_n) (s : nat -> Omega -> 'rV[R]_n).

(** The features before token t, and the preconditioner that they lead to. *)
Definition past t o : seq 'rV[R]_n := [seq s i o | i <- iota 0 t].
Definition iterate t o : 'rV[R]_n :=
  unprojected eta (fun=> 1) (fun=> gamma) c d1 (fun i => s i o) t.

(** E[s_t s_t^T] *)
Definition moment t : 'M[R]_n := mean_mx P (fun o => (s t o)^T *m s t o).

(** E[d_t - u] *)
Definition mean_error t : 'rV[R]_n := mean_mx P (fun o => iterate t o - u).

Lemma pastS t o : past t.+1 o = rcons (past t o) (s t o).
Proof. by rewrite /past -(addn1 t) iotaD map_cat cats1. Qed.

(** The iterate is a function of the past alone. *)
Lemma iterate_past t o :
  iterate t o = foldl (fun d x => calibrate_free eta 1 gamma c d x) d1 (past t o).
Proof.
by elim: t => [|t IH] //; rewrite pastS foldl_rcons -IH.
Qed.

Variable T : nat.
Hypothesis keys_independent : forall t, (t < T)%N -> independent P (past t) (s t).
Variable second_moment : 'M[R]_n.
Hypothesis same_moment : forall t, (t < T)%N -> moment t = second_moment.
Hypothesis u_optimal : forall t, (t < T)%N -> mean_mx P (fun o => (1 - dot u (s t o)) *: s t o) = 0.

Lemma iterate_step t o : iterate t.+1 o - u =
  (gamma *: (iterate t o - u) + (- eta) *: ((iterate t o - u) *m ((s t o)^T *m s t o))) +
  (eta *: ((1 - dot u (s t o)) *: s t o) + (1 - gamma) *: (c - u)).
Proof.
rewrite [iterate t.+1 o]/= -/(iterate t o); move: (iterate t o) (s t o) => d x.
rewrite mulmxA dot_mx mul_scalar_mx /calibrate_free; apply/rowP => i; rewrite !mxE dotBl.
by atoms; move: (d 0 i) (x 0 i) (u 0 i) (c 0 i) => d_i x_i u_i c_i; ring.
Qed.

(** T19. With independent keys of second moment R, any forgetting gamma and anchor c:
    E[d_{t+1} - u] = (gamma I - eta R) E[d_t - u] + (1 - gamma)(c - u), if E[(1 - <u, s>) s] = 0. *)
Theorem T19_mean_step_forgetting t : (t < T)%N ->
  mean_error t.+1 = mean_error t *m (gamma%:M - eta *: second_moment) + (1 - gamma) *: (c - u).
Proof.
move=> tT; pose outer o := (s t o)^T *m s t o.
have -> : mean_error t.+1 =
    (gamma *: mean_error t + (- eta) *: mean_mx P (fun o => (iterate t o - u) *m outer o)) +
    (eta *: mean_mx P (fun o => (1 - dot u (s t o)) *: s t o) + (1 - gamma) *: (c - u)).
  rewrite -(mean_mx_const ((1 - gamma) *: (c - u)) P_distribution) -!mean_mxZ -!mean_mxD.
  by apply: eq_bigr => o _; rewrite iterate_step.
rewrite u_optimal // scaler0 add0r mulmxBr mul_mx_scalar -scalemxAr scaleNr -(same_moment tT).
congr (_ - _ *: _ + _).
pose f l := foldl (fun d x => calibrate_free eta 1 gamma c d x) d1 l - u.
transitivity (mean_mx P (fun o => f (past t o) *m outer o)).
  by apply: eq_bigr => o _; rewrite /f -iterate_past.
rewrite (independent_mean_mulmx f (fun x => x^T *m x) (keys_independent tT)); congr (_ *m _).
by apply: eq_bigr => o _; rewrite /= /f -iterate_past.
Qed.

Lemma mean_error0 : mean_error 0 = d1 - u.
Proof. by rewrite /mean_error /iterate /= mean_mx_const. Qed.

(** T19. Along an eigenvector x of R with eigenvalue lambda the mean error relaxes to the level m that forgetting
    leaves, by the factor gamma - eta lambda per token: <E[d_t - u], x> = (gamma - eta lambda)^t (<d_1 - u, x> - m) + m
    with m = (1 - gamma) <c - u, x> / (1 - gamma + eta lambda). *)
Theorem T19_eigenvector_forgetting x lambda : x *m second_moment^T = lambda *: x ->
  1 - gamma + eta * lambda != 0 ->
  let m := (1 - gamma) * dot (c - u) x / (1 - gamma + eta * lambda) in
  forall t, (t <= T)%N ->
  dot (mean_error t) x = (gamma - eta * lambda) ^+ t * (dot (d1 - u) x - m) + m.
Proof.
move=> eigen nz m; elim=> [_|t IH tT]; first by rewrite mean_error0 mul1r subrK.
rewrite T19_mean_step_forgetting // dotDl dotZl dot_adjoint linearB /= tr_scalar_mx linearZ /=.
rewrite mulmxBr mul_mx_scalar -scalemxAr eigen dotBr !dotZr IH ?(ltnW tT) // exprS /m.
by move: (_ ^+ t) (dot _ _) (dot _ _) => g a b; field.
Qed.

End Mean.

Section NoForgetting.
Variables (R : realFieldType) (Omega : finType) (P : Omega -> R).
Hypothesis P_distribution : distribution P.
Variables (n : nat) (eta : R) (d1 u : 'rV[R]_n) (s : nat -> Omega -> 'rV[R]_n).
Variables (T : nat) (second_moment : 'M[R]_n).
Hypothesis keys_independent : forall t, (t < T)%N -> independent P (past s t) (s t).
Hypothesis same_moment : forall t, (t < T)%N -> moment P s t = second_moment.
Hypothesis u_optimal : forall t, (t < T)%N -> mean_mx P (fun o => (1 - dot u (s t o)) *: s t o) = 0.

(** E[d_t - u] with gamma = 1 (the anchor then plays no part). *)
Let error t := mean_error P eta 1 0 d1 u s t.

(** T19. E[d_{t+1} - u] = (I - eta R) E[d_t - u]. *)
Theorem T19_mean_step t : (t < T)%N -> error t.+1 = error t *m (1%:M - eta *: second_moment).
Proof.
move=> tT; rewrite /error.
rewrite (T19_mean_step_forgetting P_distribution _ _ _ _ keys_independent same_moment u_optimal tT).
by rewrite subrr scale0r addr0.
Qed.

(** T19. E[d_t - u] = (I - eta R)^t (d_1 - u). *)
Theorem T19_closed_form t : (t <= T)%N ->
  error t = iter t (fun e => e *m (1%:M - eta *: second_moment)) (d1 - u).
Proof.
elim: t => [_|t IH tT]; first by rewrite /error mean_error0.
by rewrite T19_mean_step //= IH // ltnW.
Qed.

(** T19. Along an eigenvector x of R with eigenvalue lambda: <E[d_t - u], x> = (1 - eta lambda)^t <d_1 - u, x>. *)
Theorem T19_eigenvector x lambda t : x *m second_moment^T = lambda *: x -> (t <= T)%N ->
  dot (error t) x = (1 - eta * lambda) ^+ t * dot (d1 - u) x.
Proof.
move=> eigen; elim: t => [_|t IH tT]; first by rewrite /error mean_error0 // mul1r.
rewrite T19_mean_step // dot_adjoint linearB /= trmx1 linearZ /= mulmxBr mulmx1 -scalemxAr eigen.
by rewrite dotBr !dotZr IH ?(ltnW tT) // exprS; ring.
Qed.

End NoForgetting.

Section Times.
Variable R : realFieldType.

(** T19. Calibration takes about 1 / x tokens, x = eta lambda: what is left after t of them is at least 1 - t x (so more
    than half is left before 1 / (2 x) tokens) and at most 1 / (1 + t x) (so at most half is left after 1 / x). *)
Theorem T19_time_constant (x : R) t : 0 <= x <= 1 ->
  1 - t%:R * x <= (1 - x) ^+ t <= (1 + t%:R * x)^-1.
Proof.
case/andP=> x_ge0 x_le1; have y_ge0 : 0 <= 1 - x by rewrite subr_ge0.
have tx_ge0 m : 0 <= m%:R * x by rewrite mulr_ge0 ?ler0n.
have pos m : 0 < 1 + m%:R * x by rewrite ltr_paddr ?ltr01.
apply/andP; split.
  elim: t => [|t IH]; first by rewrite mul0r subr0.
  rewrite exprS; apply: le_trans (ler_wpmul2l y_ge0 IH); rewrite -subr_ge0.
  have -> : (1 - x) * (1 - t%:R * x) - (1 - t.+1%:R * x) = t%:R * x * x by rewrite mulrSr; ring.
  by rewrite mulr_ge0 ?tx_ge0.
rewrite -[_^-1]mul1r ler_pdivl_mulr //; elim: t => [|t IH]; first by rewrite mul0r addr0 mul1r.
have y_pow : 0 <= (1 - x) ^+ t by rewrite exprn_ge0.
apply: le_trans IH; rewrite exprSr -mulrA ler_wpmul2l // -subr_ge0.
have -> : 1 + t%:R * x - (1 - x) * (1 + t.+1%:R * x) = t.+1%:R * x * x by rewrite mulrSr; ring.
by rewrite mulr_ge0 ?tx_ge0.
Qed.

(** T19. Unit keys: the all-ones u is optimal, token by token. *)
Theorem T19_unit_keys_optimum n (k : 'rV[R]_n) : norm_sq k = 1 ->
  (1 - dot (ones R n) (feature k)) *: feature k = 0.
Proof. by move=> unit; rewrite dot_ones_feature unit subrr scale0r. Qed.

Variable n : nat.
Let K : R := n.+1%:R.

(** E[s s^T] for isotropic unit keys in dimension K: 3 / (K (K + 2)) on the diagonal, 1 / (K (K + 2)) off it. *)
Definition isotropic_moment : 'M[R]_n.+1 := (K * (K + 2))^-1 *: (const_mx 1 + 2%:M).

Lemma isotropic_product (x : 'rV[R]_n.+1) :
  x *m isotropic_moment^T = (K * (K + 2))^-1 *: (dot (ones R _) x *: ones R _ + 2 *: x).
Proof.
rewrite linearZ linearD /= trmx_const tr_scalar_mx -scalemxAr mulmxDr mul_mx_scalar.
congr (_ *: (_ + _)); apply/rowP => j; rewrite !mxE mulr1.
by apply: eq_bigr => i _; rewrite !mxE mulrC.
Qed.

(** T19. For isotropic unit keys the all-ones direction has eigenvalue 1 / K ... *)
Theorem T19_isotropic_ones : ones R n.+1 *m isotropic_moment^T = K^-1 *: ones R n.+1.
Proof.
have K_gt0 : 0 < K by rewrite ltr0Sn.
have K_nz : K != 0 by rewrite gt_eqF.
have K2_nz : K + 2 != 0 by rewrite gt_eqF // addr_gt0 // ltr0n.
have sum : dot (ones R n.+1) (ones R n.+1) = K.
  by rewrite dot_ones (eq_bigr (fun=> 1)) ?sumr_const ?card_ord // => i _; rewrite mxE.
rewrite isotropic_product sum -scalerDl scalerA; congr (_ *: _); field.
by rewrite K_nz K2_nz.
Qed.

(** T19. ... and every direction x with sum x = 0 has eigenvalue 2 / (K (K + 2)). *)
Theorem T19_isotropic_rest (x : 'rV[R]_n.+1) : \sum_i x 0 i = 0 ->
  x *m isotropic_moment^T = (2 / (K * (K + 2))) *: x.
Proof. by rewrite isotropic_product dot_ones => ->; rewrite scale0r add0r scalerA mulrC. Qed.

End Times.

(** The hypotheses of T19 are met by keys drawn independently from one distribution. *)
Section Draws.
Variables (R : realFieldType) (T n : nat) (A : finType) (mu : A -> R) (key : A -> 'rV[R]_n).
Hypothesis mu_distribution : distribution mu.

(** Token t of a stream of T independent draws. *)
Definition draw (t : nat) (o : {ffun 'I_T -> A}) : 'rV[R]_n :=
  if insub t is Some i then feature (key (o i)) else 0.

Lemma draw_ord (i : 'I_T) o : draw i o = feature (key (o i)).
Proof. by rewrite /draw valK. Qed.

Lemma past_rectangle t l : (t <= T)%N -> size l = t -> forall o,
  (past draw t o == l) = [forall i : 'I_T, (i < t)%N ==> (feature (key (o i)) == nth 0 l i)].
Proof.
move=> tT sl o; apply/eqP/forallP => [eq_l i|same].
  apply/implyP => it; rewrite -draw_ord -eq_l (nth_map 0%N) ?size_iota // nth_iota //.
apply: (@eq_from_nth _ 0) => [|i]; rewrite size_map size_iota ?sl // => it.
rewrite (nth_map 0%N) ?size_iota // nth_iota // add0n.
have iT := leq_trans it tT; have := same (Ordinal iT); rewrite /= it /= => /eqP <-.
exact: (draw_ord (Ordinal iT)).
Qed.

(** T19. Independent draws are independent in the sense used above: the past from the present. *)
Theorem T19_draws_independent t : (t < T)%N -> independent (product_law mu) (past draw t) (draw t).
Proof.
move=> tT l y; pose now := Ordinal tT.
have now_rectangle o : (draw t o == y) = [forall i : 'I_T, (i == now) ==> (feature (key (o i)) == y)].
  apply/idP/forallP => [eq_y i|/(_ now)]; last by rewrite eqxx -draw_ord.
  by apply/implyP => /eqP->; rewrite -draw_ord.
have [size_l|size_l] := eqVneq (size l) t; last first.
  have never o : (past draw t o == l) = false.
    by apply/eqP => eq_l; move: size_l; rewrite -eq_l size_map size_iota eqxx.
  rewrite [LHS]prob_none => [|o]; last by rewrite never.
  by rewrite [X in X * _]prob_none // mul0r.
pose Q (i : 'I_T) a := (i < t)%N ==> (feature (key a) == nth 0 l i).
pose Q' (i : 'I_T) a := (i == now) ==> (feature (key a) == y).
have Q_past o : (past draw t o == l) = [forall i, Q i (o i)] by exact: past_rectangle (ltnW tT) size_l o.
rewrite (eq_prob _ Q_past) (eq_prob _ now_rectangle).
rewrite -(prob_disjoint mu_distribution (Q := Q) (Q' := Q') (D := fun i => i < t)%N).
- by apply: eq_prob => o; rewrite Q_past now_rectangle.
- by move=> i /negbTE late a; rewrite /Q late.
- by move=> i early a; rewrite /Q'; case: eqP early => // ->; rewrite ltnn.
Qed.

(** T19. The second moment is the same at every token. *)
Theorem T19_draws_moment t : (t < T)%N ->
  moment (product_law mu) draw t = mean_mx mu (fun a => (feature (key a))^T *m feature (key a)).
Proof.
move=> tT; pose now := Ordinal tT; apply/matrixP => i j; rewrite !mean_mxE.
pose f a := ((feature (key a))^T *m feature (key a)) i j.
transitivity (mean (product_law mu) (fun o => f (o now))).
  by apply: eq_bigr => o _; rewrite (draw_ord now).
exact: mean_coordinate.
Qed.

End Draws.
