(** What fails when a hypothesis of T10 is dropped. First a diagonal preconditioner with a Gram matrix that is not
    diagonal: a context where the run holds one diagonal for ever, which takes off three quarters of F - F* per step, no
    more. Then steps that are too long, and a number L below the largest eigenvalue. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors sums projection context newton_run newton one_feature.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section TwoFeatures.
Variable R : realFieldType.
Implicit Types x y z w c eta : R.

Definition two x y : 'rV[R]_2 := \row_i (if i == 0 then x else y).

(** Keys (1, 1), (1, 0), (0, 1) and values zero: G = [[2, 1], [1, 2]], S* = 0, F* = 0. *)
Definition keys (t : 'I_3) : 'rV[R]_2 :=
  match val t with 0%N => two 1 1 | 1%N => two 1 0 | _ => two 0 1 end.
Definition values (t : 'I_3) : 'rV[R]_1 := 0.

Notation G := (gram keys).

Lemma dot_two x y z w : dot (two x y) (two z w) = x * z + y * w.
Proof. by rewrite /dot big_ord_recl big_ord1 !mxE. Qed.

Lemma two_gram x y : two x y *m G = two (2 * x + y) (x + 2 * y).
Proof.
rewrite /gram mulmx_sumr !big_ord_recl big_ord0 addr0 !mulmxA !dot_mx !mul_scalar_mx /keys /= !dot_two.
by apply/rowP => i; rewrite !mxE; case: (i == 0); ring.
Qed.

Lemma cross0 : cross keys values = 0.
Proof. by rewrite /cross big1 // => t _; rewrite trmx0 mul0mx. Qed.

Lemma gradient_two x y : context_gradient keys values (two x y) = two (2 * x + y) (x + 2 * y).
Proof. by rewrite context_gradientE cross0 subr0 two_gram. Qed.

Lemma energy_two x y : energy keys (two x y) = 2 * (x ^+ 2 + x * y + y ^+ 2).
Proof. by rewrite energy_inner two_gram -dot_inner dot_two; ring. Qed.

(** One step with d = (1/2, 1/2) swaps the entries and halves them ... *)
Lemma step_two x y :
  two x y - two (2 * x + y) (x + 2 * y) *m diag_mx (two 2^-1 2^-1) = two (- (y / 2)) (- (x / 2)).
Proof. by rewrite mul_mx_diag; apply/rowP => i; rewrite !mxE; case: (i == 0); field. Qed.

(** ... so it takes off three quarters of tr (E G E^T), whatever the error ... *)
Lemma energy_step x y : energy keys (two (- (y / 2)) (- (x / 2))) = energy keys (two x y) / 4.
Proof. by rewrite !energy_two; field. Qed.

Lemma ratio_two x y : energy keys (two x y) != 0 ->
  context_ratio keys values 0 (two x y) (diag_mx (two 2^-1 2^-1)) = 4^-1.
Proof.
move=> nz; rewrite T9_ratio ?mul0mx ?cross0 // subr0 gradient_two step_two energy_step.
by rewrite mulrAC divff // mul1r.
Qed.

(** ... and where one entry of the gradient of F vanishes, the gradient of rho in d vanishes. *)
Lemma diagonal_gradient_two x y : (2 * x + y) * (x + 2 * y) = 0 ->
  diagonal (ratio_gradient keys values 0 (two x y) (diag_mx (two 2^-1 2^-1))) = 0.
Proof.
move=> zero; rewrite /ratio_gradient subr0 gradient_two step_two -mulmxA two_gram.
set c := - 2 / _; apply/rowP => i; rewrite !mxE big_ord1 !mxE -[RHS](mulr0 (- c / 2)) -zero.
by case: (i == 0); field.
Qed.

Lemma energy_start : energy keys (two 2 (-1)) != 0.
Proof.
rewrite energy_two; have -> : 2 * (2 ^+ 2 + 2 * -1 + (-1) ^+ 2) = 6 :> R by ring.
by rewrite pnatr_eq0.
Qed.

(** The states that the run visits. *)
Definition held (x : 'M[R]_(1, 2) * 'rV[R]_2) : Prop :=
  exists a b : R, [/\ x = (two a b, two 2^-1 2^-1), (2 * a + b) * (a + 2 * b) = 0 & energy keys (two a b) != 0].

Lemma held_run eta j : held (diagonal_run keys values 0 eta (two 2 (-1)) (two 2^-1 2^-1) j).
Proof.
elim: j => [|j [a [b [run zero nz]]]].
  by exists 2, (-1); split; rewrite ?energy_start //; ring.
exists (- (b / 2)), (- (a / 2)); split.
- rewrite /diagonal_run iterS -/(diagonal_run _ _ _ _ _ _ _) run /= /context_step.
  by rewrite gradient_two step_two diagonal_gradient_two // scaler0 subr0.
- have -> : (2 * - (b / 2) + - (a / 2)) * (- (b / 2) + 2 * - (a / 2)) = (2 * a + b) * (a + 2 * b) / 4 by field.
  by rewrite zero mul0r.
by rewrite energy_step mulf_neq0 // invr_eq0 pnatr_eq0.
Qed.

Lemma held_ratio eta j : diagonal_ratio keys values 0 eta (two 2 (-1)) (two 2^-1 2^-1) j = 4^-1.
Proof.
have [a [b [run _ nz]]] := held_run eta j.
by rewrite /diagonal_ratio run ratio_two.
Qed.

Lemma gram_two_le (x : 'rV[R]_2) : dot (x *m G) x <= 3 * norm_sq x.
Proof.
have -> : x = two (x 0 0) (x 0 1).
  by apply/rowP => -[[|[|i]] lt] //; rewrite !mxE /=; congr (x _ _); apply/val_inj.
move: (x 0 0) (x 0 1) => a b; rewrite two_gram /norm_sq !dot_two -subr_ge0.
have -> : 3 * (a * a + b * b) - ((2 * a + b) * a + (a + 2 * b) * b) = (a - b) ^+ 2 by ring.
exact: sqr_ge0.
Qed.

Lemma gram_two_unit : G \in unitmx.
Proof.
have inverse x y : two ((2 * x - y) / 3) ((2 * y - x) / 3) *m G = two x y.
  by rewrite two_gram; congr two; field.
rewrite -row_full_unit; apply/row_fullP.
exists (\matrix_(i < 2) (if i == 0 then two (2 / 3) (- 1 / 3) else two (- 1 / 3) (2 / 3))).
apply/row_matrixP => i; rewrite row_mul rowK row1; case: i => [[|[|i]] lt] //=.
- have -> : two (2 / 3) (- 1 / 3) = two ((2 * 1 - 0) / 3) ((2 * 0 - 1) / 3) :> 'rV[R]_2 by congr two; field.
  by rewrite inverse; apply/rowP => -[[|[|j]] lt'] //; rewrite !mxE.
have -> : two (- 1 / 3) (2 / 3) = two ((2 * 0 - 1) / 3) ((2 * 1 - 0) / 3) :> 'rV[R]_2 by congr two; field.
by rewrite inverse; apply/rowP => -[[|[|j]] lt'] //; rewrite !mxE.
Qed.

End TwoFeatures.

(** T10 needs a diagonal G for a diagonal preconditioner. Three keys with an invertible G <= 3 I that is not diagonal,
    and a run of gradient steps on rho of any size eta: rho_j = 1/4 at every step, so their sum is T/4 and has
    no bound independent of T, and F(S_{T+1}) - F* decays geometrically only. *)
Theorem T10_needs_diagonal_gram (R : realFieldType) :
  exists (k : 'I_3 -> 'rV[R]_2) (v : 'I_3 -> 'rV[R]_1) (Sstar S : 'M[R]_(1, 2)) (d : 'rV[R]_2),
    [/\ Sstar *m gram k = cross k v, forall x, dot (x *m gram k) x <= 3 * norm_sq x, gram k \in unitmx,
        suboptimality k v Sstar S != 0 &
        forall eta T, \sum_(j < T) diagonal_ratio k v Sstar eta S d j = T%:R / 4 /\
          suboptimality k v Sstar (diagonal_run k v Sstar eta S d T).1 = 4^-1 ^+ T * suboptimality k v Sstar S].
Proof.
have normal_equations : 0 *m gram (@keys R) = cross (@keys R) (@values R) by rewrite mul0mx cross0.
exists (@keys R), (@values R), 0, (two 2 (-1)), (two 2^-1 2^-1); split=> // [x|||eta T].
- exact: gram_two_le.
- exact: gram_two_unit.
- by rewrite /suboptimality T1_context_gap // subr0 mulf_neq0 ?invr_eq0 ?pnatr_eq0 // energy_start.
split; first exact: (sum_all_equal T (held_ratio eta)).
rewrite (diagonal_suboptimality normal_equations (@gram_two_le R)).
by rewrite (prod_all_equal T (held_ratio eta)).
Qed.

(** One feature, one key 1, value 0: G = 1, S* = 0. *)
Section OneFeature.
Variable R : realFieldType.
Implicit Types x e eta : R.

Notation key := (fun _ : 'I_1 => one (1 : R)).
Notation value := (fun _ : 'I_1 => 0 : 'rV[R]_1).

Lemma one_gram x : one x *m gram key = one x.
Proof.
rewrite /gram big_ord1 mulmxA dot_mx mul_scalar_mx dot_one mulr1.
by apply/rowP => i; rewrite !mxE mulr1.
Qed.

Lemma one_cross0 : cross key value = 0.
Proof. by rewrite /cross big1 // => t _; rewrite trmx0 mul0mx. Qed.

Lemma one_gradient e : context_gradient key value (one e) = one e.
Proof. by rewrite context_gradientE one_cross0 subr0 one_gram. Qed.

Lemma one_step e x : one e - one e *m diag_mx (one x) = one (e * (1 - x)).
Proof. by rewrite mul_mx_diag; apply/rowP => i; rewrite !mxE; ring. Qed.

Lemma one_energy e : energy key (one e) = e ^+ 2.
Proof. by rewrite energy_inner one_gram -dot_inner dot_one. Qed.

Lemma one_ratio e x : e != 0 -> context_ratio key value 0 (one e) (diag_mx (one x)) = (1 - x) ^+ 2.
Proof.
move=> nz; rewrite T9_ratio ?mul0mx ?one_cross0 // subr0 one_gradient one_step !one_energy.
by rewrite exprMn mulrAC divff ?mul1r // expf_neq0.
Qed.

Lemma one_ratio_gradient e x : e != 0 ->
  diagonal (ratio_gradient key value 0 (one e) (diag_mx (one x))) = one (- 2 * (1 - x)).
Proof.
move=> nz; rewrite /ratio_gradient subr0 one_gradient one_step -mulmxA one_gram one_energy.
by apply/rowP => i; rewrite !mxE big_ord1 !mxE; field.
Qed.

Lemma long_run eta j : 1 <= eta ->
  exists e x, [/\ diagonal_run key value 0 eta (one 1) (one 2^-1) j = (one e, one x), e != 0 &
    4^-1 <= (1 - x) ^+ 2].
Proof.
move=> large; elim: j => [|j [e [x [run nz far]]]].
  by exists 1, 2^-1; split; rewrite ?oner_neq0 //; have -> : (1 - 2^-1) ^+ 2 = 4^-1 :> R by field.
have x_neq1 : 1 - x != 0 by rewrite -sqrf_eq0 gt_eqF // (lt_le_trans _ far) // invr_gt0 ltr0n.
exists (e * (1 - x)), (x + eta * (2 * (1 - x))); split; last 1 first.
- apply: (le_trans far); have -> : 1 - (x + eta * (2 * (1 - x))) = (1 - x) * (1 - 2 * eta) by ring.
  rewrite exprMn ler_pmulr ?exprn_even_gt0 //; have -> : (1 - 2 * eta) ^+ 2 = 1 + 4 * eta * (eta - 1) by ring.
  by rewrite ler_addl !mulr_ge0 ?ler0n ?subr_ge0 // (le_trans ler01 large).
- rewrite /diagonal_run iterS -/(diagonal_run _ _ _ _ _ _ _) run /= /context_step one_gradient one_step.
  by rewrite one_ratio_gradient //; congr pair; apply/rowP => i; rewrite !mxE; ring.
by rewrite mulf_neq0.
Qed.

Lemma long_run_sum eta T : 1 <= eta ->
  T%:R / 4 <= \sum_(j < T) diagonal_ratio key value 0 eta (one 1) (one 2^-1) j.
Proof.
move=> large; rewrite -(@sum_all_equal _ (fun=> 4^-1) _ T) //; apply: ler_sum => j _.
by have [e [x [run nz far]]] := long_run j large; rewrite /diagonal_ratio run one_ratio.
Qed.

Lemma one_gram_diagonal : gram key = diag_mx (one 1).
Proof.
by rewrite /gram big_ord1; apply/matrixP => i j; rewrite !mxE big_ord1 !mxE (ord1 i) (ord1 j) eqxx mulr1.
Qed.

End OneFeature.

(** T10 needs eta < 1/L^2. With one feature, L = G = 1 and any eta >= 1, a run with every other hypothesis has
    rho_j >= 1/4 at every step: the sum of its ratios is at least T/4 and has no bound independent of T. *)
Theorem T10_needs_small_step (R : realFieldType) (eta : R) : 1 <= eta ->
  exists (k v : 'I_1 -> 'rV[R]_1) (Sstar S : 'M[R]_(1, 1)) (d h : 'rV[R]_1),
    [/\ Sstar *m gram k = cross k v, gram k = diag_mx h, forall x, dot (x *m gram k) x <= 1 * norm_sq x &
        forall T, T%:R / 4 <= \sum_(j < T) diagonal_ratio k v Sstar eta S d j].
Proof.
move=> large; exists (fun=> one 1), (fun=> 0), 0, (one 1), (one 2^-1), (one 1); split.
- by rewrite mul0mx one_cross0.
- exact: one_gram_diagonal.
- move=> x; have -> : x = one (x 0 0) by apply/rowP => i; rewrite mxE (ord1 i).
  by rewrite one_gram mul1r.
by move=> T; apply: long_run_sum.
Qed.

(** T10 needs L at least the largest eigenvalue. With one feature, G = 1 and L = 1/2, the run with the step 1/(2 L^2)
    has a sum of ratios of at least T/4, where the claimed bound L^2 |d_1 - 1/h|^2 is 1/16. *)
Theorem T10_needs_gram_bound (R : realFieldType) :
  exists (k v : 'I_1 -> 'rV[R]_1) (Sstar S : 'M[R]_(1, 1)) (d h : 'rV[R]_1),
    [/\ Sstar *m gram k = cross k v, gram k = diag_mx h,
        2^-1 ^+ 2 * norm_sq (d - \row_i (h 0 i)^-1) = 16^-1 &
        forall T, T%:R / 4 <= \sum_(j < T) diagonal_ratio k v Sstar (half_step 2^-1) S d j].
Proof.
have step : 1 <= half_step 2^-1 :> R.
  by have -> : half_step 2^-1 = 2 :> R; [rewrite /half_step; field|rewrite ler1n].
exists (fun=> one 1), (fun=> 0), 0, (one 1), (one 2^-1), (one 1); split.
- by rewrite mul0mx one_cross0.
- exact: one_gram_diagonal.
- have -> : \row_i (one (1 : R) 0 i)^-1 = one 1 by apply/rowP => i; rewrite !mxE invr1.
  by rewrite one_sub norm_sq_one; field.
by move=> T; apply: long_run_sum.
Qed.
