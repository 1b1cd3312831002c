(** T15, the limit: from any d_1 of the box, the preconditioner converges to the interpolating point (all ones, for unit
    keys) at a geometric rate per window of tokens, if the features span every window. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors sums projection regret.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(** The features of a window of N tokens span, quantitatively: c |x|^2 <= sum_t <x, s_t>^2 for every x. *)
Definition excited (R : realFieldType) n (c : R) N (s : nat -> 'rV[R]_n) : Prop :=
  forall x, c * norm_sq x <= \sum_(t < N) dot x (s t) ^+ 2.

Section Window.
Variables (R : realFieldType) (n : nat) (eta M c : R) (lo hi d1 u : 'rV[R]_n) (s : nat -> 'rV[R]_n) (N : nat).
Notation d := (path eta lo hi d1 s).
Notation gap := (gap eta lo hi d1 s).
Hypothesis u_box : in_box lo hi u.
Hypothesis d1_box : in_box lo hi d1.
Hypothesis fit : forall t, (t < N)%N -> dot u (s t) = 1.
Hypothesis small : forall t, (t < N)%N -> norm_sq (s t) <= M.
Hypothesis M_ge0 : 0 <= M.
Hypothesis eta_gt0 : 0 < eta.
Hypothesis eta_M : eta * M < 2.
Hypothesis spans : c * norm_sq (u - d1) <= \sum_(t < N) dot (u - d1) (s t) ^+ 2.

Let E : R := \sum_(t < N) gap t ^+ 2.

Lemma path_in_box t : in_box lo hi (d t).
Proof. by case: t => [|t] //=; exact: clip_in_box u_box. Qed.

(** One step moves d by at most eta |gap| |s|. *)
Lemma move_le t : (t < N)%N -> norm_sq (d t.+1 - d t) <= (eta * gap t) ^+ 2 * M.
Proof.
move=> tN; rewrite -[X in norm_sq (_ - X)](clip_id (path_in_box t)).
apply: le_trans (clip_nonexpansive lo hi (calibrate_free eta 1 1 0 (d t) (s t)) (d t)) _.
rewrite calibrate_plain [d t + _]addrC addrK norm_sqZ.
by rewrite ler_wpmul2l ?sqr_ge0 // small.
Qed.

Lemma path_telescopes t : d t - d1 = \sum_(j < t) (d j.+1 - d j).
Proof. by elim: t => [|t IH]; rewrite ?big_ord0 ?subrr // big_ord_recr /= -IH [RHS]addrC subrKA. Qed.

(** How far d has drifted, seen by the feature of token t. *)
Lemma drift_le t : (t < N)%N -> dot (d t - d1) (s t) ^+ 2 <= N%:R * (eta ^+ 2 * M ^+ 2 * E).
Proof.
move=> tN; rewrite path_telescopes dot_suml.
have -> : \sum_(j < t) dot (d j.+1 - d j) (s t) = \sum_(j < t) 1 * dot (d j.+1 - d j) (s t).
  by apply: eq_bigr => j _; rewrite mul1r.
apply: le_trans (cauchy_schwarz_sum (fun=> 1) (fun j => dot (d j.+1 - d j) (s t)) t) _.
rewrite expr1n sumr_const card_ord.
have one_move j : (j < t)%N -> dot (d j.+1 - d j) (s t) ^+ 2 <= eta ^+ 2 * M ^+ 2 * gap j ^+ 2.
  move=> jt; apply: le_trans (cauchy_schwarz _ _) _.
  have -> : eta ^+ 2 * M ^+ 2 * gap j ^+ 2 = (eta * gap j) ^+ 2 * M * M by ring.
  by apply: ler_pmul; rewrite ?norm_sq_ge0 ?small // move_le // (ltn_trans jt).
have K_ge0 : 0 <= eta ^+ 2 * M ^+ 2 by rewrite mulr_ge0 ?sqr_ge0.
apply: ler_pmul; rewrite ?ler0n ?ler_nat ?(ltnW tN) //; first by apply: sumr_ge0 => j _; exact: sqr_ge0.
apply: (@le_trans _ _ (\sum_(j < t) eta ^+ 2 * M ^+ 2 * gap j ^+ 2)).
  by apply: ler_sum => j _; exact: one_move.
rewrite -mulr_sumr ler_wpmul2l // /E (big_ord_widen N (fun j => gap j ^+ 2) (ltnW tN)) big_mkcond.
by apply: ler_sum => j _; case: ifP => _; rewrite ?sqr_ge0.
Qed.

Lemma seen_le t : (t < N)%N ->
  dot (u - d1) (s t) ^+ 2 <= 2 * gap t ^+ 2 + 2 * (N%:R * (eta ^+ 2 * M ^+ 2 * E)).
Proof.
move=> tN; have drift := drift_le tN.
have -> : dot (u - d1) (s t) = gap t + dot (d t - d1) (s t).
  by rewrite /definitions.gap -(fit tN) !dotBl; ring.
have two_ge0 : 0 <= 2 :> R by rewrite ler0n.
apply: le_trans (ler_add (lexx (2 * gap t ^+ 2)) (ler_wpmul2l two_ge0 drift)).
rewrite -subr_ge0; move: (gap t) (dot _ _) => a b.
have -> : 2 * a ^+ 2 + 2 * b ^+ 2 - (a + b) ^+ 2 = (a - b) ^+ 2 by ring.
exact: sqr_ge0.
Qed.

Definition window_constant : R := 2 * (1 + (N%:R * eta * M) ^+ 2).

(** The gaps of the window cannot be small unless d was already close to u. *)
Lemma excitation_le : c * norm_sq (d1 - u) <= window_constant * E.
Proof.
rewrite norm_sqBC; apply: le_trans spans _.
apply: (@le_trans _ _ (\sum_(t < N) (2 * gap t ^+ 2 + 2 * (N%:R * (eta ^+ 2 * M ^+ 2 * E))))).
  by apply: ler_sum => t _; exact: seen_le.
rewrite big_split /= -mulr_sumr -/E sumr_const card_ord -mulr_natl /window_constant.
by rewrite le_eqVlt; apply/orP; left; apply/eqP; ring.
Qed.

Lemma window_contraction :
  window_constant * norm_sq (d N - u) <=
  (window_constant - eta * (2 - eta * M) * c) * norm_sq (d1 - u).
Proof.
have B_ge0 : 0 <= window_constant by rewrite mulr_ge0 ?ler0n // addr_ge0 ?ler01 ?sqr_ge0.
have step t : (t < N)%N ->
    norm_sq (d t.+1 - u) + eta * (2 - eta * M) * gap t ^+ 2 <= norm_sq (d t - u) + 0.
  by move=> tN; rewrite addr0; exact: (interpolating_step eta d1 u_box fit small tN).
have := potential_sum step; rewrite [X in _ + X <= _ + _]/= -mulr_sumr -/E big1 // addr0 -[d 0]/d1 => paid.
have rate_ge0 : 0 <= eta * (2 - eta * M) by rewrite mulr_ge0 ?subr_ge0 ?ltW.
have spent := ler_wpmul2l rate_ge0 excitation_le; have scaled := ler_wpmul2l B_ge0 paid.
rewrite -subr_ge0; move: scaled spent; rewrite -subr_ge0 => scaled; rewrite -subr_ge0 => spent.
apply: le_trans (addr_ge0 scaled spent) _; rewrite le_eqVlt; apply/orP; left; apply/eqP.
by atoms; ring.
Qed.

End Window.

Section Limit.
Variables (R : realFieldType) (n : nat) (eta M c : R) (lo hi d1 : 'rV[R]_n) (k : nat -> 'rV[R]_n) (N : nat).
Let s t := feature (k t).
Notation d := (path eta lo hi d1 s).
Hypothesis ones_box : in_box lo hi (ones R n).
Hypothesis d1_box : in_box lo hi d1.
Hypothesis unit_keys : forall t, norm_sq (k t) = 1.
Hypothesis small : forall t, norm_sq (s t) <= M.
Hypothesis eta_gt0 : 0 < eta.
Hypothesis eta_M : eta * M < 2.

Lemma path_shift (x : nat -> 'rV[R]_n) t0 t :
  path eta lo hi d1 x (t0 + t) = path eta lo hi (path eta lo hi d1 x t0) (fun i => x (t0 + i)%N) t.
Proof. by elim: t => [|t IH]; rewrite ?addn0 // addnS /= IH. Qed.

(** T15, the limit. Unit keys, gamma = 1, a box that holds 1 and d_1, 0 < eta < 2 / M. Over any window of N tokens whose
    features span, |d - 1|^2 shrinks by a factor that is below 1 and does not depend on d:
    B |d_{t+N} - 1|^2 <= (B - eta (2 - eta M) c) |d_t - 1|^2 with B = 2 (1 + (N eta M)^2). *)
Theorem T15_limit_window t : excited c N (fun i => s (t + i)%N) ->
  window_constant eta M N * norm_sq (d (t + N) - ones R n) <=
  (window_constant eta M N - eta * (2 - eta * M) * c) * norm_sq (d t - ones R n).
Proof.
move=> spans; rewrite path_shift.
have M_ge0 : 0 <= M by apply: le_trans (small 0); exact: norm_sq_ge0.
apply: window_contraction => // [|i _]; first exact: path_in_box.
by rewrite dot_ones_feature unit_keys.
Qed.

(** T15, the limit. If the features span every window of N tokens, d_t goes to 1 at a geometric rate 0 <= q < 1. *)
Theorem T15_limit : 0 < c -> (forall m, excited c N (fun i => s (m * N + i)%N)) ->
  exists q, 0 <= q < 1 /\ forall m, norm_sq (d (m * N) - ones R n) <= q ^+ m * norm_sq (d1 - ones R n).
Proof.
move=> c_gt0 spans; pose B := window_constant eta M N; pose rate := eta * (2 - eta * M) * c.
have B_gt0 : 0 < B by rewrite mulr_gt0 ?ltr0n // ltr_spaddl ?ltr01 ?sqr_ge0.
have rate_gt0 : 0 < rate by rewrite !mulr_gt0 // subr_gt0.
pose q := Num.max 0 (1 - rate / B); have q_ge0 : 0 <= q by rewrite le_maxr lexx.
exists q; split; first by rewrite q_ge0 lt_maxl ltr01 ltr_subl_addr ltr_addl divr_gt0.
have window m : norm_sq (d (m.+1 * N) - ones R n) <= q * norm_sq (d (m * N) - ones R n).
  apply: (@le_trans _ _ ((1 - rate / B) * norm_sq (d (m * N) - ones R n))); last first.
    by rewrite ler_wpmul2r ?norm_sq_ge0 // le_maxr lexx orbT.
  rewrite -(ler_pmul2l B_gt0) mulSn addnC mulrA mulrBr mulr1 (mulrCA B rate) mulfV ?gt_eqF // mulr1.
  by apply: T15_limit_window; exact: spans.
elim=> [|m IH]; first by rewrite mul0n expr0 mul1r.
by apply: le_trans (window m) _; rewrite exprS -mulrA ler_wpmul2l.
Qed.

End Limit.
