(** T16 over many steps, and what holds of a metric that moves: the multi-step bound of T27, and where it is bounded. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token sums projection chunk lyapunov.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section ManySteps.
Variables (R : realFieldType) (p n : nat).
Implicit Types (target : 'M[R]_(p, n)) (k d : nat -> 'rV[R]_n) (beta : nat -> R) (T : nat).

(** T16, many steps. With one d throughout, on a realisable stream, the tokens account for all of the decrease:
    V(E_T) = V(E_0) - sum_{t < T} beta_t (2 - beta_t a_t) |E_t k_t|^2. *)
Theorem T16_many_steps target k (d : 'rV[R]_n) beta (S0 : 'M[R]_(p, n)) T :
  let S := memory k (fun=> d) (fun t => k t *m target^T) beta S0 in
  (forall i, d 0 i != 0) ->
  lyapunov d (S T - target) = lyapunov d (S0 - target) -
    \sum_(t < T) beta t * (2 - beta t * alignment d (feature (k t))) * norm_sq (k t *m (S t - target)^T).
Proof.
move=> S nz; elim: T => [|T IH]; first by rewrite big_ord0 subr0.
by rewrite big_ord_recr /= opprD addrA -IH T16_lyapunov_identity.
Qed.

(** max_i d_{t,i} / d_{t+1,i}: what changing the metric after token t costs at most. *)
Definition metric_cost d t : R := \big[Num.max/0]_(i < n) (d t 0 i / d t.+1 0 i).

Lemma metric_cost_ge0 d t : 0 <= metric_cost d t.
Proof. by rewrite /metric_cost; elim/big_rec: _ => // i x _ x_ge0; rewrite le_maxr x_ge0 orbT. Qed.

(** T27, what does hold. If d_t > 0 and 0 <= beta_t a_t <= 2 throughout, on a realisable stream:
    V(d_T, E_T) <= (prod_{t < T} max_i d_{t,i} / d_{t+1,i}) V(d_0, E_0). *)
Theorem T27_product_bound target k d beta (S0 : 'M[R]_(p, n)) T :
  let S := memory k d (fun t => k t *m target^T) beta S0 in
  (forall t, (t <= T)%N -> forall i, 0 < d t 0 i) ->
  (forall t, (t < T)%N -> 0 <= beta t * alignment (d t) (feature (k t)) <= 2) ->
  lyapunov (d T) (S T - target) <= (\prod_(t < T) metric_cost d t) * lyapunov (d 0%N) (S0 - target).
Proof.
move=> S pos steps.
suff bound t : (t <= T)%N ->
    lyapunov (d t) (S t - target) <= (\prod_(j < t) metric_cost d j) * lyapunov (d 0%N) (S0 - target).
  exact: bound.
elim: t => [|t IH] tT; first by rewrite big_ord0 mul1r.
apply: (le_trans (T16_metric_change_max _ _ (pos t (ltnW tT)))).
rewrite big_ord_recr /= -mulrA mulrCA; apply: ler_wpmul2l; first exact: metric_cost_ge0.
apply: le_trans (T16_contraction _ _ (pos t (ltnW tT)) (steps t tT)) _.
exact: IH (ltnW tT).
Qed.

End ManySteps.

Section Decaying.
Variables (R : realFieldType) (p n : nat).
Implicit Types (c r : R) (T m : nat).

(** prod (1 + x_t) <= 1 / (1 - sum x_t) *)
Lemma product_of_small (x : nat -> R) T : (forall t, 0 <= x t) -> \sum_(t < T) x t <= 1 ->
  (\prod_(t < T) (1 + x t)) * (1 - \sum_(t < T) x t) <= 1.
Proof.
move=> x_ge0; elim: T => [|T IH]; rewrite ?big_ord0 ?subr0 ?mulr1 // !big_ord_recr /=.
have P_ge0 : 0 <= \prod_(t < T) (1 + x t) by apply: prodr_ge0 => t _; rewrite addr_ge0 ?ler01.
move: (\prod_(t < T) (1 + x t)) P_ge0 IH => P P_ge0 IH.
have sum_ge0 : 0 <= \sum_(t < T) x t by rewrite sumr_ge0.
move: (\sum_(t < T) x t) sum_ge0 IH => s s_ge0 IH small.
have s_le1 : s <= 1 by apply: le_trans small; rewrite ler_addl.
apply: le_trans (IH s_le1); rewrite -mulrA ler_wpmul2l // -subr_ge0.
have -> : 1 - s - (1 + x T) * (1 - (s + x T)) = x T * (s + x T) by ring.
by rewrite mulr_ge0 ?addr_ge0.
Qed.

(** prod_{t < T} (1 + c r^t) stays below 2 (1 + c)^m for ever, if what comes after the first m factors adds up to 1/2. *)
Lemma product_of_geometric c r m T : 0 <= c -> 0 <= r < 1 -> 2 * (c * r ^+ m) <= 1 - r ->
  \prod_(t < T) (1 + c * r ^+ t) <= 2 * (1 + c) ^+ m.
Proof.
move=> c_ge0 /andP[r_ge0 r_lt1] small.
have x_ge0 t : 0 <= c * r ^+ t by rewrite mulr_ge0 ?exprn_ge0.
have grows : \prod_(t < T) (1 + c * r ^+ t) <= \prod_(t < m + T) (1 + c * r ^+ t).
  rewrite addnC; elim: m {small} => [|j IH]; first by rewrite addn0.
  rewrite addnS big_ord_recr /=; apply: le_trans IH _; rewrite ler_pemulr ?ler_addl //.
  by apply: prodr_ge0 => t _; rewrite addr_ge0 ?ler01.
apply: le_trans grows _; rewrite big_split_ord /= mulrC.
have tail_sum : \sum_(t < T) c * r ^+ (m + t) <= 1 / 2.
  rewrite -(ler_pmul2r (_ : 0 < 2 * (1 - r))) ?mulr_gt0 ?subr_gt0 ?ltr0n //.
  have -> : \sum_(t < T) c * r ^+ (m + t) = c * r ^+ m * \sum_(t < T) r ^+ t.
    by rewrite mulr_sumr; apply: eq_bigr => t _; rewrite exprD mulrA.
  have := subrX1 r T; move: (\sum_(t < T) r ^+ t) => G geometric.
  have -> : c * r ^+ m * G * (2 * (1 - r)) = 2 * (c * r ^+ m) * (1 - r ^+ T).
    by rewrite -[1 - r ^+ T]opprB geometric; move: (r ^+ m) => e; ring.
  have -> : 1 / 2 * (2 * (1 - r)) = 1 - r by field.
  apply: le_trans small; apply: ler_pimulr; first by apply: mulr_ge0; rewrite ?ler0n ?x_ge0.
  by rewrite ger_addl oppr_le0 exprn_ge0.
have half_lt1 : 1 / 2 <= 1 :> R by rewrite ler_pdivr_mulr ?ltr0n // mul1r ler1n.
have pos (f : nat -> nat) N : 0 <= \prod_(t < N) (1 + c * r ^+ f t) by apply: prodr_ge0 => t _; rewrite addr_ge0 ?ler01.
apply: ler_pmul; [exact: (pos (fun t => m + t)%N)|exact: (pos id)| |].
  have := product_of_small (fun t => x_ge0 (m + t)%N) (le_trans tail_sum half_lt1).
  set P := \prod_(t < T) _ => bounded.
  have P_ge0 : 0 <= P by apply: prodr_ge0 => t _; rewrite addr_ge0 ?ler01.
  have : P * (1 / 2) <= 1.
    apply: le_trans bounded; rewrite ler_wpmul2l // ler_subr_addl -ler_subr_addr.
    by rewrite (_ : 1 - 1 / 2 = 1 / 2) //; field.
  by rewrite mul1r ler_pdivr_mulr ?ltr0n // mul1r.
have -> : (1 + c) ^+ m = \prod_(t < m) (1 + c) by rewrite prodr_const card_ord.
apply: ler_prod => t _.
by rewrite addr_ge0 ?ler01 //= ler_add2l ler_pimulr ?exprn_ile1 // ltW.
Qed.

(** T27. Plain OSDN with |1 - a_t| <= g r^t: with low > 0 the lower face and no feature above 1, the metrics cost no more
    than 2 (1 + c)^m in all, c = eta g / low, whatever T is, so that the error stays within that factor of what it was. *)
Theorem T27_decaying_gaps (target : 'M[R]_(p, n)) (k : nat -> 'rV[R]_n) (beta : nat -> R) (S0 : 'M[R]_(p, n))
    (eta low g r : R) (lo hi d1 : 'rV[R]_n) m T :
  let s := fun t => feature (k t) in
  let d := path eta lo hi d1 s in
  let S := memory k d (fun t => k t *m target^T) beta S0 in
  let c := eta * g / low in
  0 <= eta -> in_box lo hi d1 -> 0 < low -> (forall i, low <= lo 0 i) -> (forall t i, s t 0 i <= 1) ->
  (forall t, (t < T)%N -> 0 <= beta t * alignment (d t) (s t) <= 2) ->
  0 <= g -> 0 <= r < 1 -> (forall t, `|gap eta lo hi d1 s t| <= g * r ^+ t) -> 2 * (c * r ^+ m) <= 1 - r ->
  lyapunov (d T) (S T - target) <= 2 * (1 + c) ^+ m * lyapunov d1 (S0 - target).
Proof.
move=> s d S c eta_ge0 box low_gt0 above short steps g_ge0 rate decay small.
have c_ge0 : 0 <= c by rewrite divr_ge0 ?mulr_ge0 // ltW.
have inside t : in_box lo hi (d t) by case: t => // t; exact: clip_in_box box.
have floor t i : low <= d t 0 i by apply: le_trans (above i) _; case/andP: (inside t i).
have pos t i : 0 < d t 0 i by exact: lt_le_trans low_gt0 (floor t i).
have s_ge0 t i : 0 <= s t 0 i by rewrite mxE -expr2 sqr_ge0.
apply: le_trans (T27_product_bound target S0 (fun t _ => pos t) steps) _.
have V_ge0 : 0 <= lyapunov (d 0%N) (S0 - target).
  by rewrite lyapunovE !sumr_ge0 // => i _; apply: sumr_ge0 => j _; rewrite divr_ge0 ?sqr_ge0 ?ltW.
apply: ler_wpmul2r => //; apply: le_trans (product_of_geometric T c_ge0 rate small).
apply: ler_prod => t _; rewrite metric_cost_ge0 /=; case/andP: rate => r_ge0 _.
have cost_ge0 : 0 <= c * r ^+ t by rewrite mulr_ge0 ?exprn_ge0.
apply: (big_ind (fun x => x <= 1 + c * r ^+ t)) => [|x y xs ys|i _]; first by rewrite addr_ge0 ?ler01.
  by rewrite le_maxl xs.
rewrite ler_pdivr_mulr // mulrDl mul1r -ler_subl_addl.
have step : d t.+1 0 i = clip1 (lo 0 i) (hi 0 i) (d t 0 i + eta * gap eta lo hi d1 s t * s t 0 i).
  by rewrite /d /= /calibrate /calibrate_free /gap !mxE add0r subr0 mul1r mulr1.
have still : d t 0 i = clip1 (lo 0 i) (hi 0 i) (d t 0 i) by rewrite clip1_id ?inside.
have moved : `|d t 0 i - d t.+1 0 i| <= `|eta * gap eta lo hi d1 s t * s t 0 i|.
  rewrite -(@ler_pexpn2r _ 2) ?nnegrE ?normr_ge0 // !real_normK ?num_real // {1}still step.
  apply: le_trans (clip1_nonexpansive _ _ _ _) _.
  by rewrite -sqrrN opprB addrAC subrr add0r.
apply: le_trans (ler_norm _) _; apply: le_trans moved _.
rewrite !normrM (ger0_norm eta_ge0) (ger0_norm (s_ge0 _ _)).
apply: (@le_trans _ _ (eta * (g * r ^+ t) * 1)).
  by rewrite ler_pmul ?mulr_ge0 ?normr_ge0 // ler_wpmul2l.
apply: (@le_trans _ _ (c * r ^+ t * low)); last by rewrite ler_wpmul2l.
by rewrite /c mulr1 -mulrA; move: (r ^+ t) => e; rewrite (_ : eta * g / low * (e * low) = eta * (g * e)) //; field; rewrite gt_eqF.
Qed.

End Decaying.
