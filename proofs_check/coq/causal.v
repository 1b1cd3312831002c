(** Operators on sequences that look at earlier tokens only, with entries N_tj >= 0 for j < t: what they bound, how fast
    their powers vanish, and their matrices. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors chunk.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Causal.
Variables (R : realFieldType) (N : nat -> nat -> R).
Implicit Types (e f z r : nat -> R) (t j m T : nat).

(** (N e)_t = sum_{j < t} N_tj e_j *)
Definition causal e t : R := \sum_(j < t) N t j * e j.

Hypothesis N_ge0 : forall t j, (j < t)%N -> 0 <= N t j.

Lemma causal_le e f t : (forall j, (j < t)%N -> e j <= f j) -> causal e t <= causal f t.
Proof. by move=> ef; apply: ler_sum => j _; rewrite ler_wpmul2l ?ef ?N_ge0. Qed.

Lemma causal_ge0 e t : (forall j, (j < t)%N -> 0 <= e j) -> 0 <= causal e t.
Proof. by move=> pos; apply: sumr_ge0 => j _; rewrite mulr_ge0 ?pos ?N_ge0. Qed.

(** What is at most N e + r is at most every z that is at least N z + r. *)
Lemma causal_least e z r T :
  (forall t, (t < T)%N -> e t <= causal e t + r t) -> (forall t, (t < T)%N -> causal z t + r t <= z t) ->
  forall t, (t < T)%N -> e t <= z t.
Proof.
move=> below above; elim/ltn_ind => t IH tT.
apply: (le_trans (below t tT)); apply: le_trans (above t tT); rewrite ler_add2r.
by apply: causal_le => j jt; apply: IH => //; exact: ltn_trans tT.
Qed.

Lemma iter_causal_le e f T m : (forall j, (j < T)%N -> e j <= f j) ->
  forall t, (t < T)%N -> iter m causal e t <= iter m causal f t.
Proof.
move=> ef; elim: m => [|m IH] t tT /=; first exact: ef.
by apply: causal_le => j jt; apply: IH; exact: ltn_trans tT.
Qed.

(** Powers of an operator with entries at most L vanish faster than any geometric sequence ... *)
Lemma iter_causal_binomial (L E : R) e T m :
  (forall t j, (j < t)%N -> (t < T)%N -> N t j <= L) -> 0 <= L ->
  (forall t, (t < T)%N -> e t <= E) -> 0 <= E ->
  forall t, (t < T)%N -> iter m causal e t <= L ^+ m * 'C(t, m)%:R * E.
Proof.
move=> NL L_ge0 eE E_ge0; elim: m => [|m IH] t tT; first by rewrite expr0 bin0 !mul1r; exact: eE.
rewrite iterS /causal.
have -> : L ^+ m.+1 * 'C(t, m.+1)%:R * E = \sum_(j < t) L * (L ^+ m * 'C(j, m)%:R * E).
  rewrite -mulr_sumr -mulr_suml -mulr_sumr exprS -!mulrA; congr (_ * (_ * (_ * _))).
  by elim: t {tT} => [|t same]; rewrite ?big_ord0 ?bin0n // big_ord_recr /= -same binS natrD.
apply: ler_sum => j _; have jT : (j < T)%N by exact: ltn_trans tT.
apply: (le_trans (ler_wpmul2l _ (IH j jT))); rewrite ?N_ge0 //.
by rewrite ler_wpmul2r ?NL // !mulr_ge0 ?exprn_ge0 ?ler0n.
Qed.

(** ... and where its rows sum to at most rho, they fall at that rate. *)
Lemma iter_causal_geometric (rho E : R) e T m :
  (forall t, (t < T)%N -> \sum_(j < t) N t j <= rho) -> (forall t, (t < T)%N -> e t <= E) -> 0 <= E -> 0 <= rho ->
  forall t, (t < T)%N -> iter m causal e t <= rho ^+ m * E.
Proof.
move=> rows eE E_ge0 rho_ge0; elim: m => [|m IH] t tT; first by rewrite expr0 mul1r; exact: eE.
have pos : 0 <= rho ^+ m * E by rewrite mulr_ge0 ?exprn_ge0.
rewrite iterS exprS -mulrA; apply: le_trans (ler_wpmul2r pos (rows t tT)); rewrite mulr_suml.
by apply: ler_sum => j _; rewrite ler_wpmul2l ?N_ge0 //; apply: IH; exact: ltn_trans tT.
Qed.

(** The first T rows and columns, and sequences as columns. *)
Definition causal_mx T : 'M[R]_T := tril_strict (\matrix_(t, j) N t j).
Definition column T e : 'cV[R]_T := \col_t e t.

Lemma causal_mxE T e : causal_mx T *m column T e = column T (causal e).
Proof.
apply/colP => t; rewrite !mxE [RHS](big_ord_widen T (fun j => N t j * e j) (ltnW (ltn_ord t))) [RHS]big_mkcond.
by apply: eq_bigr => j _; rewrite !mxE; case: ifP => // _; rewrite mul0r.
Qed.

Lemma causal_mx_unit T : 1%:M - causal_mx T \in unitmx.
Proof.
suff -> : 1%:M - causal_mx T = 1%:M + tril_strict (- \matrix_(t, j) N t j) :> 'M_T by exact: T12_solve_exists.
by congr (_ + _); apply/matrixP => t j; rewrite !mxE; case: ifP => // _; rewrite oppr0.
Qed.

Lemma column_extended T (z : 'cV[R]_T) : column T (fun t => oapp (fun i => z i 0) 0 (insub t)) = z.
Proof. by apply/colP => t; rewrite mxE valK. Qed.

(** (I - N)^-1 r is the least of the z above, attained. *)
Lemma causal_solution e r T : (forall t, (t < T)%N -> e t <= causal e t + r t) ->
  forall t : 'I_T, e t <= (invmx (1%:M - causal_mx T) *m column T r) t 0.
Proof.
move=> below t; set z := _ *m _; pose z' := fun t => oapp (fun i => z i 0) 0 (insub t).
have zE (i : 'I_T) : z' i = z i 0 by rewrite /z' valK.
suff solves i : (i < T)%N -> causal z' i + r i = z' i.
  by rewrite -zE; apply: (causal_least below) => // i iT; rewrite solves.
move=> iT; rewrite (zE (Ordinal iT)).
have : (1%:M - causal_mx T) *m z = column T r by rewrite /z mulKVmx // causal_mx_unit.
rewrite mulmxBl mul1mx -{2}(column_extended z) causal_mxE => /colP/(_ (Ordinal iT)).
by rewrite !mxE => <-; rewrite addrC subrK.
Qed.

End Causal.

(** n (n - 1) ... (n - m + 1) / m! <= n^m / m! *)
Lemma bin_le_power (R : realFieldType) n m : 'C(n, m)%:R <= n%:R ^+ m / m`!%:R :> R.
Proof.
rewrite ler_pdivl_mulr ?ltr0n ?fact_gt0 // -natrM bin_ffact -natrX ler_nat.
by elim: m => [|m IH] //; rewrite ffactnSr expnSr leq_mul // leq_subr.
Qed.
