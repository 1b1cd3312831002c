(** T10: gradient steps on the ratio of the full-context step, against right-Newton and against any fixed
    preconditioner.

    Throughout: keys k_t with Gram matrix G, values v_t, a minimiser S* of F (normal equations), and a number L with
    x G x^T <= L |x|^2, such as the largest eigenvalue of G. rho_j is the ratio (F(S_{j+1}) - F* )/(F(S_j) - F* ) of
    step j, from 0; it counts as 0 where F(S_j) = F*, so that no non-degeneracy is assumed. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors sums agnostic context newton_run.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Theorems.
Variables (R : realFieldType) (p n m : nat).
Variables (k : 'I_m -> 'rV[R]_n) (v : 'I_m -> 'rV[R]_p) (Sstar : 'M[R]_(p, n)) (L : R).
Notation G := (gram k).
Notation gap := (suboptimality k v Sstar).
Notation full_run := (full_run k v Sstar).
Notation full_ratio := (full_ratio k v Sstar).
Notation diagonal_run := (diagonal_run k v Sstar).
Notation diagonal_ratio := (diagonal_ratio k v Sstar).
Implicit Types (S : 'M[R]_(p, n)) (P U : 'M[R]_n) (d u h : 'rV[R]_n) (eta : R) (T : nat).

Hypothesis normal_equations : Sstar *m G = cross k v.
Hypothesis gram_le : forall x, dot (x *m G) x <= L * norm_sq x.

(** U is G^-1, or a pseudo-inverse where G is singular. *)
Definition inverts U : Prop := G *m U *m G = G.

Lemma invmx_inverts : G \in unitmx -> inverts (invmx G).
Proof. by move=> unit; rewrite /inverts mulmxV ?mul1mx. Qed.

(** 1/h inverts Diag(h), also where some h_i = 0 and 1/h_i is read as 0. *)
Lemma diagonal_inverts h : G = diag_mx h -> inverts (diag_mx (\row_i (h 0 i)^-1)).
Proof.
move=> diagonal_gram; rewrite /inverts {1 2}diagonal_gram !mulmx_diag diagonal_gram; congr diag_mx.
by apply/rowP => i; rewrite !mxE; have [->|nz] := eqVneq (h 0 i) 0; rewrite ?mulr0 // mulfV ?mul1r.
Qed.

(** T10. Right-Newton P* = G^-1 has rho_S(P* ) = 0 for every S: one context step reaches F*. *)
Theorem T10_newton_ratio_is_zero S : G \in unitmx -> context_ratio k v Sstar S (invmx G) = 0.
Proof. by move/invmx_inverts; apply: ratio_newton. Qed.

(** T10. If G is singular, any U with G U G = G, such as the pseudo-inverse, has rho_S(U) = 0. *)
Theorem T10_pseudo_newton_ratio_is_zero S U : inverts U -> context_ratio k v Sstar S U = 0.
Proof. exact: ratio_newton. Qed.

(** T10. F(S_{j+1}) - F* = rho_S(P) (F(S) - F* ), also where F(S) = F*. *)
Theorem T10_ratio_is_progress S P :
  gap (context_step k v P S) = context_ratio k v Sstar S P * gap S.
Proof. exact: (suboptimality_step normal_equations gram_le). Qed.

(** T10, self-bounding. |grad rho|_F^2 <= 4 L^2 rho. *)
Theorem T10_self_bounding S P :
  frob_sq (ratio_gradient k v Sstar S P) <= 4 * L ^+ 2 * context_ratio k v Sstar S P.
Proof. exact: ratio_gradient_le. Qed.

Lemma newton_pays eta (D rho : nat -> R) T : 0 < eta -> eta * L ^+ 2 < 1 -> (forall j, 0 <= D j) ->
  (forall j, D j.+1 + 4 * eta * (1 - eta * L ^+ 2) * rho j <= D j) ->
  \sum_(j < T) rho j <= D 0%N / (4 * eta * (1 - eta * L ^+ 2)).
Proof.
move=> eta_gt0 small D_ge0 step; have pos : 0 < 4 * eta * (1 - eta * L ^+ 2).
  by rewrite !mulr_gt0 ?ltr0n ?subr_gt0.
rewrite ler_pdivl_mulr // mulrC mulr_sumr.
by apply: (@potential_pays _ D (fun j => 4 * eta * (1 - eta * L ^+ 2) * rho j)) => // j _; apply: step.
Qed.

(** T10, full matrix, any step 0 < eta < 1/L^2. If U = G^-1, or G U G = G where G is singular, then
    sum_{j < T} rho_j <= |P_1 - U|_F^2 / (4 eta (1 - eta L^2)). *)
Theorem T10_full_ratio_sum eta S P U T :
  inverts U -> 0 < eta -> eta * L ^+ 2 < 1 ->
  \sum_(j < T) full_ratio eta S P j <= frob_sq (P - U) / (4 * eta * (1 - eta * L ^+ 2)).
Proof.
move=> newton eta_gt0 small; set run := full_run eta S P.
have D_ge0 j : 0 <= frob_sq ((run j).2 - U) by apply: frob_sq_ge0.
apply: (@newton_pays eta _ (full_ratio eta S P) T eta_gt0 small D_ge0) => j.
by apply: (newton_decrease normal_equations gram_le newton); rewrite -full_distance.
Qed.

(** T10, diagonal preconditioner, any step 0 < eta < 1/L^2. If G = Diag(h) and u = 1/h (0 where h_i = 0), then
    sum_{j < T} rho_j <= |d_1 - u|^2 / (4 eta (1 - eta L^2)). *)
Theorem T10_diagonal_ratio_sum eta S d h T :
  let u := \row_i (h 0 i)^-1 in
  G = diag_mx h -> 0 < eta -> eta * L ^+ 2 < 1 ->
  \sum_(j < T) diagonal_ratio eta S d j <= norm_sq (d - u) / (4 * eta * (1 - eta * L ^+ 2)).
Proof.
move=> u /diagonal_inverts newton eta_gt0 small; set run := diagonal_run eta S d.
have D_ge0 j : 0 <= norm_sq ((run j).2 - u) by apply: norm_sq_ge0.
apply: (@newton_pays eta _ (diagonal_ratio eta S d) T eta_gt0 small D_ge0) => j.
by apply: (newton_decrease normal_equations gram_le newton); apply: diagonal_distance.
Qed.

(** The step 1/(2 L^2) *)
Definition half_step : R := (2 * L ^+ 2)^-1.

Lemma half_step_budget (D : R) : 0 < L ->
  [/\ 0 < half_step, half_step * L ^+ 2 < 1 & D / (4 * half_step * (1 - half_step * L ^+ 2)) = L ^+ 2 * D].
Proof.
move=> L_gt0; have nz : L != 0 by rewrite gt_eqF.
have half : half_step * L ^+ 2 = 2^-1 by rewrite /half_step; field.
split; first by rewrite invr_gt0 mulr_gt0 ?ltr0n ?exprn_gt0.
  by rewrite half invf_lt1 ?ltr0n // ltr1n.
by rewrite half /half_step; field; rewrite nz.
Qed.

(** T10, full matrix, step 1/(2 L^2): sum_{j < T} rho_j <= L^2 |P_1 - U|_F^2 for U = G^-1, or G U G = G. *)
Theorem T10_full_ratio_sum_half_step S P U T : inverts U -> 0 < L ->
  \sum_(j < T) full_ratio half_step S P j <= L ^+ 2 * frob_sq (P - U).
Proof.
move=> newton L_gt0; have [eta_gt0 small <-] := half_step_budget (frob_sq (P - U)) L_gt0.
exact: T10_full_ratio_sum.
Qed.

(** T10, full matrix, G singular or not: the product form against any U with G U G = G. *)
Theorem T10_full_super_geometric_pseudo S P U T : inverts U -> 0 < L ->
  gap (full_run half_step S P T).1 <= gap S * (L ^+ 2 * frob_sq (P - U) / T%:R) ^+ T.
Proof.
move=> newton L_gt0; apply: product_of_ratios (full_suboptimality normal_equations gram_le _ _ _ _).
- by move=> j; apply: rho_ge0.
- exact: suboptimality_ge0.
exact: T10_full_ratio_sum_half_step.
Qed.

(** T10, full matrix: super-geometric convergence. If G is invertible, with steps 1/(2 L^2) on rho,
    F(S_{T+1}) - F* <= (F(S_1) - F* ) (L^2 |P_1 - G^-1|_F^2 / T)^T. Vacuous until T exceeds that numerator. *)
Theorem T10_full_super_geometric S P T : G \in unitmx -> 0 < L ->
  gap (full_run half_step S P T).1 <= gap S * (L ^+ 2 * frob_sq (P - invmx G) / T%:R) ^+ T.
Proof. by move/invmx_inverts; apply: T10_full_super_geometric_pseudo. Qed.

(** T10, diagonal preconditioner, step 1/(2 L^2), G = Diag(h): sum_{j < T} rho_j <= L^2 |d_1 - 1/h|^2. *)
Theorem T10_diagonal_ratio_sum_half_step S d h T :
  let u := \row_i (h 0 i)^-1 in
  G = diag_mx h -> 0 < L ->
  \sum_(j < T) diagonal_ratio half_step S d j <= L ^+ 2 * norm_sq (d - u).
Proof.
move=> u diagonal_gram L_gt0; have [eta_gt0 small <-] := half_step_budget (norm_sq (d - u)) L_gt0.
exact: T10_diagonal_ratio_sum.
Qed.

(** T10, diagonal preconditioner: super-geometric convergence. If G = Diag(h), with steps 1/(2 L^2),
    F(S_{T+1}) - F* <= (F(S_1) - F* ) (L^2 |d_1 - 1/h|^2 / T)^T, where 1/h_i is read as 0 if h_i = 0. *)
Theorem T10_diagonal_super_geometric S d h T :
  let u := \row_i (h 0 i)^-1 in
  G = diag_mx h -> 0 < L ->
  gap (diagonal_run half_step S d T).1 <= gap S * (L ^+ 2 * norm_sq (d - u) / T%:R) ^+ T.
Proof.
move=> u diagonal_gram L_gt0.
apply: product_of_ratios (diagonal_suboptimality normal_equations gram_le _ _ _ _).
- by move=> j; apply: rho_ge0.
- exact: suboptimality_ge0.
exact: T10_diagonal_ratio_sum_half_step.
Qed.

Lemma agnostic_pays eta (D rho there : nat -> R) T :
  0 < eta -> 2 * eta * L ^+ 2 < 1 -> (forall j, 0 <= D j) ->
  (forall j, D j.+1 + 2 * eta * (1 - 2 * eta * L ^+ 2) * rho j <= D j + 2 * eta * there j) ->
  \sum_(j < T) rho j <= (\sum_(j < T) there j + D 0%N / (2 * eta)) / (1 - 2 * eta * L ^+ 2).
Proof.
move=> eta_gt0 small D_ge0 step; apply: divide_regret; rewrite ?subr_gt0 // !mulr_sumr.
have := @potential_sum _ D _ _ T (fun j _ => step j).
by apply: le_trans; rewrite ler_addr.
Qed.

(** T10, agnostic, full matrix: against any fixed U, any G, 0 < eta < 1/(2 L^2),
    sum rho_j(P_j) <= (sum rho_j(U) + |P_1 - U|_F^2 / (2 eta)) / (1 - 2 eta L^2), all at the states S_j of the run. *)
Theorem T10_full_agnostic eta S P U T : 0 < eta -> 2 * eta * L ^+ 2 < 1 ->
  \sum_(j < T) full_ratio eta S P j <=
  (\sum_(j < T) context_ratio k v Sstar (full_run eta S P j).1 U + frob_sq (P - U) / (2 * eta)) /
  (1 - 2 * eta * L ^+ 2).
Proof.
move=> eta_gt0 small; set run := full_run eta S P.
have D_ge0 j : 0 <= frob_sq ((run j).2 - U) by apply: frob_sq_ge0.
pose there j := context_ratio k v Sstar (run j).1 U.
apply: (@agnostic_pays eta _ (full_ratio eta S P) there T eta_gt0 small D_ge0) => j.
by apply: (agnostic_decrease normal_equations gram_le (ltW eta_gt0)); rewrite -full_distance.
Qed.

(** T10, agnostic, diagonal preconditioner: against any fixed diagonal u, any G, 0 < eta < 1/(2 L^2),
    sum rho_j(d_j) <= (sum rho_j(u) + |d_1 - u|^2 / (2 eta)) / (1 - 2 eta L^2): no worse than the best one. *)
Theorem T10_diagonal_agnostic eta S d u T : 0 < eta -> 2 * eta * L ^+ 2 < 1 ->
  \sum_(j < T) diagonal_ratio eta S d j <=
  (\sum_(j < T) context_ratio k v Sstar (diagonal_run eta S d j).1 (diag_mx u) + norm_sq (d - u) / (2 * eta)) /
  (1 - 2 * eta * L ^+ 2).
Proof.
move=> eta_gt0 small; set run := diagonal_run eta S d.
have D_ge0 j : 0 <= norm_sq ((run j).2 - u) by apply: norm_sq_ge0.
pose there j := context_ratio k v Sstar (run j).1 (diag_mx u).
apply: (@agnostic_pays eta _ (diagonal_ratio eta S d) there T eta_gt0 small D_ge0) => j.
by apply: (agnostic_decrease normal_equations gram_le (ltW eta_gt0)); apply: diagonal_distance.
Qed.

(** T10, agnostic, diagonal preconditioner: the product form. With X the right side of [T10_diagonal_agnostic],
    F(S_{T+1}) - F* <= (F(S_1) - F* ) (X / T)^T. *)
Theorem T10_diagonal_agnostic_product eta S d u T :
  let X := (\sum_(j < T) context_ratio k v Sstar (diagonal_run eta S d j).1 (diag_mx u) +
    norm_sq (d - u) / (2 * eta)) / (1 - 2 * eta * L ^+ 2) in
  0 < eta -> 2 * eta * L ^+ 2 < 1 ->
  gap (diagonal_run eta S d T).1 <= gap S * (X / T%:R) ^+ T.
Proof.
move=> X eta_gt0 small.
apply: product_of_ratios (diagonal_suboptimality normal_equations gram_le _ _ _ _).
- by move=> j; apply: rho_ge0.
- exact: suboptimality_ge0.
exact: T10_diagonal_agnostic.
Qed.

End Theorems.
