(** A whole context: the exact quadratic (T1) and the hypergradient of the full-context step (T9).

    The Gram matrix G may be singular: S* is any solution of the normal equations S* G = sum v k^T. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Context.
Variables (R : realFieldType) (p n m : nat).
Variables (k : 'I_m -> 'rV[R]_n) (v : 'I_m -> 'rV[R]_p).
Implicit Types (S D E X : 'M[R]_(p, n)) (x y : 'rV[R]_n).

(** F(S) = sum_t f_t(S) *)
Definition context_loss S : R := \sum_t token_loss S (k t) (v t).

(** G = sum_t k k^T *)
Definition gram : 'M[R]_n := \sum_t (k t)^T *m k t.

(** sum_t v k^T *)
Definition cross : 'M[R]_(p, n) := \sum_t (v t)^T *m k t.

(** grad F(S) = sum_t grad f_t(S) *)
Definition context_gradient S : 'M[R]_(p, n) := \sum_t token_gradient S (k t) (v t).

(** tr (E G E^T) *)
Definition energy E : R := \tr (E *m gram *m E^T).

(** The reads <x, k_t> of a row. *)
Definition reads x : 'rV[R]_m := \row_t dot x (k t).

Lemma gram_sym : gram^T = gram.
Proof. by rewrite /gram linear_sum; apply: eq_bigr => t _; rewrite /= trmx_mul trmxK. Qed.

Lemma gram_form x y : dot (x *m gram) y = dot (reads x) (reads y).
Proof.
rewrite /gram mulmx_sumr dot_suml; apply: eq_bigr => t _.
by rewrite mulmxA dot_mx mul_scalar_mx dotZl !mxE (dotC y).
Qed.

Lemma energy_inner E : energy E = inner (E *m gram) E.
Proof. by []. Qed.

Lemma energy_rows E : energy E = \sum_i norm_sq (reads (row i E)).
Proof.
rewrite energy_inner innerE; apply: eq_bigr => i _; rewrite /norm_sq -gram_form -row_mul.
by apply: eq_bigr => j _; rewrite !mxE.
Qed.

Lemma energy_ge0 E : 0 <= energy E.
Proof. by rewrite energy_rows; apply: sumr_ge0 => i _; exact: norm_sq_ge0. Qed.

Lemma energy_reads E : energy E = \sum_t norm_sq (k t *m E^T).
Proof.
rewrite energy_rows exchange_big; apply: eq_bigr => t _; apply: eq_bigr => i _.
by rewrite !mxE; congr (_ * _); apply: eq_bigr => j _; rewrite !mxE mulrC.
Qed.

Lemma energyD E D : energy (E + D) = energy E + 2 * inner (E *m gram) D + energy D.
Proof.
have sym : inner (D *m gram) E = inner (E *m gram) D.
  by rewrite innerC /inner trmx_mul gram_sym mulmxA.
by rewrite !energy_inner mulmxDl innerDl !innerDr sym; ring.
Qed.

Lemma energyN E : energy (- E) = energy E.
Proof. by rewrite !energy_inner mulNmx innerNl innerNr opprK. Qed.

Lemma energyB E D : energy (E - D) = energy E - 2 * inner (E *m gram) D + energy D.
Proof. by rewrite energyD innerNr energyN mulrN. Qed.

Lemma context_gradientE S : context_gradient S = S *m gram - cross.
Proof.
rewrite /context_gradient /gram /cross mulmx_sumr -sumrB; apply: eq_bigr => t _.
by rewrite /token_gradient /residual opprB linearB /= trmx_mul trmxK mulmxBl mulmxA.
Qed.

(** T1, context. F is exactly quadratic, and its Hessian acts on the right only, by G:
    F(S + D) = F(S) + <grad F(S), D> + tr (D G D^T) / 2. *)
Theorem T1_context_exact_quadratic S D :
  context_loss (S + D) = context_loss S + inner (context_gradient S) D + energy D / 2.
Proof.
rewrite /context_loss (eq_bigr _ (fun t _ => T1_token_exact_quadratic S D (k t) (v t))) !big_split /=.
rewrite energy_reads mulr_suml; congr (_ + _ + _).
by rewrite /context_gradient /inner mulmx_suml raddf_sum.
Qed.

(** T1, context. The normal equations S* G = sum v k^T always have a solution, G singular or not. *)
Theorem T1_context_minimiser_exists : exists Sstar, Sstar *m gram = cross.
Proof.
pose K : 'M[R]_(m, n) := \matrix_t k t; pose V : 'M[R]_(m, p) := \matrix_t v t.
have as_product q (X : 'M[R]_(m, q)) : X^T *m K = \sum_t (row t X)^T *m k t.
  apply/matrixP => i j; rewrite mxE summxE; apply: eq_bigr => t _.
  by rewrite !mxE big_ord1 !mxE.
have gramK : gram = K^T *m K.
  by rewrite as_product; apply: eq_bigr => t _; rewrite rowK.
have crossK : cross = V^T *m K.
  by rewrite as_product; apply: eq_bigr => t _; rewrite rowK.
have ker : (kermx (K^T *m K) <= kermx K^T)%MS.
  apply/row_subP => i; set x := row i _; have : x *m (K^T *m K) = 0.
    by apply/eqP; rewrite -sub_kermx row_sub.
  move=> zero; apply/sub_kermxP/eqP; rewrite -norm_sq_eq0 /norm_sq.
  by rewrite dot_adjoint trmxK -mulmxA zero dot0r.
have rank : (\rank K <= \rank (K^T *m K))%N.
  by have := mxrankS ker; rewrite !mxrank_ker mxrank_tr leq_subCl subKn ?rank_leq_col.
have full : (K <= K^T *m K)%MS.
  by rewrite -(geq_leqif (mxrank_leqif_sup (submxMl K^T K))).
exists (cross *m pinvmx gram); apply: mulmxKpV.
by rewrite crossK gramK; exact: submx_trans (submxMl _ _) full.
Qed.

Section Minimiser.
Variable Sstar : 'M[R]_(p, n).
Hypothesis normal_equations : Sstar *m gram = cross.

(** T1, context. grad F(S) = (S - S* ) G. *)
Theorem T1_context_gradient S : context_gradient S = (S - Sstar) *m gram.
Proof. by rewrite context_gradientE mulmxBl normal_equations. Qed.

(** T1, context. F(S) - F* = tr ((S - S* ) G (S - S* )^T) / 2. *)
Theorem T1_context_gap S : context_loss S - context_loss Sstar = energy (S - Sstar) / 2.
Proof.
rewrite -{1}(add_diff Sstar S) T1_context_exact_quadratic T1_context_gradient subrr mul0mx.
by rewrite /inner mul0mx mxtrace0 addr0 addrC addKr.
Qed.

(** T1, context. F* = F(S* ) is the minimum of F. *)
Theorem T1_context_minimum S : context_loss Sstar <= context_loss S.
Proof. by rewrite -subr_ge0 T1_context_gap divr_ge0 ?ler0n ?energy_ge0. Qed.

(** T1, context. The minimisers of F are exactly the solutions of the normal equations. *)
Theorem T1_context_minimiser_iff S : (context_loss S == context_loss Sstar) = (S *m gram == cross).
Proof.
rewrite -subr_eq0 T1_context_gap mulf_eq0 invr_eq0 pnatr_eq0 orbF.
rewrite -normal_equations -[RHS]subr_eq0 -mulmxBl; move: (S - Sstar) => E.
apply/idP/eqP => [|zero]; last by rewrite energy_inner zero /inner mul0mx mxtrace0.
rewrite energy_reads psumr_eq0 => [/allP zero|t _]; last exact: norm_sq_ge0.
rewrite /gram mulmx_sumr big1 // => t _; have := zero t.
rewrite mem_index_enum norm_sq_eq0 => /(_ isT)/eqP read0.
by rewrite mulmxA -[E *m _]trmxK trmx_mul trmxK read0 trmx0 mul0mx.
Qed.

(** rho_S(P) = (F(S - grad F(S) P) - F* ) / (F(S) - F* ), for the full-context step preconditioned by P. *)
Definition context_ratio S (P : 'M[R]_n) : R :=
  (context_loss (S - context_gradient S *m P) - context_loss Sstar) / (context_loss S - context_loss Sstar).

(** -2 g^T (E - g P) G / tr (E G E^T), with E = S - S* and g = grad F(S) *)
Definition ratio_gradient S (P : 'M[R]_n) : 'M[R]_n :=
  let E := S - Sstar in let g := context_gradient S in
  (- 2 / energy E) *: (g^T *m (E - g *m P) *m gram).

(** The entries of the diagonal. *)
Definition diagonal (A : 'M[R]_n) : 'rV[R]_n := \row_i A i i.

(** 2 (g^T g * G) / tr (E G E^T), * entry by entry *)
Definition ratio_hessian S : 'M[R]_n :=
  let g := context_gradient S in
  (2 / energy (S - Sstar)) *: \matrix_(i, j) ((g^T *m g) i j * gram i j).

(** T9. rho(P) = tr ((E - g P) G (E - g P)^T) / tr (E G E^T). *)
Theorem T9_ratio S P :
  context_ratio S P = energy (S - Sstar - context_gradient S *m P) / energy (S - Sstar).
Proof.
rewrite /context_ratio !T1_context_gap addrAC invfM invrK mulrACA mulVf ?mulr1 //.
by rewrite pnatr_eq0.
Qed.

Lemma inner_diag (A : 'M[R]_n) (e : 'rV[R]_n) : inner A (diag_mx e) = dot (diagonal A) e.
Proof.
rewrite /inner tr_diag_mx mul_mx_diag; apply: eq_bigr => i _; by rewrite !mxE.
Qed.

Lemma inner_mull q (A : 'M[R]_(q, n)) (B : 'M[R]_n) (C : 'M[R]_(q, n)) :
  inner C (A *m B) = inner (A^T *m C) B.
Proof. by rewrite /inner trmx_mul mulmxA mxtrace_mulC mulmxA. Qed.

(** T9. rho is exactly quadratic: rho(P + D) = rho(P) + <grad rho(P), D> + tr (g D G D^T g^T) / tr (E G E^T). *)
Theorem T9_exact_quadratic S (P D : 'M[R]_n) :
  context_ratio S (P + D) = context_ratio S P + inner (ratio_gradient S P) D +
  energy (context_gradient S *m D) / energy (S - Sstar).
Proof.
rewrite !T9_ratio /ratio_gradient mulmxDr opprD addrA; move: (S - Sstar) (context_gradient S) => E g.
rewrite (energyB (E - g *m P)) innerZl inner_mull mulmxA.
by set x := inner _ _; set y := energy _; set z := energy _; set e := _^-1; ring.
Qed.

(** T9. rho is convex: it lies above its tangents. *)
Theorem T9_convex S (P D : 'M[R]_n) :
  context_ratio S P + inner (ratio_gradient S P) D <= context_ratio S (P + D).
Proof. by rewrite T9_exact_quadratic ler_addl divr_ge0 ?energy_ge0. Qed.

(** T9. For P = Diag(d): the gradient in d is the diagonal of grad rho, and the Hessian in d is
    2 (g^T g * G) / tr (E G E^T), since rho(d + e) = rho(d) + <gradient, e> + <e, e Hessian> / 2. *)
Theorem T9_diagonal S (d e : 'rV[R]_n) :
  context_ratio S (diag_mx (d + e)) = context_ratio S (diag_mx d) +
  dot (diagonal (ratio_gradient S (diag_mx d))) e + dot e (e *m ratio_hessian S) / 2.
Proof.
rewrite linearD T9_exact_quadratic inner_diag /=; congr (_ + _).
rewrite /ratio_hessian -scalemxAr dotZr; set g := context_gradient S.
set H : 'M[R]_n := \matrix_(i, j) _.
suff -> : energy (g *m diag_mx e) = dot e (e *m H).
  by move: (energy _)^-1 (dot e _) => x y; field.
have sym : (g^T *m g)^T = g^T *m g by rewrite trmx_mul trmxK.
rewrite energy_inner inner_mull inner_diag dotC !mulmxA /H; move: (g^T *m g) sym => M sym.
apply: eq_bigr => i _; congr (_ * _); rewrite mul_mx_diag 2!mxE [RHS]mxE.
by apply: eq_bigr => j _; rewrite !mxE -{1}sym mxE mulrA [e 0 j * _]mulrC.
Qed.

Section Smooth.
Variable L : R.

(** L is at least the largest eigenvalue of G. *)
Hypothesis gram_le : forall x, dot (x *m gram) x <= L * norm_sq x.

Lemma gram_sq_le x : norm_sq (x *m gram) <= L * norm_sq (reads x).
Proof.
set y := x *m gram; have yy : norm_sq y = dot (reads x) (reads y) by rewrite -gram_form.
have form : norm_sq (reads x) = dot y x by rewrite /norm_sq -gram_form.
have [zero|nz] := eqVneq y 0; first by rewrite form zero norm_sq0 dot0l mulr0.
have pos : 0 < norm_sq y by rewrite norm_sq_gt0.
have key : norm_sq y ^+ 2 <= norm_sq (reads x) * (L * norm_sq y).
  rewrite {1}yy; apply: le_trans (cauchy_schwarz _ _) _; rewrite ler_wpmul2l ?norm_sq_ge0 //.
  by rewrite {1}/norm_sq -gram_form gram_le.
by rewrite -(ler_pmul2r pos) -expr2 -mulrA mulrCA.
Qed.

Lemma energy_le E : energy E <= L * frob_sq E.
Proof.
rewrite energy_rows frob_sq_rows mulr_sumr; apply: ler_sum => i _.
by rewrite {1}/norm_sq -gram_form gram_le.
Qed.

Lemma frob_gram_le E : frob_sq (E *m gram) <= L * energy E.
Proof.
rewrite energy_rows frob_sq_rows mulr_sumr; apply: ler_sum => i _.
by rewrite row_mul gram_sq_le.
Qed.

(** T9. rho is 2 L^2-smooth, for any L with x G x^T <= L |x|^2 (such as the largest eigenvalue of G):
    rho(P + D) <= rho(P) + <grad rho(P), D> + L^2 |D|_F^2. *)
Theorem T9_smooth S (P D : 'M[R]_n) : 0 <= L ->
  context_ratio S (P + D) <=
  context_ratio S P + inner (ratio_gradient S P) D + 2 * L ^+ 2 / 2 * frob_sq D.
Proof.
have -> : 2 * L ^+ 2 / 2 = L ^+ 2 by field.
move=> L_ge0; rewrite T9_exact_quadratic ler_add2l.
have [->|nz] := eqVneq (energy (S - Sstar)) 0.
  by rewrite invr0 mulr0 mulr_ge0 ?sqr_ge0 ?frob_sq_ge0.
rewrite ler_pdivr_mulr ?lt_def ?nz ?energy_ge0 //.
have step : frob_sq (context_gradient S *m D) <= L * energy (S - Sstar) * frob_sq D.
  apply: le_trans (frob_sq_mul_le _ _) _; rewrite ler_wpmul2r ?frob_sq_ge0 //.
  by rewrite T1_context_gradient frob_gram_le.
apply: le_trans (energy_le _) _; apply: le_trans (ler_wpmul2l L_ge0 step) _.
by rewrite expr2 !mulrA mulrAC.
Qed.

End Smooth.
End Minimiser.
End Context.
