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
Theorem T25_expected_contraction d S target : distribution P -> (forall i, 0 < d 0 i) ->
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
Theorem T25_mean_rate d S target (l : R) : distribution P -> (forall i, 0 < d 0 i) ->
  (forall x, l * norm_sq x <= dot (x *m rate_matrix d) x) ->
  mean P (fun o => lyapunov d (write S (k o) (k o *m target^T) d (beta o) - target)) <=
  (1 - l) * lyapunov d (S - target).
Proof.
move=> dist pos lower; rewrite T25_expected_contraction // mulrBl mul1r ler_add2l ler_opp2.
rewrite T16_metric_is_frobenius // -/(scaled_error d (S - target)); move: (scaled_error _ _) => E.
rewrite frob_sq_rows innerE mulr_sumr; apply: ler_sum => i _.
have -> : \sum_j (E *m rate_matrix d) i j * E i j = dot (row i E *m rate_matrix d) (row i E).
  by rewrite -row_mul; apply: eq_bigr => j _; rewrite !mxE.
exact: lower.
Qed.

End Rate.

Section SpeedLimit.
Variables (R : rcfType) (n : nat) (Omega : finType) (P : Omega -> R) (k : Omega -> 'rV[R]_n).

(** T25, the box's speed limit. 0 < lo <= d <= hi, gates beta_i >= 0 with beta_i |k_i|^2 <= 2, and any r >= 0 with
    2 - beta_i lo |k_i|^2 <= r (2 - beta_i |k_i|^2): what bounds the eigenvalues of W_d from below bounds hi r times those
    of DeltaNet's W_1, so lambda_min (W_d) <= hi r lambda_min (W_1). *)
Theorem T25_speed_limit_gates (beta : Omega -> R) (d y : 'rV[R]_n) (lo hi r l : R) :
  distribution P -> (forall o, 0 <= beta o) -> (forall o, beta o * norm_sq (k o) <= 2) ->
  0 < lo -> 0 <= hi -> 0 <= r -> (forall i, lo <= d 0 i <= hi) ->
  (forall o, 2 - beta o * (lo * norm_sq (k o)) <= r * (2 - beta o * norm_sq (k o))) ->
  (forall x, l * norm_sq x <= dot (x *m rate_matrix P k beta d) x) ->
  l * norm_sq y <= hi * r * dot (y *m rate_matrix P k beta (ones R n)) y.
Proof.
move=> [P_ge0 _] gates short lo_gt0 hi_ge0 r_ge0 box ratio lower.
have pos i : 0 < d 0 i by apply: lt_le_trans lo_gt0 _; case/andP: (box i).
have a_ge o : lo * norm_sq (k o) <= alignment d (feature (k o)).
  rewrite /alignment norm_sqE mulr_sumr; apply: ler_sum => i _.
  by rewrite mxE -expr2 ler_wpmul2r ?sqr_ge0 //; case/andP: (box i).
pose x : 'rV[R]_n := \row_i (y 0 i / Num.sqrt (d 0 i)).
have read o : dot x (half d (k o)) = dot y (k o).
  by apply: eq_bigr => i _; rewrite !mxE mulrA divfK // sqrtr_eq0 -ltNge.
have form1 : dot (y *m rate_matrix P k beta (ones R n)) y =
    mean P (fun o => beta o * (2 - beta o * norm_sq (k o)) * dot y (k o) ^+ 2).
  rewrite rate_form; apply: eq_bigr => o _; rewrite /alignment dot_ones_feature; congr (_ * (_ * dot y _ ^+ 2)).
  by apply/rowP => i; rewrite !mxE sqrtr1 mul1r.
have mean_ge0 : 0 <= mean P (fun o => beta o * (2 - beta o * norm_sq (k o)) * dot y (k o) ^+ 2).
  apply: sumr_ge0 => o _; apply: mulr_ge0 (P_ge0 o) _; apply: mulr_ge0 (sqr_ge0 _).
  by apply: mulr_ge0 (gates o) _; rewrite subr_ge0.
rewrite form1; have [l_lt0|l_ge0] := ltP l 0.
  apply: (@le_trans _ _ 0); first by rewrite mulr_le0_ge0 ?norm_sq_ge0 ?ltW.
  by rewrite !mulr_ge0.
have norm_y : norm_sq y <= hi * norm_sq x.
  rewrite !norm_sqE mulr_sumr; apply: ler_sum => i _; rewrite mxE expr_div_n sqr_sqrtr ?(ltW (pos i)) //.
  by rewrite mulrCA ler_pemulr ?sqr_ge0 // ler_pdivl_mulr // mul1r; case/andP: (box i).
apply: (le_trans (ler_wpmul2l l_ge0 norm_y)); rewrite mulrCA -mulrA ler_wpmul2l //.
apply: (le_trans (lower x)); rewrite rate_form mulr_sumr; apply: ler_sum => o _.
rewrite read [X in _ <= X]mulrCA; apply: ler_wpmul2l; first exact: P_ge0.
rewrite [X in _ <= X]mulrA; apply: ler_wpmul2r; first exact: sqr_ge0.
rewrite [X in _ <= X]mulrCA; apply: ler_wpmul2l; first exact: gates.
by apply: le_trans (ratio o); rewrite ler_add2l ler_opp2 ler_wpmul2l ?gates.
Qed.

(** T25, the box's speed limit for unit keys and beta = 1, in a box of sides up to 2: the factor is hi (2 - lo). *)
Theorem T25_speed_limit (d y : 'rV[R]_n) (lo hi l : R) :
  distribution P -> (forall o, norm_sq (k o) = 1) ->
  0 < lo -> lo <= 2 -> 0 <= hi -> (forall i, lo <= d 0 i <= hi) ->
  (forall x, l * norm_sq x <= dot (x *m rate_matrix P k (fun=> 1) d) x) ->
  l * norm_sq y <= hi * (2 - lo) * dot (y *m rate_matrix P k (fun=> 1) (ones R n)) y.
Proof.
move=> dist unit lo_gt0 lo_le2 hi_ge0 box lower.
have two : 2 - 1 = 1 :> R by rewrite [2]mulr2n addrK.
apply: (@T25_speed_limit_gates (fun=> 1) d y lo) => //; rewrite ?subr_ge0 //.
- by move=> _; exact: ler01.
- by move=> o; rewrite unit mulr1 ler1n.
by move=> o; rewrite unit !mulr1 mul1r two mulr1.
Qed.

End SpeedLimit.
