(** T10, agnostic, sharper: the ratio is a quadratic, not just convex, so that steps up to 1/L^2 are covered. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors sums context newton_run.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Scalars.
Variable R : rcfType.
Implicit Types m x a b : R.

(** Solving m X - 2 sqrt X sqrt A <= B for X. *)
Lemma solve_quadratic m x a b : 0 < m -> 0 <= x -> 0 <= a ->
  m * x - 2 * (Num.sqrt x * Num.sqrt a) <= b -> x <= ((Num.sqrt a + Num.sqrt (a + m * b)) / m) ^+ 2.
Proof.
move=> m_gt0 x_ge0 a_ge0; move: (sqrtr_ge0 x) (sqrtr_ge0 a) (sqr_sqrtr x_ge0) (sqr_sqrtr a_ge0).
move: (Num.sqrt x) (Num.sqrt a) => y c y_ge0 c_ge0 <- <- le {x a x_ge0 a_ge0}.
have square : (m * y - c) ^+ 2 <= c ^+ 2 + m * b.
  by apply: (le_same_slack (ler_wpmul2l (ltW m_gt0) le)); ring.
have root : m * y - c <= Num.sqrt (c ^+ 2 + m * b).
  by apply: (le_trans (ler_norm _)); rewrite -sqrtr_sqr ler_wsqrtr.
have bound : y <= (c + Num.sqrt (c ^+ 2 + m * b)) / m.
  by rewrite ler_pdivl_mulr // mulrC -ler_subl_addl.
by apply: ler_expn2r; rewrite ?nnegrE // (le_trans y_ge0 bound).
Qed.

(** sum sqrt x_j sqrt y_j <= sqrt (sum x) sqrt (sum y) *)
Lemma sum_sqrt_le (x y : nat -> R) T : (forall j, 0 <= x j) -> (forall j, 0 <= y j) ->
  \sum_(j < T) Num.sqrt (x j) * Num.sqrt (y j) <= Num.sqrt (\sum_(j < T) x j) * Num.sqrt (\sum_(j < T) y j).
Proof.
move=> x_ge0 y_ge0; have root z : (forall j, 0 <= z j) -> \sum_(j < T) z j = \sum_(j < T) Num.sqrt (z j) ^+ 2 :> R.
  by move=> z_ge0; apply: eq_bigr => j _; rewrite sqr_sqrtr.
rewrite (root x) // (root y) // -sqrtrM; last by apply: sumr_ge0 => j _; apply: sqr_ge0.
apply: (le_trans (ler_norm _)); rewrite -sqrtr_sqr ler_wsqrtr //.
exact: (cauchy_schwarz_sum (fun j => Num.sqrt (x j)) (fun j => Num.sqrt (y j))).
Qed.

End Scalars.

Section Quadratic.
Variables (R : rcfType) (p n m : nat).
Variables (k : 'I_m -> 'rV[R]_n) (v : 'I_m -> 'rV[R]_p) (Sstar : 'M[R]_(p, n)) (L : R).
Notation G := (gram k).
Notation rho := (context_ratio k v Sstar).
Notation grad_rho := (ratio_gradient k v Sstar).
Implicit Types (S : 'M[R]_(p, n)) (P U : 'M[R]_n) (d u : 'rV[R]_n) (eta : R) (T : nat).

Hypothesis normal_equations : Sstar *m G = cross k v.
Hypothesis gram_le : forall x, dot (x *m G) x <= L * norm_sq x.

(** Cauchy-Schwarz for the form A G B^T. *)
Lemma energy_cauchy_schwarz (A B : 'M[R]_(p, n)) : inner (A *m G) B ^+ 2 <= energy k A * energy k B.
Proof.
have form t : 0 <= energy k A - 2 * t * inner (A *m G) B + t ^+ 2 * energy k B.
  have := energy_ge0 k (A - t *: B); rewrite energyB innerZr (energy_inner _ (t *: B)) -scalemxAl innerZl innerZr.
  by rewrite -energy_inner !mulrA -expr2.
have [zero|nz] := eqVneq (energy k B) 0.
  suff -> : inner (A *m G) B = 0 by rewrite expr0n mulr_ge0 ?energy_ge0.
  have BG : B *m G = 0 by apply: frob_sq_le0; have := frob_gram_le gram_le B; rewrite zero mulr0.
  by rewrite innerC /inner trmx_mul gram_sym mulmxA BG mul0mx mxtrace0.
have pos : 0 < energy k B by rewrite lt_def nz energy_ge0.
have := mulr_ge0 (ltW pos) (form (inner (A *m G) B / energy k B)); rewrite -(subr_ge0 (_ ^+ 2)).
move: (inner _ _) (energy k A) nz => c a; move: (energy k B) => b nz.
by have -> : b * (a - 2 * (c / b) * c + (c / b) ^+ 2 * b) = a * b - c ^+ 2 by field.
Qed.

(** <grad rho(P), P - U> >= 2 rho(P) - 2 sqrt(rho(P) rho(U)) *)
Lemma ratio_gradient_quadratic S P U :
  2 * rho S P - 2 * (Num.sqrt (rho S P) * Num.sqrt (rho S U)) <= inner (grad_rho S P) (P - U).
Proof.
rewrite !T9_ratio // /ratio_gradient (T1_context_gradient normal_equations).
move: (S - Sstar) => E; set A := E - _; set B := E - _; set e := energy k E.
have A_eq : E *m G *m (P - U) = B - A.
  by rewrite /A /B mulmxBr opprB [RHS]addrC addrA subrK.
rewrite innerZl -mulmxA -inner_mull A_eq innerDr innerNr -energy_inner -sqrtrM; last first.
  by rewrite divr_ge0 ?energy_ge0.
have e_ge0 : 0 <= e^-1 by rewrite invr_ge0 energy_ge0.
have cross_le : inner (A *m G) B / e <= Num.sqrt (energy k A / e * (energy k B / e)).
  apply: (le_trans (ler_norm _)); rewrite -sqrtr_sqr ler_wsqrtr // mulrACA -expr2 exprMn.
  by rewrite ler_wpmul2r ?sqr_ge0 ?energy_cauchy_schwarz.
apply: (le_same_slack (ler_wpmul2l (ler0n R 2) cross_le)).
by set w := Num.sqrt _; set x := inner _ _; set y := energy k A; set z := e^-1; clearbody w x y z; ring.
Qed.

Lemma quadratic_decrease eta S P U (here there : R) : 0 <= eta ->
  there <= here - 2 * eta * inner (grad_rho S P) (P - U) + eta ^+ 2 * frob_sq (grad_rho S P) ->
  there + 2 * eta * ((2 - 2 * eta * L ^+ 2) * rho S P - 2 * (Num.sqrt (rho S P) * Num.sqrt (rho S U))) <= here.
Proof.
move=> eta_ge0 moved.
have along := ler_wpmul2l (mulr_ge0 (ler0n R 2) eta_ge0) (ratio_gradient_quadratic S P U).
have bounded := ler_wpmul2l (sqr_ge0 eta) (ratio_gradient_le normal_equations gram_le S P).
apply: (le_same_slack (ler_add (ler_add moved bounded) along)).
by move: (rho S P) (frob_sq _) (inner _ _) (Num.sqrt _ * _) => x y z w; ring.
Qed.

(** The sum of the ratios [rho] against those of the comparator, [there], from the decrease of a distance D. *)
Lemma quadratic_pays eta (D rho there : nat -> R) T :
  0 < eta -> eta * L ^+ 2 < 1 ->
  (forall j, 0 <= D j) -> (forall j, 0 <= rho j) -> (forall j, 0 <= there j) ->
  (forall j, D j.+1 + 2 * eta * ((2 - 2 * eta * L ^+ 2) * rho j - 2 * (Num.sqrt (rho j) * Num.sqrt (there j)))
    <= D j) ->
  \sum_(j < T) rho j <= ((Num.sqrt (\sum_(j < T) there j) +
    Num.sqrt (\sum_(j < T) there j + (2 - 2 * eta * L ^+ 2) * (D 0%N / (2 * eta)))) / (2 - 2 * eta * L ^+ 2)) ^+ 2.
Proof.
move=> eta_gt0 small D_ge0 rho_ge0 there_ge0 step; set mu := 2 - _.
have mu_gt0 : 0 < mu by rewrite subr_gt0 -mulrA -[X in _ < X]mulr1 ltr_pmul2l ?ltr0n.
have two_eta : 0 < 2 * eta by rewrite mulr_gt0 ?ltr0n.
apply: solve_quadratic; rewrite ?sumr_ge0 //; rewrite ler_pdivl_mulr // mulrC.
have paid := @potential_pays _ D _ T D_ge0 (fun j _ => step j).
apply: (le_trans _ paid); rewrite -mulr_sumr ler_pmul2l // sumrB -!mulr_sumr ler_add2l ler_opp2.
by rewrite ler_pmul2l ?ltr0n ?sum_sqrt_le.
Qed.

(** T10, agnostic, quadratic form, full matrix. Against any fixed U, any G and 0 < eta < 1/L^2, with mu = 2 - 2 eta L^2,
    A = sum rho_j(U) at the states of the run and B = |P_1 - U|_F^2 / (2 eta):
    sum rho_j(P_j) <= ((sqrt A + sqrt(A + mu B)) / mu)^2. For A = 0 it is the bound against right-Newton. *)
Theorem T10_full_agnostic_quadratic eta S P U T :
  let mu := 2 - 2 * eta * L ^+ 2 in
  let A := \sum_(j < T) rho (full_run k v Sstar eta S P j).1 U in
  let B := frob_sq (P - U) / (2 * eta) in
  0 < eta -> eta * L ^+ 2 < 1 ->
  \sum_(j < T) full_ratio k v Sstar eta S P j <= ((Num.sqrt A + Num.sqrt (A + mu * B)) / mu) ^+ 2.
Proof.
move=> mu A B eta_gt0 small; set run := full_run k v Sstar eta S P.
have D_ge0 j : 0 <= frob_sq ((run j).2 - U) by apply: frob_sq_ge0.
apply: (@quadratic_pays eta _ (full_ratio k v Sstar eta S P) (fun j => rho (run j).1 U) T eta_gt0 small D_ge0) => j.
- exact: rho_ge0.
- exact: rho_ge0.
by apply: (quadratic_decrease (ltW eta_gt0)); rewrite -full_distance.
Qed.

(** T10, agnostic, quadratic form, diagonal preconditioner: the same with P_j = Diag(d_j) and U = Diag(u). *)
Theorem T10_diagonal_agnostic_quadratic eta S d u T :
  let mu := 2 - 2 * eta * L ^+ 2 in
  let A := \sum_(j < T) rho (diagonal_run k v Sstar eta S d j).1 (diag_mx u) in
  let B := norm_sq (d - u) / (2 * eta) in
  0 < eta -> eta * L ^+ 2 < 1 ->
  \sum_(j < T) diagonal_ratio k v Sstar eta S d j <= ((Num.sqrt A + Num.sqrt (A + mu * B)) / mu) ^+ 2.
Proof.
move=> mu A B eta_gt0 small; set run := diagonal_run k v Sstar eta S d.
have D_ge0 j : 0 <= norm_sq ((run j).2 - u) by apply: norm_sq_ge0.
apply: (@quadratic_pays eta _ (diagonal_ratio k v Sstar eta S d) (fun j => rho (run j).1 (diag_mx u)) T eta_gt0 small
  D_ge0) => j.
- exact: rho_ge0.
- exact: rho_ge0.
by apply: (quadratic_decrease (ltW eta_gt0)); apply: diagonal_distance.
Qed.

End Quadratic.
