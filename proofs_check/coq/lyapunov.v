(** T16: the Lyapunov identity of the write, on a realisable stream v = S* k.

    The metric is V(d, E) = |E Diag(d)^(-1/2)|_F^2 = sum_ij E_ij^2 / d_j, written without the square root. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Metric.
Variables (R : realFieldType) (p n : nat).
Implicit Types (E : 'M[R]_(p, n)) (d : 'rV[R]_n).

(** 1 / d, entry by entry. *)
Definition inverse d : 'rV[R]_n := \row_i (d 0 i)^-1.

(** V(d, E) = tr (E Diag(1/d) E^T) *)
Definition lyapunov d E : R := inner (E *m diag_mx (inverse d)) E.

Lemma lyapunovE d E : lyapunov d E = \sum_i \sum_j E i j ^+ 2 / d 0 j.
Proof.
rewrite /lyapunov innerE; apply: eq_bigr => i _; apply: eq_bigr => j _.
by rewrite mul_mx_diag !mxE mulrAC.
Qed.

Lemma lyapunovD d E F :
  lyapunov d (E + F) = lyapunov d E + 2 * inner (E *m diag_mx (inverse d)) F + lyapunov d F.
Proof.
have sym : inner (F *m diag_mx (inverse d)) E = inner (E *m diag_mx (inverse d)) F.
  by rewrite innerC /inner trmx_mul tr_diag_mx mulmxA.
by rewrite /lyapunov mulmxDl innerDl !innerDr sym; ring.
Qed.

(** Dividing by d undoes the scaling of the key. *)
Lemma unscale d (k : 'rV[R]_n) : (forall i, d 0 i != 0) -> had d k *m diag_mx (inverse d) = k.
Proof. by move=> nz; apply/rowP => i; rewrite mul_mx_diag !mxE mulrAC mulfV // mul1r. Qed.

End Metric.

(** T16. The metric is the squared Frobenius norm of E Diag(d)^(-1/2). *)
Theorem T16_metric_is_frobenius (R : rcfType) p n (d : 'rV[R]_n) (E : 'M[R]_(p, n)) :
  (forall i, 0 < d 0 i) ->
  lyapunov d E = frob_sq (E *m diag_mx (\row_i (Num.sqrt (d 0 i))^-1)).
Proof.
move=> pos; rewrite lyapunovE /frob_sq innerE; apply: eq_bigr => i _; apply: eq_bigr => j _.
by rewrite mul_mx_diag !mxE -expr2 exprMn exprVn sqr_sqrtr // ltW.
Qed.

Lemma le_bigmax (R : realDomainType) (I : eqType) (r : seq I) (F : I -> R) i : i \in r ->
  F i <= \big[Num.max/0]_(j <- r) F j.
Proof.
elim: r => // j r IH; rewrite inE big_cons le_maxr.
by case/orP=> [/eqP->|/IH->]; rewrite ?lexx ?orbT.
Qed.

Section Write.
Variables (R : realFieldType) (p n : nat).
Implicit Types (S E : 'M[R]_(p, n)) (d k : 'rV[R]_n) (beta : R).
Variable target : 'M[R]_(p, n).

(** On a realisable stream the residual is minus the read of the error. *)
Lemma realisable_residual S k : residual S k (k *m target^T) = - (k *m (S - target)^T).
Proof. by rewrite /residual linearB /= mulmxBr opprB. Qed.

Lemma error_step S k d beta :
  write S k (k *m target^T) d beta - target =
  (S - target) + (- beta) *: ((k *m (S - target)^T)^T *m had d k).
Proof. by rewrite /write realisable_residual linearN /= mulNmx scalerN scaleNr addrAC. Qed.

(** T16. With the same d on both sides of the write:
    V(d, S_t - S* ) = V(d, S_{t-1} - S* ) - beta (2 - beta a) |(S_{t-1} - S* ) k|^2. *)
Theorem T16_lyapunov_identity S k d beta : (forall i, d 0 i != 0) ->
  lyapunov d (write S k (k *m target^T) d beta - target) =
  lyapunov d (S - target) -
  beta * (2 - beta * alignment d (feature k)) * norm_sq (k *m (S - target)^T).
Proof.
move=> nz; rewrite error_step; move: (S - target) => E.
rewrite lyapunovD innerZr [in X in _ + 2 * X]innerC inner_rank1 trmx_mul tr_diag_mx mulmxA unscale //.
rewrite /lyapunov -scalemxAl innerZl innerZr -mulmxA unscale // inner_rank1 trmx_mul trmxK.
rewrite mulmxA dot_mx mul_scalar_mx dotZr -/(norm_sq _) dotC -dot_feature /alignment.
by atoms; ring.
Qed.

(** T16. With d > 0, a write contracts the metric whenever 0 <= beta a <= 2. *)
Theorem T16_contraction S k d beta : (forall i, 0 < d 0 i) ->
  0 <= beta * alignment d (feature k) <= 2 ->
  lyapunov d (write S k (k *m target^T) d beta - target) <= lyapunov d (S - target).
Proof.
move=> pos /andP[step_ge0 step_le2].
rewrite T16_lyapunov_identity => [|i]; last by rewrite gt_eqF.
rewrite ler_subl_addr ler_addl.
have a_sum : alignment d (feature k) = \sum_i d 0 i * k 0 i ^+ 2.
  by apply: eq_bigr => i _; rewrite mxE.
have a_ge0 : 0 <= alignment d (feature k).
  by rewrite a_sum; apply: sumr_ge0 => i _; rewrite mulr_ge0 ?sqr_ge0 ?ltW.
have [a0|a_nz] := eqVneq (alignment d (feature k)) 0; last first.
  have a_gt0 : 0 < alignment d (feature k) by rewrite lt_def a_nz.
  by rewrite mulr_ge0 ?norm_sq_ge0 // mulr_ge0 ?subr_ge0 // -(pmulr_lge0 _ a_gt0).
suff -> : k = 0 by rewrite mul0mx norm_sq0 mulr0.
apply/rowP => i; rewrite mxE; apply/eqP; rewrite -sqrf_eq0.
move/eqP: a0; rewrite a_sum psumr_eq0 => [/allP zero|j _]; last by rewrite mulr_ge0 ?sqr_ge0 ?ltW.
by have := zero i; rewrite mem_index_enum mulf_eq0 (gt_eqF (pos i)) => /(_ isT).
Qed.

(** T16. Changing the metric from d to d' costs at most the factor m, for any m >= max_i d_i / d'_i. *)
Theorem T16_metric_change d d' (m : R) E : (forall i, 0 < d 0 i) ->
  (forall i, d 0 i / d' 0 i <= m) -> lyapunov d' E <= m * lyapunov d E.
Proof.
move=> pos ratio; rewrite !lyapunovE mulr_sumr; apply: ler_sum => i _.
rewrite mulr_sumr; apply: ler_sum => j _.
by rewrite mulrCA ler_wpmul2l ?sqr_ge0 // ler_pdivl_mulr // mulrC.
Qed.

(** T16. The smallest such factor, max_i d_i / d'_i, is enough. *)
Theorem T16_metric_change_max d d' E : (forall i, 0 < d 0 i) ->
  lyapunov d' E <= (\big[Num.max/0]_i (d 0 i / d' 0 i)) * lyapunov d E.
Proof.
move=> pos; apply: T16_metric_change => // i.
exact: (le_bigmax (fun j => d 0 j / d' 0 j) (mem_index_enum i)).
Qed.

End Write.
