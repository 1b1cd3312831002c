(** T26: how far the memory of OSDN is from DeltaNet's. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token chunk lyapunov tracking sweeps.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Frobenius.
Variables (R : realFieldType) (p n : nat).
Implicit Types A B : 'M[R]_(p, n).

Lemma frob_sq_vec A : frob_sq A = norm_sq (mxvec A).
Proof.
rewrite /frob_sq innerE /norm_sq /dot pair_bigA (reindex _ (curry_mxvec_bij p n)) /=.
by apply: eq_bigr => -[i j] _; rewrite mxvecE.
Qed.

Lemma frob_triangle A B (a b : R) : 0 <= a -> 0 <= b ->
  frob_sq A <= a ^+ 2 -> frob_sq B <= b ^+ 2 -> frob_sq (A + B) <= (a + b) ^+ 2.
Proof. by move=> a_ge0 b_ge0; rewrite !frob_sq_vec linearD; exact: norm_triangle. Qed.

Lemma lyapunov_ones A : lyapunov (ones R n) A = frob_sq A.
Proof.
by rewrite lyapunovE /frob_sq innerE; apply: eq_bigr => i _; apply: eq_bigr => j _; rewrite mxE divr1 expr2.
Qed.

End Frobenius.

Section Near.
Variables (R : rcfType) (p n : nat).
Variables (k d : nat -> 'rV[R]_n) (v : nat -> 'rV[R]_p) (beta : nat -> R) (S0 : 'M[R]_(p, n)) (T : nat).
Notation S := (memory k d v beta S0).
Notation S' := (memory k (fun=> ones R n) v beta S0).

(** The difference is erased as DeltaNet erases, and grows by what d writes beside DeltaNet. *)
Lemma difference_step t : S t.+1 - S' t.+1 =
  write (S t - S' t) (k t) 0 (ones R n) (beta t) +
  beta t *: ((residual (S t) (k t) (v t))^T *m had (d t - ones R n) (k t)).
Proof.
have -> : had (d t - ones R n) (k t) = had (d t) (k t) - k t by apply/rowP => f; rewrite !mxE mulrBl mul1r.
rewrite !memoryS /write !had1l mulmxBr.
have -> : residual (S t - S' t) (k t) 0 = residual (S t) (k t) (v t) - residual (S' t) (k t) (v t).
  by rewrite /residual linearB mulmxBr /= sub0r opprB [RHS]addrC opprB addrA subrK.
move: (S t) (S' t) (residual (S t) _ _) (residual (S' t) _ _) => A A' r r'.
rewrite linearB /= mulmxBl.
move: (r^T *m had _ _) (r^T *m k t) (r'^T *m k t) => x y y'.
rewrite -[RHS]addrA -scalerDr (_ : y - y' + (x - y) = x - y'); last by rewrite addrC subrKA.
by rewrite scalerBr opprD addrACA.
Qed.

(** T26. beta_t >= 0, beta_t |k_t|^2 <= 2, the same start: |S_T - S_T'|_F <= sum_{t < T} beta_t |r_t| |(d_t - 1) * k_t|,
    with r_t = v_t - S_t k_t the residuals of OSDN and S' the memory of DeltaNet. *)
Theorem T26_near_deltanet :
  (forall t, (t < T)%N -> 0 <= beta t) ->
  (forall t, (t < T)%N -> beta t * norm_sq (k t) <= 2) ->
  Num.sqrt (frob_sq (S T - S' T)) <=
  \sum_(t < T) beta t * norm (residual (S t) (k t) (v t)) * norm (had (d t - ones R n) (k t)).
Proof.
move=> gates short; set bound := fun t => beta t * norm (residual (S t) (k t) (v t)) * norm (had (d t - ones R n) (k t)).
have bound_ge0 t : (t < T)%N -> 0 <= bound t.
  by move=> tT; rewrite !mulr_ge0 ?norm_ge0 ?gates.
have sum_ge0 t : (t <= T)%N -> 0 <= \sum_(j < t) bound j.
  by move=> tT; apply: sumr_ge0 => j _; apply: bound_ge0; exact: leq_trans tT.
suff near t : (t <= T)%N -> frob_sq (S t - S' t) <= (\sum_(j < t) bound j) ^+ 2.
  by rewrite -(ger0_norm (sum_ge0 T (leqnn T))) -sqrtr_sqr ler_wsqrtr ?near.
elim: t => [|t IH] tT; first by rewrite big_ord0 subrr /frob_sq /inner mul0mx mxtrace0 expr0n.
rewrite difference_step big_ord_recr /=.
apply: frob_triangle; rewrite ?bound_ge0 ?sum_ge0 ?(ltnW tT) //.
  apply: le_trans (IH (ltnW tT)); rewrite -!lyapunov_ones.
  have := @T16_contraction _ p n 0 (S t - S' t) (k t) (ones R n) (beta t); rewrite trmx0 mulmx0 !subr0; apply.
    by move=> i; rewrite mxE ltr01.
  by rewrite /alignment dot_ones_feature mulr_ge0 ?norm_sq_ge0 ?gates //= short.
by rewrite frob_sqZ frob_sq_rank1 /bound !exprMn !sqr_sqrtr ?norm_sq_ge0 // mulrA.
Qed.

End Near.
