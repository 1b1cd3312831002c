(** T23: plain OSDN moves inside the span of the features it has seen, so that of all interpolating preconditioners it
    approaches the one next to where it started. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token context sums projection regret scan identity_limit.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(** A combination of the first T features. *)
Definition combination (R : realFieldType) n (s : nat -> 'rV[R]_n) (T : nat) (x : nat -> R) : 'rV[R]_n :=
  \sum_(t < T) x t *: s t.

Section Span.
Variables (R : realFieldType) (n : nat) (eta : R) (w : nat -> R) (c d1 : 'rV[R]_n) (s : nat -> 'rV[R]_n).
Notation d := (unprojected eta w (fun=> 1) c d1 s).

(** T23. gamma = 1 and nothing clips: d_T - d_1 = sum_{t < T} eta w_t (1 - a_t) s_t. *)
Theorem T23_span T : d T - d1 = combination s T (fun t => eta * w t * (1 - dot (d t) (s t))).
Proof.
rewrite /combination; elim: T => [|T IH]; first by rewrite big_ord0 subrr.
by rewrite big_ord_recr -IH /= /calibrate_free scale1r add_diff addrAC.
Qed.

End Span.

Section Projection.
Variables (R : realFieldType) (n : nat).
Implicit Types (u q : 'rV[R]_n) (s : nat -> 'rV[R]_n) (T : nat).

(** T23. An interpolating point of d_1 + span(s) is the Euclidean projection of d_1 on all of them:
    |d_1 - u|^2 = |d_1 - q|^2 + |q - u|^2. *)
Theorem T23_projection (d1 : 'rV[R]_n) u q s T (x : nat -> R) :
  q - d1 = combination s T x ->
  (forall t, (t < T)%N -> dot q (s t) = 1) -> (forall t, (t < T)%N -> dot u (s t) = 1) ->
  norm_sq (d1 - u) = norm_sq (d1 - q) + norm_sq (q - u).
Proof.
move=> inside fit_q fit_u; rewrite -(norm_sqBC q d1).
have -> : d1 - u = - (q - d1) + (q - u) by rewrite opprB addrA subrK.
rewrite (norm_sqD (- _)) norm_sqN dotNl (_ : dot (q - d1) (q - u) = 0) ?oppr0 ?mulr0 ?addr0 //.
rewrite inside /combination dot_suml big1 // => t _.
by rewrite dotZl dotC dotBl fit_q // fit_u // subrr mulr0.
Qed.

(** T23. There is such a point wherever anything interpolates. *)
Theorem T23_projection_exists (d1 : 'rV[R]_n) u s T : (forall t, (t < T)%N -> dot u (s t) = 1) ->
  exists x, forall t, (t < T)%N -> dot (d1 + combination s T x) (s t) = 1.
Proof.
move=> fit; pose column (f : 'I_n) : 'rV[R]_T := \row_t s t 0 f.
have [x solves] := T1_context_minimiser_exists column (fun f => const_mx ((u - d1) 0 f) : 'rV[R]_1).
exists (fun t => oapp (fun t' => x 0 t') 0 (insub t)) => t tT; set i := Ordinal tT.
rewrite -(fit t tT) dotDl; apply/eqP; rewrite eq_sym addrC -subr_eq -dotBl; apply/eqP.
have /rowP/(_ i) := solves; rewrite !mxE.
rewrite /gram /cross summxE => crossed.
have -> : dot (u - d1) (s t) = \sum_j x 0 j * (\sum_t (column t)^T *m column t) j i.
  by rewrite crossed; apply: eq_bigr => f _; rewrite !mxE big_ord1 !mxE.
rewrite /combination dot_suml; apply: eq_bigr => j _; rewrite dotZl valK /=; congr (_ * _).
by rewrite summxE /dot; apply: eq_bigr => f _; rewrite !mxE big_ord1 !mxE mulrC.
Qed.

End Projection.

Section Limit.
Variables (R : realFieldType) (n : nat) (eta M c : R) (d1 q : 'rV[R]_n) (s : nat -> 'rV[R]_n) (N : nat).
Notation d := (unprojected eta (fun=> 1) (fun=> 1) 0 d1 s).
Hypothesis fit : forall t, dot q (s t) = 1.
Hypothesis small : forall t, norm_sq (s t) <= M.
Hypothesis eta_gt0 : 0 < eta.
Hypothesis eta_M : eta * M < 2.

Lemma unprojected_from t0 t :
  d (t0 + t) = unprojected eta (fun=> 1) (fun=> 1) 0 (d t0) (shift s t0) t.
Proof. by elim: t => [|t IH]; rewrite ?addn0 // addnS /= IH. Qed.

(** Some box holds finitely many points. *)
Lemma box_around (y : nat -> 'rV[R]_n) T : exists lo hi, forall t, (t <= T)%N -> in_box lo hi (y t).
Proof.
elim: T => [|T [lo [hi box]]].
  by exists (y 0%N), (y 0%N) => t; rewrite leqn0 => /eqP-> i; rewrite lexx.
exists (\row_i Num.min (lo 0 i) (y T.+1 0 i)), (\row_i Num.max (hi 0 i) (y T.+1 0 i)) => t.
rewrite leq_eqVlt ltnS => /orP[/eqP->|/box in_t] i; rewrite !mxE le_minl le_maxr; first by rewrite lexx !orbT.
by case/andP: (in_t i) => -> ->.
Qed.

(** T23, the limit. Over a window of N tokens that excites d_t - q, |d - q|^2 shrinks by a factor that does not depend on
    d: B |d_{t+N} - q|^2 <= (B - eta (2 - eta M) c) |d_t - q|^2 with B = 2 (1 + (N eta M)^2). *)
Theorem T23_limit_window t : c * norm_sq (q - d t) <= \sum_(i < N) dot (q - d t) (s (t + i)) ^+ 2 ->
  window_constant eta M N * norm_sq (d (t + N) - q) <=
  (window_constant eta M N - eta * (2 - eta * M) * c) * norm_sq (d t - q).
Proof.
move=> spans; have M_ge0 : 0 <= M by apply: le_trans (small 0); exact: norm_sq_ge0.
have [lo [hi box]] := box_around (fun j => if j is j'.+1 then d (t + j') else q) N.+1.
have inside j : (j < N)%N -> in_box lo hi (unprojected eta (fun=> 1) (fun=> 1) 0 (d t) (shift s t) j.+1).
  by move=> jN; rewrite -unprojected_from; exact: (box j.+2).
have start_box : in_box lo hi (d t) by have := box 1%N isT; rewrite addn0.
have [q_box _] := (box 0%N isT, start_box).
rewrite unprojected_from -(T11_clip_certificate inside (leqnn N)).
by apply: window_contraction => // i _; rewrite /shift.
Qed.

(** T23, the pull. With N the strict lower triangle of eta <s_i, s_j>, sigma >= |1 + N|^2 and kappa such that the window sees
    kappa |d_1 - q|^2 of d_1 - q: |d_N - q|^2 <= (1 - eta (2 - eta M) kappa / sigma) |d_1 - q|^2. *)
Theorem T23_pull (kappa sigma : R) : 0 < sigma ->
  (forall z : nat -> R, \sum_(i < N) (z i + eta * \sum_(j < i) dot (s j) (s i) * z j) ^+ 2 <=
    sigma * \sum_(i < N) z i ^+ 2) ->
  kappa * norm_sq (d1 - q) <= \sum_(i < N) dot (d1 - q) (s i) ^+ 2 ->
  norm_sq (d N - q) <= (1 - eta * (2 - eta * M) * kappa / sigma) * norm_sq (d1 - q).
Proof.
move=> sigma_gt0 spread excited; pose z t := dot (d t - q) (s t).
have step t : d t.+1 - q = (d t - q) - (eta * z t) *: s t.
  by rewrite /= calibrate_plain /z dotBl fit addrAC -scaleNr; congr (_ + _ *: _); ring.
have reach t : d t - q = (d1 - q) - eta *: \sum_(j < t) z j *: s j.
  elim: t => [|t IH]; first by rewrite big_ord0 scaler0 subr0.
  by rewrite step IH big_ord_recr /= scalerDr opprD addrA scalerA.
have seen i : dot (d1 - q) (s i) = z i + eta * \sum_(j < i) dot (s j) (s i) * z j.
  rewrite {1}/z reach [X in _ = X + _]dotBl dotZl dot_suml.
  have -> : \sum_(j < i) dot (z j *: s j) (s i) = \sum_(j < i) dot (s j) (s i) * z j.
    by apply: eq_bigr => j _; rewrite dotZl mulrC.
  by rewrite subrK.
have lost T : norm_sq (d T - q) + eta * (2 - eta * M) * (\sum_(t < T) z t ^+ 2) <= norm_sq (d1 - q).
  elim: T => [|T IH]; first by rewrite big_ord0 mulr0 addr0.
  apply: le_trans IH; rewrite big_ord_recr /= [X in _ + X]mulrDr addrCA [X in _ <= X]addrC ler_add2l.
  rewrite step norm_sqB norm_sqZ dotZr -/(z T) -subr_ge0.
  have := small T; rewrite -subr_ge0; move: (norm_sq (d T - q)) (norm_sq (s T)) (z T) => e x g room.
  have -> : e - (e - 2 * (eta * g * g) + (eta * g) ^+ 2 * x + eta * (2 - eta * M) * g ^+ 2) =
    (eta * g) ^+ 2 * (M - x) by ring.
  by rewrite mulr_ge0 ?sqr_ge0.
have enough : kappa / sigma * norm_sq (d1 - q) <= \sum_(t < N) z t ^+ 2.
  rewrite mulrAC ler_pdivr_mulr // [X in _ <= X]mulrC; apply: le_trans excited _; apply: le_trans (spread z).
  by under eq_bigr do rewrite seen.
have rate_ge0 : 0 <= eta * (2 - eta * M) by rewrite mulr_ge0 ?subr_ge0 ?ltW.
rewrite mulrBl mul1r ler_subr_addr; apply: le_trans (lost N); rewrite ler_add2l.
have := ler_wpmul2l rate_ge0 enough; by rewrite !mulrA.
Qed.

(** T23, the limit. If the features keep exciting their span, d_t goes to q, the projection of d_1, at a geometric rate
    0 <= r < 1. *)
Theorem T23_limit T (x : nat -> R) : q - d1 = combination s T x -> 0 < c ->
  (forall m T' y, c * norm_sq (combination s T' y) <= \sum_(i < N) dot (combination s T' y) (s (m * N + i)%N) ^+ 2) ->
  exists r, 0 <= r < 1 /\ forall m, norm_sq (d (m * N) - q) <= r ^+ m * norm_sq (d1 - q).
Proof.
move=> inside c_gt0 excites; pose B := window_constant eta M N; pose rate := eta * (2 - eta * M) * c.
have B_gt0 : 0 < B by rewrite mulr_gt0 ?ltr0n // ltr_spaddl ?ltr01 ?sqr_ge0.
have rate_gt0 : 0 < rate by rewrite !mulr_gt0 // subr_gt0.
pose r := Num.max 0 (1 - rate / B); have r_ge0 : 0 <= r by rewrite le_maxr lexx.
exists r; split; first by rewrite r_ge0 lt_maxl ltr01 ltr_subl_addr ltr_addl divr_gt0.
have widen T1 T2 y : (T1 <= T2)%N -> combination s T1 y = combination s T2 (fun t => if (t < T1)%N then y t else 0).
  move=> le; rewrite /combination (big_ord_widen T2 (fun t => y t *: s t) le) big_mkcond.
  by apply: eq_bigr => t _; case: ifP => // _; rewrite scale0r.
have spanned m : exists T' y, q - d (m * N) = combination s T' y.
  pose z t := eta * 1 * (1 - dot (d t) (s t)).
  exists (maxn T (m * N)), (fun t => (if (t < T)%N then x t else 0) - (if (t < m * N)%N then z t else 0)).
  have -> : q - d (m * N) = (q - d1) - (d (m * N) - d1) by rewrite opprB addrA subrK.
  rewrite inside T23_span (widen _ _ _ (leq_maxl T (m * N))) (widen _ _ _ (leq_maxr T (m * N))).
  by rewrite /combination -sumrB; apply: eq_bigr => t _; rewrite scalerBl.
have window m : norm_sq (d (m.+1 * N) - q) <= r * norm_sq (d (m * N) - q).
  apply: (@le_trans _ _ ((1 - rate / B) * norm_sq (d (m * N) - q))); last first.
    by rewrite ler_wpmul2r ?norm_sq_ge0 // le_maxr lexx orbT.
  rewrite -(ler_pmul2l B_gt0) mulSn addnC mulrA mulrBr mulr1 (mulrCA B rate) mulfV ?gt_eqF // mulr1.
  by apply: T23_limit_window; have [T' [y ->]] := spanned m; exact: excites.
elim=> [|m IH]; first by rewrite mul0n expr0 mul1r.
by apply: le_trans (window m) _; rewrite exprS -mulrA ler_wpmul2l.
Qed.

End Limit.
