(** T29: the adjoint of the scan, with the clip pattern fixed, is swept as the scan is, backwards in time and with the
    transpose of N. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors projection scan causal driven sweeps.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Adjoint.
Variables (R : realFieldType) (n T : nat).
Variables (eta : R) (w gamma : nat -> R) (x : nat -> 'rV[R]_n).

(** 1 where token t's step does not clip, 0 where it does; and what a loss gains by d_t. *)
Variables (kept weight : nat -> 'rV[R]_n).
Implicit Types (q : nat -> R) (d e p : 'rV[R]_n) (t m s r : nat).

(** How a change d of d_1 moves the iterates. *)
Fixpoint tangent d t : 'rV[R]_n :=
  if t is t'.+1 then
    had (kept t') (gamma t' *: tangent d t' - (eta * w t' * dot (tangent d t') (x t')) *: x t')
  else d.

(** T29. Two runs with one clip pattern differ by exactly that: where entries are kept, neither run clips them; the
    others end on the same face in both. *)
Theorem T29_tangent c lo hi d e :
  (forall t i, (t < T)%N ->
    let free d := calibrate_free eta (w t) (gamma t) c (scan eta w gamma c lo hi d x t) (x t) 0 i in
    let clipped d := clip1 (lo 0 i) (hi 0 i) (free d) in
    kept t 0 i = 1 /\ clipped d = free d /\ clipped e = free e \/ kept t 0 i = 0 /\ clipped d = clipped e) ->
  forall t, (t <= T)%N ->
    scan eta w gamma c lo hi d x t - scan eta w gamma c lo hi e x t = tangent (d - e) t.
Proof.
move=> pattern; elim=> [|t IH] tT //; apply/rowP => i.
have stepE d' : scan eta w gamma c lo hi d' x t.+1 0 i = clip1 (lo 0 i) (hi 0 i)
    (calibrate_free eta (w t) (gamma t) c (scan eta w gamma c lo hi d' x t) (x t) 0 i) by rewrite /= mxE.
rewrite [LHS]mxE [X in _ + X]mxE !stepE /= -IH ?(ltnW tT) //; case: (pattern t i tT) => /= -[kE]; last first.
  by move=> ->; rewrite subrr !mxE kE mul0r.
by case=> -> ->; rewrite /calibrate_free dotBl !mxE kE; entries; ring.
Qed.

(** lambda_T = weight_T, lambda_t = weight_t + gamma_t m_t lambda_{t+1} - eta w_t <x_t, m_t lambda_{t+1}> x_t. Number s
    of this run is lambda_{T-s}, and its gains are the adjoints of the scan's. *)
Definition token s : nat := T.-1 - s.
Definition adjoint_step s p (g : R) : 'rV[R]_n :=
  weight (token s) + gamma (token s) *: had (kept (token s)) p - (eta * w (token s) * g) *: x (token s).
Definition adjoint_gain s p : R := dot (x (token s)) (had (kept (token s)) p).
Definition adjoint : nat -> 'rV[R]_n := solved (weight T) adjoint_step adjoint_gain.

Lemma adjoint_pairing d s : (s <= T)%N ->
  dot (adjoint s) (tangent d (T - s)) = \sum_(i < s.+1) dot (weight (T - i)) (tangent d (T - i)).
Proof.
elim: s => [|s IH] sT; first by rewrite big_ord1 /= !subn0.
rewrite big_ord_recr /= -IH ?(ltnW sT) //.
have tokenE : token s = (T - s.+1)%N by rewrite /token -subn1 -subnDA add1n.
have later : (T - s = (T - s.+1).+1)%N by rewrite subnSK.
rewrite -/(adjoint s) /adjoint_step /adjoint_gain tokenE later [tangent d _.+1]/=.
move: (T - s.+1)%N (adjoint s) => t p; rewrite -(dot_had p) (hadC p) dotBl dotDl dotBr !dotZl !dotZr.
by rewrite !(dotC (x t)) (dotC (had _ _) (tangent d t)); atoms; ring.
Qed.

(** T29. It is the adjoint: what the iterates gain a loss, the adjoint of d_1 tells. *)
Theorem T29_adjoint d :
  \sum_(t < T.+1) dot (weight t) (tangent d t) = dot (adjoint T) d.
Proof.
have := @adjoint_pairing d T (leqnn T); rewrite subnn => ->.
by rewrite (reindex_inj rev_ord_inj); apply: eq_bigr => i _; rewrite /= subSS.
Qed.

(** Psi(q): the adjoints of the gains along the adjoint run that q drives, all tokens at once. *)
Definition psi q : nat -> R := sweep (weight T) adjoint_step adjoint_gain q.

(** The transpose of N. *)
Definition adjoint_coupling s r : R := gain_coupling eta w gamma x (token r) (token s).

(** T29 (i), adjoint. m sweeps make the last m adjoints exact. *)
Theorem T29_last_adjoints q m s : (s < m)%N -> iter m psi q s = adjoint_gain s (adjoint s).
Proof. exact: sweeps_exact. Qed.

Hypothesis gate_ge0 : forall t, 0 <= gamma t.
Hypothesis rate_ge0 : forall t, 0 <= eta * w t.
Hypothesis pattern : forall t i, 0 <= kept t 0 i <= 1.

Definition adjoint_written s : 'rV[R]_n := (eta * w (token s)) *: magnitude (x (token s)).
Definition adjoint_read s : 'rV[R]_n := magnitude (x (token s)).

Lemma reversed_product (F : nat -> R) M s r : (r < s)%N -> (s <= M)%N ->
  \prod_(r.+1 <= i < s) F (M - i)%N = \prod_((M - s).+1 <= i < M - r) F i.
Proof.
elim: s => // s IH; rewrite ltnS leq_eqVlt => /orP[/eqP->|rs] sM; first by rewrite !big_geq // subnSK.
rewrite big_nat_recr //= IH ?(ltnW sM) // subnSK // [in RHS]big_ltn 1?mulrC //.
by rewrite ltn_sub2l // (leq_trans rs) // ltnW.
Qed.

Lemma adjoint_couplingE s r : (r < s)%N -> (s < T)%N ->
  coupling (gamma \o token) adjoint_written adjoint_read s r = adjoint_coupling s r.
Proof.
move=> rs sT; rewrite /coupling /adjoint_coupling /gain_coupling /adjoint_read /adjoint_written dotZr dotC.
rewrite (eq_bigr (fun i => gamma (T.-1 - i)%N)) // reversed_product //; last by rewrite -ltnS (ltn_predK sT).
by rewrite mulrCA mulrA.
Qed.

Lemma adjoint_step_close s d e (g h : R) i :
  `|adjoint_step s d g 0 i - adjoint_step s e h 0 i| <=
  (gamma \o token) s * `|d 0 i - e 0 i| + `|g - h| * adjoint_written s 0 i.
Proof.
have := pattern (token s) i; have := rate_ge0 (token s); have := gate_ge0 (token s); rewrite !mxE /=.
move: (gamma _) (eta * _) (kept _ _ _) (weight _ _ _) (x _ _ _) => a b k y l a_ge0 b_ge0 /andP[k_ge0 k_le1].
have -> : y + a * (k * d 0 i) - b * g * l - (y + a * (k * e 0 i) - b * h * l) =
    a * (k * (d 0 i - e 0 i)) - (g - h) * (b * l) by entries; ring.
apply: (le_trans (ler_norm_sub _ _)); rewrite !normrM (ger0_norm a_ge0) (ger0_norm b_ge0) (ger0_norm k_ge0).
by rewrite ler_add2r ler_wpmul2l // ler_pimull.
Qed.

Lemma adjoint_gain_close s d e :
  `|adjoint_gain s d - adjoint_gain s e| <= dot (adjoint_read s) (magnitude (d - e)).
Proof.
rewrite /adjoint_gain -dotBr; apply: (le_trans (ler_norm_sum _ _ _)); apply: ler_sum => i _.
have /andP[k_ge0 k_le1] := pattern (token s) i.
by rewrite !mxE -mulrBr !normrM (ger0_norm k_ge0) ler_wpmul2l // ler_pimull.
Qed.

Lemma adjoint_read_ge0 s i : 0 <= adjoint_read s 0 i.
Proof. by rewrite mxE. Qed.

Lemma adjoint_written_ge0 s i : 0 <= adjoint_written s 0 i.
Proof. by rewrite !mxE mulr_ge0. Qed.

Lemma adjoint_causal q s : (s < T)%N ->
  causal (coupling (gamma \o token) adjoint_written adjoint_read) q s = causal adjoint_coupling q s.
Proof. by move=> sT; apply: eq_bigr => r _; rewrite adjoint_couplingE. Qed.

(** T29, adjoint. |Psi(q) - Psi(q')| <= N^T |q - q'|, for any clip pattern. *)
Theorem T29_adjoint_comparison q q' s : (s < T)%N ->
  `|psi q s - psi q' s| <= \sum_(r < s) adjoint_coupling s r * `|q r - q' r|.
Proof.
move=> sT; rewrite -[X in _ <= X]/(causal adjoint_coupling (fun r => `|q r - q' r|) s) -adjoint_causal //.
exact: (sweep_close _ (fun s => gate_ge0 _) adjoint_read_ge0 adjoint_step_close adjoint_gain_close).
Qed.

Lemma adjoint_coupling_ge0 s r : 0 <= adjoint_coupling s r.
Proof.
apply: mulr_ge0; first by apply: mulr_ge0 (rate_ge0 _) _; rewrite prodr_ge0.
by apply: sumr_ge0 => i _; rewrite mulr_ge0 ?magnitude_ge0.
Qed.

(** T29 (ii), adjoint. *)
Theorem T29_adjoint_sweeps q m s : (s < T)%N ->
  `|iter m psi q s - adjoint_gain s (adjoint s)| <=
  iter m (causal adjoint_coupling) (fun r => `|q r - adjoint_gain r (adjoint r)|) s.
Proof.
elim: m s => // m IH s sT; rewrite [iter m.+1 (causal _) _]iterS.
rewrite -[X in _ - X](sweep_solved (weight T) adjoint_step adjoint_gain).
apply: (le_trans (T29_adjoint_comparison _ _ sT)); apply: ler_sum => r _.
by rewrite ler_wpmul2l ?adjoint_coupling_ge0 // IH // (ltn_trans (ltn_ord r)).
Qed.

(** T29 (iii), adjoint. *)
Theorem T29_adjoint_certificate q (z r : nat -> R) : (forall s, (s < T)%N -> `|q s - psi q s| <= r s) ->
  (forall s, (s < T)%N -> \sum_(j < s) adjoint_coupling s j * z j + r s <= z s) ->
  forall s, (s < T)%N -> `|q s - adjoint_gain s (adjoint s)| <= z s.
Proof.
move=> defect; apply: (@causal_least _ adjoint_coupling) => [*|s sT]; first exact: adjoint_coupling_ge0.
rewrite -adjoint_causal //.
exact: (@defect_close _ _ (weight T) adjoint_step adjoint_gain (gamma \o token) adjoint_written adjoint_read
  (fun s => gate_ge0 _) adjoint_read_ge0 adjoint_step_close adjoint_gain_close q r T defect s sT).
Qed.

End Adjoint.
