(** T22: what OSDN and DeltaNet recall at the end of a context whose keys do not overlap, exactly. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token context projection chunk scan gated gated_chunk algorithm.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Pairs.
Variables (R : realFieldType) (p n N : nat).
Variables (eta : R) (w : 'I_N -> R) (d1 : 'rV[R]_n) (key : 'I_N -> 'rV[R]_n) (value : 'I_N -> 'rV[R]_p).
Variables (order : nat -> 'I_N) (S0 : 'M[R]_(p, n)).
Notation feature_of i := (feature (key i)).
Notation d := (unprojected eta (fun t => w (order t)) (fun=> 1) 0 d1 (fun t => feature_of (order t))).

(** m_i: how many of the first T tokens read pair i. *)
Definition times_read (i : 'I_N) (T : nat) : nat := (\sum_(t < T) (order t == i))%N.

Lemma times_readS i T : times_read i T.+1 = (times_read i T + (order T == i))%N.
Proof. by rewrite /times_read big_ord_recr. Qed.

Hypothesis disjoint : forall i j, i != j -> had (key i) (key j) = 0.

Lemma disjoint_features i j : i != j -> dot (feature_of i) (feature_of j) = 0.
Proof.
move=> other; rewrite /dot big1 // => f _; have /rowP/(_ f) := disjoint other.
by rewrite !mxE => zero; rewrite mulrACA zero mulr0.
Qed.

(** The preconditioner sees a pair only when it is read. *)
Lemma recall_gap i T :
  1 - dot (d T) (feature_of i) =
  (1 - dot d1 (feature_of i)) * (1 - eta * w i * norm_sq (feature_of i)) ^+ times_read i T.
Proof.
elim: T => [|T IH]; first by rewrite /times_read big_ord0 expr0 mulr1.
rewrite times_readS /= /calibrate_free add0r subr0 scale1r dotDl dotZl.
have [->|other] := eqVneq (order T) i; last by rewrite disjoint_features // mulr0 addr0 addn0 IH.
rewrite addn1 exprS mulrCA -IH -/(norm_sq _); atoms; ring.
Qed.

(** A write with preconditioner d of pair j does to the residual of pair i: *)
Lemma recall_step S (e : 'rV[R]_n) i j :
  residual (write S (key j) (value j) e 1) (key i) (value i) =
  if j == i then (1 - dot e (feature_of i)) *: residual S (key i) (value i) else residual S (key i) (value i).
Proof.
have [->|other] := eqVneq j i; first by rewrite T3_residual_identity mul1r.
rewrite /write scale1r residualD read_rank1 dotC dot_had (disjoint other).
by rewrite dot0r scale0r subr0.
Qed.

(** m (m - 1) / 2 more factors for every reading. *)
Lemma recall_residual T i :
  residual (memory (fun t => key (order t)) d (fun t => value (order t)) (fun=> 1) S0 T) (key i) (value i) =
  ((1 - dot d1 (feature_of i)) ^+ times_read i T *
   (1 - eta * w i * norm_sq (feature_of i)) ^+ 'C(times_read i T, 2)) *: residual S0 (key i) (value i).
Proof.
elim: T => [|T IH]; first by rewrite /times_read big_ord0 expr0 mulr1 scale1r.
rewrite memoryS recall_step times_readS; case: (order T == i); last by rewrite addn0.
rewrite IH scalerA addn1 recall_gap binS bin1 exprD exprS; congr (_ *: _); atoms; ring.
Qed.

End Pairs.

Section Recall.
Variables (R : realFieldType) (p n N : nat).
Variables (eta : R) (w : 'I_N -> R) (lo hi d1 : 'rV[R]_n) (key : 'I_N -> 'rV[R]_n) (value : 'I_N -> 'rV[R]_p).
Variables (order : nat -> 'I_N) (S0 : 'M[R]_(p, n)) (T : nat).
Notation w_t := (fun t => w (order t)).
Notation s := (fun t => feature (key (order t))).

(** The memory of OSDN (beta = gamma = 1; feedback weights w_i, 1 or normalised) and of DeltaNet after the T tokens. *)
Definition recalled : 'M[R]_(p, n) :=
  (osdn eta w_t (fun=> 1) (fun=> 1) 0 lo hi d1 (fun=> ones R n) (fun t => key (order t)) s
    (fun t => value (order t)) S0 T).1.
Definition recalled_deltanet : 'M[R]_(p, n) :=
  memory (fun t => key (order t)) (fun=> ones R n) (fun t => value (order t)) (fun=> 1) S0 T.

Hypothesis disjoint : forall i j, i != j -> had (key i) (key j) = 0.
Notation m i := (times_read order i T).

Lemma unclipped_memory : (forall t, (t < T)%N -> in_box lo hi (unprojected eta w_t (fun=> 1) 0 d1 s t.+1)) ->
  recalled = memory (fun t => key (order t)) (unprojected eta w_t (fun=> 1) 0 d1 s)
    (fun t => value (order t)) (fun=> 1) S0 T.
Proof.
move=> free; rewrite /recalled T12_osdn T12_ungated /=.
have same : forall t, (t <= T)%N -> scan eta w_t (fun=> 1) 0 lo hi d1 s t = unprojected eta w_t (fun=> 1) 0 d1 s t.
  exact: T11_clip_certificate.
by elim: {-2}T (leqnn T) => // t IH tT; rewrite !memoryS IH ?same // ltnW.
Qed.

Lemma pairs_of (j : nat) : (j * j.-1 = 2 * 'C(j, 2))%N.
Proof. by rewrite -mul_bin_diag bin1. Qed.

(** T22. Pairs with disjoint supports, pair i read m_i times, in any order; nothing clips. The final residual of pair i is
    (1 - <d_1, s_i>)^(m_i) (1 - eta w_i |s_i|^2)^(m_i (m_i - 1) / 2) times its first one, which is v_i for S_0 = 0. *)
Theorem T22_residual i :
  (forall t, (t < T)%N -> in_box lo hi (unprojected eta w_t (fun=> 1) 0 d1 s t.+1)) ->
  residual recalled (key i) (value i) =
  ((1 - dot d1 (feature (key i))) ^+ m i * (1 - eta * w i * norm_sq (feature (key i))) ^+ 'C(m i, 2)) *:
    residual S0 (key i) (value i).
Proof. by move=> free; rewrite unclipped_memory // recall_residual. Qed.

(** T22. The context loss that is left, over the pairs:
    sum_i |v_i - S_0 k_i|^2 (1 - <d_1, s_i>)^(2 m_i) (1 - eta w_i |s_i|^2)^(m_i (m_i - 1)) / 2. *)
Theorem T22_context_loss :
  (forall t, (t < T)%N -> in_box lo hi (unprojected eta w_t (fun=> 1) 0 d1 s t.+1)) ->
  context_loss key value recalled =
  \sum_i norm_sq (residual S0 (key i) (value i)) * (1 - dot d1 (feature (key i))) ^+ (2 * m i) *
    (1 - eta * w i * norm_sq (feature (key i))) ^+ (m i * (m i).-1) / 2.
Proof.
move=> free; apply: eq_bigr => i _; rewrite /token_loss T22_residual // norm_sqZ exprMn -!exprM.
by rewrite pairs_of !(mulnC 2%N); congr (_ / _); rewrite mulrC mulrA.
Qed.

(** T22. DeltaNet's: sum_i |v_i - S_0 k_i|^2 (1 - |k_i|^2)^(2 m_i) / 2. *)
Theorem T22_deltanet :
  context_loss key value recalled_deltanet =
  \sum_i norm_sq (residual S0 (key i) (value i)) * (1 - norm_sq (key i)) ^+ (2 * m i) / 2.
Proof.
have d_fixed t : unprojected 0 (fun=> 1) (fun=> 1) 0 (ones R n) s t = ones R n.
  by elim: t => //= t ->; rewrite /calibrate_free !mul0r scale0r addr0 add0r subr0 scale1r.
have same t : memory (fun t => key (order t)) (unprojected 0 (fun=> 1) (fun=> 1) 0 (ones R n) s)
    (fun t => value (order t)) (fun=> 1) S0 t =
    memory (fun t => key (order t)) (fun=> ones R n) (fun t => value (order t)) (fun=> 1) S0 t.
  by elim: t => [//|t IH]; rewrite !memoryS IH d_fixed.
apply: eq_bigr => i _; have := recall_residual 0 (fun=> 1) (ones R n) value order S0 disjoint T i.
rewrite /= !mul0r subr0 expr1n mulr1 dot_ones_feature => final; rewrite /token_loss.
suff -> : residual recalled_deltanet (key i) (value i) = (1 - norm_sq (key i)) ^+ m i *: residual S0 (key i) (value i).
  by rewrite norm_sqZ -exprM (mulnC 2%N); congr (_ / _); exact: mulrC.
by rewrite -final same.
Qed.

(** T22. From d_1 = 1 with 0 < eta w_i |s_i|^2 < 2, OSDN recalls strictly better than DeltaNet if and only if some pair
    with |k_i|^2 <> 1 and v_i <> S_0 k_i is read at least twice. *)
Theorem T22_beats_deltanet_iff : d1 = ones R n ->
  (forall t, (t < T)%N -> in_box lo hi (unprojected eta w_t (fun=> 1) 0 d1 s t.+1)) ->
  (forall i, 0 < eta * w i * norm_sq (feature (key i)) < 2) ->
  (exists i, [/\ (1 < m i)%N, norm_sq (key i) != 1 & residual S0 (key i) (value i) != 0]) <->
  (context_loss key value recalled < context_loss key value recalled_deltanet).
Proof.
move=> d1E free steps; apply: iff_sym; rewrite T22_context_loss // T22_deltanet d1E.
set r := fun i => residual S0 (key i) (value i).
set a := fun i => norm_sq (r i) * (1 - norm_sq (key i)) ^+ (2 * m i) / 2.
set q := fun i => (1 - eta * w i * norm_sq (feature (key i))) ^+ (m i * (m i).-1).
have a_ge0 i : 0 <= a i by rewrite divr_ge0 ?ler0n ?mulr_ge0 ?norm_sq_ge0 // exprM exprn_ge0 ?sqr_ge0.
have -> : \sum_i norm_sq (residual S0 (key i) (value i)) * (1 - dot (ones R n) (feature (key i))) ^+ (2 * m i) *
    (1 - eta * w i * norm_sq (feature (key i))) ^+ (m i * (m i).-1) / 2 = \sum_i a i * q i.
  by apply: eq_bigr => i _; rewrite dot_ones_feature /a mulrAC.
have even_form i : q i = ((1 - eta * w i * norm_sq (feature (key i))) ^+ 2) ^+ 'C(m i, 2).
  by rewrite /q -exprM pairs_of.
have small i : 0 <= (1 - eta * w i * norm_sq (feature (key i))) ^+ 2 < 1.
  have /andP[] := steps i; rewrite sqr_ge0 /=; move: (eta * w i * _) => z z_gt0 z_lt2; rewrite -subr_gt0.
  have -> : 1 - (1 - z) ^+ 2 = z * (2 - z) by ring.
  by rewrite mulr_gt0 // subr_gt0.
have term_lt i : (0 < a i - a i * q i) = [&& (1 < m i)%N, norm_sq (key i) != 1 & residual S0 (key i) (value i) != 0].
  rewrite subr_gt0 even_form; have [v0|v_nz] := eqVneq (r i) 0.
    by rewrite /a v0 norm_sq0 !mul0r ltxx /= !andbF.
  have [few|many] := ltnP 1 (m i); last first.
    by rewrite bin_small // expr0 mulr1 ltxx.
  have [unit|other] := eqVneq (norm_sq (key i)) 1.
    by rewrite /a unit subrr expr0n muln_eq0 /= (gtn_eqF (ltnW few)) mulr0 !mul0r ltxx.
  have a_gt0 : 0 < a i by rewrite lt_def a_ge0 !mulf_neq0 ?invr_eq0 ?pnatr_eq0 ?norm_sq_eq0 ?expf_neq0 // subr_eq0 eq_sym.
  have /andP[q_ge0 q_lt1] := small i.
  by rewrite gtr_pmulr // expr_lt1 ?bin_gt0.
have term_ge0 i : 0 <= a i - a i * q i.
  rewrite subr_ge0 ler_pimulr // even_form; have /andP[q_ge0 q_lt1] := small i; exact: exprn_ile1 (ltW q_lt1).
have pos i : (a i - a i * q i != 0) = [&& (1 < m i)%N, norm_sq (key i) != 1 & residual S0 (key i) (value i) != 0].
  by rewrite -term_lt lt_def term_ge0 andbT.
rewrite -[X in _ < X]/(\sum_i a i) -subr_gt0 -sumrB lt_def sumr_ge0 // andbT psumr_eq0 // -has_predC; split.
  by case/hasP=> i _ /=; rewrite pos => /and3P[]; exists i.
by case=> i [many other v_nz]; apply/hasP; exists i; rewrite ?mem_index_enum //= pos many other.
Qed.

End Recall.
