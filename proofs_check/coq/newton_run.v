(** Lemmas for T10: gradient steps on the ratio of the full-context step, and what one of them does. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token sums agnostic context.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Frobenius.
Variable R : realFieldType.

Lemma frob_sq_le0 p n (A : 'M[R]_(p, n)) : frob_sq A <= 0 -> A = 0.
Proof.
move=> le0; apply/row_matrixP => i; rewrite row0; apply/eqP; rewrite -norm_sq_eq0 eq_le norm_sq_ge0 andbT.
apply: le_trans le0; rewrite frob_sq_rows (bigD1 i) //= ler_addl.
by apply: sumr_ge0 => j _; apply: norm_sq_ge0.
Qed.

(** The diagonal is no longer than the matrix. *)
Lemma norm_sq_diagonal_le n (A : 'M[R]_n) : norm_sq (diagonal A) <= frob_sq A.
Proof.
rewrite norm_sqE frob_sq_rows; apply: ler_sum => i _; rewrite mxE.
by apply: le_trans (norm_sq_coord (row i A) i); rewrite mxE.
Qed.

End Frobenius.

Section Ratio.
Variables (R : realFieldType) (p n m : nat).
Variables (k : 'I_m -> 'rV[R]_n) (v : 'I_m -> 'rV[R]_p) (Sstar : 'M[R]_(p, n)).
Notation G := (gram k).
Notation rho := (context_ratio k v Sstar).
Notation grad_rho := (ratio_gradient k v Sstar).
Implicit Types (S : 'M[R]_(p, n)) (P U : 'M[R]_n) (d u : 'rV[R]_n) (eta : R).

(** F(S) - F* *)
Definition suboptimality S : R := context_loss k v S - context_loss k v Sstar.

(** S - grad F(S) P *)
Definition context_step P S : 'M[R]_(p, n) := S - context_gradient k v S *m P.

(** (S_j, P_j): one context step with P_j, then one gradient step on rho from P_j, both at S_j. *)
Definition full_run eta S P (j : nat) : 'M[R]_(p, n) * 'M[R]_n :=
  iter j (fun x => (context_step x.2 x.1, x.2 - eta *: grad_rho x.1 x.2)) (S, P).

(** (S_j, d_j): the same with P_j = Diag(d_j), and the diagonal of the gradient. *)
Definition diagonal_run eta S d (j : nat) : 'M[R]_(p, n) * 'rV[R]_n :=
  iter j (fun x => (context_step (diag_mx x.2) x.1, x.2 - eta *: diagonal (grad_rho x.1 (diag_mx x.2)))) (S, d).

(** rho_j along the two runs *)
Definition full_ratio eta S P j : R := rho (full_run eta S P j).1 (full_run eta S P j).2.
Definition diagonal_ratio eta S d j : R :=
  rho (diagonal_run eta S d j).1 (diag_mx (diagonal_run eta S d j).2).

Hypothesis normal_equations : Sstar *m G = cross k v.
Variable L : R.
Hypothesis gram_le : forall x, dot (x *m G) x <= L * norm_sq x.

Lemma suboptimality_ge0 S : 0 <= suboptimality S.
Proof. by rewrite subr_ge0 T1_context_minimum. Qed.

Lemma rho_ge0 S P : 0 <= rho S P.
Proof. by rewrite divr_ge0 ?suboptimality_ge0. Qed.

(** F(S) = F* only where the gradient vanishes, and then the step stays. *)
Lemma suboptimality_step S P : suboptimality (context_step P S) = rho S P * suboptimality S.
Proof.
have [zero|nz] := eqVneq (suboptimality S) 0; last by rewrite /context_ratio divfK.
have g0 : context_gradient k v S = 0.
  rewrite (T1_context_gradient normal_equations); apply: frob_sq_le0.
  apply: le_trans (frob_gram_le gram_le _) _.
  move/eqP: zero; rewrite /suboptimality T1_context_gap // mulf_eq0 invr_eq0 pnatr_eq0 orbF => /eqP ->.
  by rewrite mulr0.
by rewrite /context_step g0 mul0mx subr0 zero mulr0.
Qed.

(** rho is self-bounding: |grad rho|_F^2 <= 4 L^2 rho. *)
Lemma ratio_gradient_le S P : frob_sq (grad_rho S P) <= 4 * L ^+ 2 * rho S P.
Proof.
rewrite T9_ratio // /ratio_gradient (T1_context_gradient normal_equations).
set E := S - Sstar; set A := E - _; set e := energy k E.
have [zero|nz] := eqVneq e 0; first by rewrite zero invr0 !mulr0 scale0r /frob_sq /inner mul0mx mxtrace0.
have e_gt0 : 0 < e by rewrite lt_def nz energy_ge0.
have g_le : frob_sq (E *m G) <= L * e by apply: frob_gram_le.
have A_le : frob_sq (A *m G) <= L * energy k A by apply: frob_gram_le.
have both : frob_sq ((E *m G)^T *m A *m G) <= L * e * (L * energy k A).
  rewrite -mulmxA; apply: le_trans (frob_sq_mul_le _ _) _; rewrite frob_sq_tr.
  by apply: ler_pmul; rewrite ?frob_sq_ge0.
rewrite frob_sqZ; apply: le_trans (ler_wpmul2l (sqr_ge0 _) both) _.
rewrite le_eqVlt; apply/orP; left; apply/eqP; clearbody e; move: (energy k A) => a; field; exact: nz.
Qed.

(** <grad rho(P), P - U> >= rho(P) - rho(U) *)
Lemma ratio_gradient_along S P U : rho S P - rho S U <= inner (grad_rho S P) (P - U).
Proof.
have := T9_convex normal_equations S P (U - P); rewrite (addrC P) subrK -(opprB P U) innerNr => convex.
by rewrite ler_subl_addr addrC -ler_subl_addr.
Qed.

(** With G U G = G (U = G^-1, or a pseudo-inverse) the step reaches F*, and the slope is exact:
    <grad rho(P), P - U> = 2 rho(P). *)
Lemma ratio_newton S U : G *m U *m G = G -> rho S U = 0.
Proof.
move=> newton; rewrite T9_ratio // (T1_context_gradient normal_equations) energy_inner mulmxBl.
by rewrite -!mulmxA (mulmxA G) newton subrr /inner mul0mx mxtrace0 mul0r.
Qed.

Lemma ratio_gradient_newton S P U : G *m U *m G = G -> inner (grad_rho S P) (P - U) = 2 * rho S P.
Proof.
move=> newton; rewrite T9_ratio // /ratio_gradient (T1_context_gradient normal_equations).
move: (S - Sstar) => E; set A := E - _; set e := energy k E.
have A_eq : E *m G *m (P - U) *m G = - (A *m G).
  by rewrite /A mulmxBr !mulmxBl opprB -(mulmxA E G U) -(mulmxA E _ G) newton.
have flip (X Y : 'M[R]_(p, n)) : inner (X *m G) Y = inner (Y *m G) X.
  by rewrite innerC /inner trmx_mul gram_sym mulmxA.
rewrite innerZl -mulmxA -inner_mull flip A_eq innerNl -energy_inner.
by move: e^-1 (energy k A) => x a; ring.
Qed.

(** What one gradient step does to the distance from U. *)
Lemma full_distance eta P U X :
  frob_sq (P - eta *: X - U) = frob_sq (P - U) - 2 * eta * inner X (P - U) + eta ^+ 2 * frob_sq X.
Proof.
have -> : P - eta *: X - U = (P - U) + (- eta) *: X by rewrite addrAC scaleNr.
by rewrite frob_sqD frob_sqZ innerZr innerC; move: (inner _ _) (frob_sq _) (frob_sq _) => a b c; ring.
Qed.

Lemma diagonal_distance eta d u X :
  norm_sq (d - eta *: diagonal X - u) <=
  norm_sq (d - u) - 2 * eta * inner X (diag_mx d - diag_mx u) + eta ^+ 2 * frob_sq X.
Proof.
have -> : d - eta *: diagonal X - u = (d - u) + (- eta) *: diagonal X by rewrite addrAC scaleNr.
rewrite norm_sqD norm_sqZ sqrrN dotZr mulNr mulrN mulrA dotC -linearB inner_diag.
by rewrite ler_add2l ler_wpmul2l ?sqr_ge0 ?norm_sq_diagonal_le.
Qed.

(** Both kinds of step, once the distance is known: against right-Newton ... *)
Lemma newton_decrease eta S P U (here there : R) : G *m U *m G = G ->
  there <= here - 2 * eta * inner (grad_rho S P) (P - U) + eta ^+ 2 * frob_sq (grad_rho S P) ->
  there + 4 * eta * (1 - eta * L ^+ 2) * rho S P <= here.
Proof.
move=> newton; rewrite ratio_gradient_newton // => moved.
have := ler_add moved (ler_wpmul2l (sqr_ge0 eta) (ratio_gradient_le S P)).
move/le_same_slack; apply; move: (rho S P) (frob_sq _) => x y; ring.
Qed.

(** ... and against any U. *)
Lemma agnostic_decrease eta S P U (here there : R) : 0 <= eta ->
  there <= here - 2 * eta * inner (grad_rho S P) (P - U) + eta ^+ 2 * frob_sq (grad_rho S P) ->
  there + 2 * eta * (1 - 2 * eta * L ^+ 2) * rho S P <= here + 2 * eta * rho S U.
Proof.
move=> eta_ge0 moved; have along := ler_wpmul2l (mulr_ge0 (ler0n R 2) eta_ge0) (ratio_gradient_along S P U).
have := ler_add (ler_add moved (ler_wpmul2l (sqr_ge0 eta) (ratio_gradient_le S P))) along.
by move/le_same_slack; apply; move: (rho S P) (rho S U) (frob_sq _) (inner _ _) => x y z w; ring.
Qed.

Lemma full_suboptimality eta S P T :
  suboptimality (full_run eta S P T).1 = (\prod_(j < T) full_ratio eta S P j) * suboptimality S.
Proof.
elim: T => [|T IH]; first by rewrite big_ord0 mul1r.
have -> : (full_run eta S P T.+1).1 = context_step ((full_run eta S P T).2) (full_run eta S P T).1 by [].
by rewrite suboptimality_step IH big_ord_recr mulrA (mulrC (rho _ _)).
Qed.

Lemma diagonal_suboptimality eta S d T :
  suboptimality (diagonal_run eta S d T).1 = (\prod_(j < T) diagonal_ratio eta S d j) * suboptimality S.
Proof.
elim: T => [|T IH]; first by rewrite big_ord0 mul1r.
have -> : (diagonal_run eta S d T.+1).1 =
  context_step (diag_mx (diagonal_run eta S d T).2) (diagonal_run eta S d T).1 by [].
by rewrite suboptimality_step IH big_ord_recr mulrA (mulrC (rho _ _)).
Qed.

(** A bound on the sum of the ratios bounds their product. *)
Lemma product_of_ratios (x : nat -> R) (C first last : R) T :
  (forall j, 0 <= x j) -> 0 <= first -> \sum_(j < T) x j <= C ->
  last = (\prod_(j < T) x j) * first -> last <= first * (C / T%:R) ^+ T.
Proof.
move=> x_ge0 first_ge0 sum_le ->; rewrite mulrC ler_wpmul2l //.
exact: product_le_mean_power sum_le.
Qed.

End Ratio.
