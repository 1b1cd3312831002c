(** T25: how fast one static preconditioner contracts a context whose tokens are drawn at random, and the box's speed
    limit. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token projection probability lyapunov.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Rate.
Variables (R : rcfType) (p n : nat) (Omega : finType) (P : Omega -> R).
Variables (k : Omega -> 'rV[R]_n) (beta : Omega -> R).
Implicit Types (d x : 'rV[R]_n) (S target : 'M[R]_(p, n)).

(** D^(1/2) k for D = Diag(d), and E D^(-1/2). *)
Definition half d x : 'rV[R]_n := \row_i (Num.sqrt (d 0 i) * x 0 i).
Definition scaled_error d (E : 'M[R]_(p, n)) : 'M[R]_(p, n) := E *m diag_mx (\row_i (Num.sqrt (d 0 i))^-1).

(** W_d = sum_i p_i beta_i (2 - beta_i a_i) D^(1/2) k_i k_i^T D^(1/2) *)
Definition rate_matrix d : 'M[R]_n :=
  mean_mx P (fun o => (beta o * (2 - beta o * alignment d (feature (k o)))) *: ((half d (k o))^T *m half d (k o))).

Notation rate d o := (beta o * (2 - beta o * alignment d (feature (k o)))).

Lemma rate_form d x : dot (x *m rate_matrix d) x = mean P (fun o => rate d o * dot x (half d (k o)) ^+ 2).
Proof.
rewrite /rate_matrix mulmx_sumr dot_suml; apply: eq_bigr => o _.
by rewrite -!scalemxAr mulmxA dot_mx mul_scalar_mx !dotZl (dotC _ x).
Qed.

Lemma half_read d (E : 'M[R]_(p, n)) o : (forall i, 0 < d 0 i) -> half d (k o) *m (scaled_error d E)^T = k o *m E^T.
Proof.
move=> pos; rewrite /scaled_error mul_mx_diag; apply/rowP => i; rewrite !mxE; apply: eq_bigr => j _.
have nz : Num.sqrt (d 0 j) != 0 by rewrite sqrtr_eq0 -ltNge.
by rewrite !mxE; move: (Num.sqrt _) nz => r nz; entries; field.
Qed.

(** T25. Realisable tokens drawn with probabilities P, E = S - S*, E^ = E D^(-1/2), V = |E^|_F^2: the mean of V after one
    write is V - tr (E^ W_d E^^T), exactly. *)
Theorem t25_expected_contraction d S target : distribution P -> (forall i, 0 < d 0 i) ->
  mean P (fun o => lyapunov d (write S (k o) (k o *m target^T) d (beta o) - target)) =
  lyapunov d (S - target) -
  inner (scaled_error d (S - target) *m rate_matrix d) (scaled_error d (S - target)).
Proof.
move=> [_ total] pos; have nz i : d 0 i != 0 by rewrite gt_eqF.
have -> : inner (scaled_error d (S - target) *m rate_matrix d) (scaled_error d (S - target)) =
    mean P (fun o => rate d o * norm_sq (k o *m (S - target)^T)).
  rewrite /rate_matrix mulmx_sumr /inner mulmx_suml raddf_sum; apply: eq_bigr => o _ /=.
  rewrite -!scalemxAr -!scalemxAl !mxtraceZ; congr (_ * (_ * _)).
  rewrite -(half_read _ _ pos); move: (scaled_error d _) (half d _) => X h.
  by rewrite mulmxA -mulmxA mxtrace_mulC /norm_sq dot_tr trmx_mul trmxK.
have -> : lyapunov d (S - target) = \sum_o P o * lyapunov d (S - target) by rewrite -mulr_suml total mul1r.
by rewrite -sumrB; apply: eq_bigr => o _; rewrite T16_lyapunov_identity // -mulrBr.
Qed.

(** T25. So with a lower bound l on the eigenvalues of W_d, V falls by the factor 1 - l per token, in the mean. *)
Theorem t25_mean_rate d S target (l : R) : distribution P -> (forall i, 0 < d 0 i) ->
  (forall x, l * norm_sq x <= dot (x *m rate_matrix d) x) ->
  mean P (fun o => lyapunov d (write S (k o) (k o *m target^T) d (beta o) - target)) <=
  (1 - l) * lyapunov d (S - target).
Proof.
move=> dist pos lower; rewrite t25_expected_contraction // mulrBl mul1r ler_add2l ler_opp2.
rewrite T16_metric_is_frobenius // -/(scaled_error d (S - target)); move: (scaled_error _ _) => E.
rewrite frob_sq_rows innerE mulr_sumr; apply: ler_sum => i _.
have -> : \sum_j (E *m rate_matrix d) i j * E i j = dot (row i E *m rate_matrix d) (row i E).
  by rewrite -row_mul; apply: eq_bigr => j _; rewrite !mxE.
exact: lower.
Qed.

End Rate.

Section SpeedLimit.
Variables (R : rcfType) (n : nat) (Omega : finType) (P : Omega -> R) (k : Omega -> 'rV[R]_n).

(** T25, the box's speed limit. Unit keys, beta = 1, 0 < lo <= d <= hi, lo <= 2: what bounds the eigenvalues of W_d from
    below bounds hi (2 - lo) times those of DeltaNet's W_1, so lambda_min (W_d) <= hi (2 - lo) lambda_min (W_1). *)
Theorem t25_speed_limit (d y : 'rV[R]_n) (lo hi l : R) :
  distribution P -> (forall o, norm_sq (k o) = 1) ->
  0 < lo -> lo <= 2 -> (forall i, lo <= d 0 i <= hi) ->
  (forall x, l * norm_sq x <= dot (x *m rate_matrix P k (fun=> 1) d) x) ->
  l * norm_sq y <= hi * (2 - lo) * dot (y *m rate_matrix P k (fun=> 1) (ones R n)) y.
Proof.
move=> [P_ge0 _] unit lo_gt0 lo_le2 box lower.
have pos i : 0 < d 0 i by apply: lt_le_trans lo_gt0 _; case/andP: (box i).
have a_ge o : lo <= alignment d (feature (k o)).
  rewrite /alignment -[lo]mulr1 -(unit o) norm_sqE mulr_sumr; apply: ler_sum => i _.
  by rewrite mxE -expr2 ler_wpmul2r ?sqr_ge0 //; case/andP: (box i).
pose x : 'rV[R]_n := \row_i (y 0 i / Num.sqrt (d 0 i)).
have read o : dot x (half d (k o)) = dot y (k o).
  by apply: eq_bigr => i _; rewrite !mxE mulrA divfK // sqrtr_eq0 -ltNge.
have form1 : dot (y *m rate_matrix P k (fun=> 1) (ones R n)) y = mean P (fun o => dot y (k o) ^+ 2).
  rewrite rate_form; apply: eq_bigr => o _; rewrite /alignment dot_ones_feature unit !mul1r.
  have -> : 2 - 1 = 1 :> R by rewrite [2]mulr2n addrK.
  by rewrite mul1r; congr (_ * dot y _ ^+ 2); apply/rowP => i; rewrite !mxE sqrtr1 mul1r.
have mean_ge0 : 0 <= mean P (fun o => dot y (k o) ^+ 2).
  by apply: sumr_ge0 => o _; rewrite mulr_ge0 ?P_ge0 ?sqr_ge0.
have [hi_lt0|hi_ge0] := ltP hi 0.
  have y0 : y = 0.
    by apply/rowP => i; have /andP[le1 le2] := box i; have := lt_le_trans lo_gt0 (le_trans le1 le2); rewrite ltNge ltW.
  by rewrite form1 y0 norm_sq0 mulr0 /mean big1 ?mulr0 // => o _; rewrite dot0l expr0n mulr0.
rewrite form1; have [l_lt0|l_ge0] := ltP l 0.
  apply: (@le_trans _ _ 0); first by rewrite mulr_le0_ge0 ?norm_sq_ge0 ?ltW.
  by rewrite !mulr_ge0 // subr_ge0.
have norm_y : norm_sq y <= hi * norm_sq x.
  rewrite !norm_sqE mulr_sumr; apply: ler_sum => i _; rewrite mxE expr_div_n sqr_sqrtr ?(ltW (pos i)) //.
  by rewrite mulrCA ler_pemulr ?sqr_ge0 // ler_pdivl_mulr // mul1r; case/andP: (box i).
apply: (le_trans (ler_wpmul2l l_ge0 norm_y)); rewrite mulrCA -mulrA ler_wpmul2l //.
apply: (le_trans (lower x)); rewrite rate_form mulr_sumr; apply: ler_sum => o _.
rewrite read !mul1r [X in _ <= X]mulrCA; apply: ler_wpmul2l; first exact: P_ge0.
by rewrite ler_wpmul2r ?sqr_ge0 // ler_add2l ler_opp2 a_ge.
Qed.

End SpeedLimit.
