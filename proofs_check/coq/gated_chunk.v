(** T12 with gates: the chunkwise form of the gated recurrence, one gate per feature (KDA) or, with equal entries, one per
    token (Gated DeltaNet). No gate is divided by, so gates may be 0. *)
From mathcomp Require Import all_ssreflect all_algebra.
From OSDN Require Import definitions vectors chunk gated.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Recurrence.
Variables (R : realFieldType) (p n : nat).
Variables (alpha k q d : nat -> 'rV[R]_n) (v : nat -> 'rV[R]_p) (beta : nat -> R) (scale : R).
Variable (S0 : 'M[R]_(p, n)).

(** S_0, S_1, ...: as [memory], with the gate alpha_t on S_{t-1} before the residual is taken. *)
Fixpoint gated_memory (t : nat) : 'M[R]_(p, n) :=
  if t is t'.+1 then kda_write (alpha t') (gated_memory t') (k t') (v t') (d t') (beta t') else S0.

Lemma gated_memoryS t :
  gated_memory t.+1 = write (gated_memory t *m diag_mx (alpha t)) (k t) (v t) (d t) (beta t).
Proof. by []. Qed.

(** The read of token t, after its write. *)
Definition gated_output (t : nat) : 'rV[R]_p := scale *: (q t *m (gated_memory t.+1)^T).

(** What token t writes along its scaled key. *)
Definition gated_value (t : nat) : 'rV[R]_p :=
  beta t *: residual (gated_memory t *m diag_mx (alpha t)) (k t) (v t).

Section Chunk.
Variables (C : nat).

(** What is left at token i, after its gate, of what stood before token j's gate: alpha_j * ... * alpha_i. *)
Definition fade (j i : nat) : 'rV[R]_n := \row_f \prod_(j <= l < i) alpha l 0 f.

Lemma fade_refl i : fade i i = ones R n.
Proof. by apply/rowP => f; rewrite !mxE big_geq. Qed.

Lemma fade_recr j i : (j <= i)%N -> fade j i.+1 = had (fade j i) (alpha i).
Proof. by move=> le; apply/rowP => f; rewrite !mxE big_nat_recr. Qed.

(** T12, gated. Two tokens meet through any token b between them: rows after it carry what fades from there on, those
    before it what fades up to there. Blocks of a chunk that meet in products of such rows divide by no gate. *)
Theorem T12_gated_chunk_edge (x y : 'rV[R]_n) (j b i : nat) : (j <= b)%N -> (b <= i)%N ->
  dot (had (fade j i) x) y = dot (had (fade b i) x) (had (fade j b) y).
Proof.
move=> jb bi; apply: eq_bigr => f _.
by rewrite !mxE (big_cat_nat _ _ _ jb bi) /= -!mulrA mulrCA; congr (_ * _); rewrite mulrCA.
Qed.

(** A, X, O and H+ of the gated chunk form of C tokens, from the entering state S_0. *)
Definition gated_A : 'M[R]_C := tril_strict
  (\matrix_(i, j) (beta i * dot (had (fade j.+1 i.+1) (k i)) (had (d j) (k j)))).
Definition gated_X : 'M[R]_(C, p) := invmx (1%:M + gated_A) *m
  \matrix_i (beta i *: (v i - had (fade 0 i.+1) (k i) *m S0^T)).
Definition gated_out : 'M[R]_(C, p) := scale *:
  (\matrix_i (had (fade 0 i.+1) (q i) *m S0^T) +
   tril (\matrix_(i, j) dot (had (fade j.+1 i.+1) (q i)) (had (d j) (k j))) *m gated_X).
Definition gated_next : 'M[R]_(n, p) := diag_mx (fade 0 C) *m S0^T +
  (\matrix_j had (fade j.+1 C) (had (d j) (k j)))^T *m gated_X.

(** What has been written before, faded. *)
Lemma gated_read (x : 'rV[R]_n) m : x *m (gated_memory m)^T = had (fade 0 m) x *m S0^T +
  \sum_(j < m) dot (had (fade j.+1 m) x) (had (d j) (k j)) *: gated_value j.
Proof.
elim: m x => [|m IH] x; first by rewrite big_ord0 addr0 fade_refl had1l.
rewrite gated_memoryS /write linearD /= trmx_mul tr_diag_mx mulmxDr mulmxA -had_diag IH.
rewrite big_ord_recr /= addrA fade_refl had1l; congr (_ + _ + _).
- by rewrite fade_recr // (hadC _ (alpha m)); congr (_ *m _); apply/rowP => f; rewrite !mxE mulrCA mulrA.
- apply: eq_bigr => j _; rewrite fade_recr //; congr (dot _ _ *: _).
  by apply/rowP => f; rewrite !mxE mulrA.
by rewrite linearZ /= -scalemxAr read_rank1 /gated_value scalerA mulrC -scalerA.
Qed.

(** The same through the gate of token i, as a sum over the chunk. *)
Lemma gated_read_gate (x : 'rV[R]_n) (i : 'I_C) :
  x *m (gated_memory i *m diag_mx (alpha i))^T = had (fade 0 i.+1) x *m S0^T +
  \sum_(j < C | (j < i)%N) dot (had (fade j.+1 i.+1) x) (had (d j) (k j)) *: gated_value j.
Proof.
rewrite trmx_mul tr_diag_mx mulmxA -had_diag gated_read; congr (_ *m _ + _).
  by rewrite fade_recr //; apply/rowP => f; rewrite !mxE mulrA.
rewrite (big_ord_widen C (fun j => dot (had (fade j.+1 i) (had (alpha i) x)) (had (d j) (k j)) *: gated_value j)
  (ltnW (ltn_ord i))); apply: eq_bigr => j ji; rewrite fade_recr //; congr (dot _ _ *: _).
by apply/rowP => f; rewrite !mxE mulrA.
Qed.

Lemma gated_system :
  (1%:M + gated_A) *m rows 0 C gated_value = \matrix_i (beta i *: (v i - had (fade 0 i.+1) (k i) *m S0^T)).
Proof.
apply/row_matrixP => i; rewrite mulmxDl mul1mx linearD /= row_masked !rowK /gated_value /residual gated_read_gate.
rewrite opprD addrA scalerBr -addrA -[RHS]addr0; congr (_ + _).
rewrite addrC; apply/eqP; rewrite subr_eq0 scaler_sumr; apply/eqP.
by apply: eq_bigr => j _; rewrite mxE -scalerA.
Qed.

(** T12, gated. X = (I + A)^-1 (beta (v - faded k S_0)) is what the recurrence writes, row by row. *)
Theorem T12_gated_chunk_values : gated_X = rows 0 C gated_value.
Proof. by rewrite /gated_X -gated_system mulKmx // T12_solve_exists. Qed.

(** T12, gated. The state after the C tokens of the chunk. *)
Theorem T12_gated_chunk_state : gated_next = (gated_memory C)^T.
Proof.
rewrite /gated_next T12_gated_chunk_values; apply/row_matrixP => f.
have unit_row (A : 'M[R]_(n, p)) : row f A = delta_mx 0 f *m A by rewrite rowE.
rewrite [RHS]unit_row gated_read linearD /= unit_row mulmxA; congr (_ *m _ + _).
  by apply/rowP => j; rewrite mul_mx_diag !mxE mulrC.
rewrite row_mul mulmx_sum_row; apply: eq_bigr => j _; rewrite rowK; congr (_ *: _).
rewrite /dot (bigD1 f) //= big1 => [|l other]; last by rewrite !mxE (negbTE other) andbF mulr0 mul0r.
by rewrite !mxE !eqxx mulr1 addr0.
Qed.

(** T12, gated. Row i of O is the recurrence's output at token i of the chunk. *)
Theorem T12_gated_chunk_output (i : 'I_C) : row i gated_out = gated_output i.
Proof.
rewrite /gated_out /gated_output gated_read linearZ /= T12_gated_chunk_values; congr (_ *: _).
rewrite linearD /= row_masked rowK; congr (_ + _).
rewrite (big_ord_widen C (fun j => dot (had (fade j.+1 i.+1) (q i)) (had (d j) (k j)) *: gated_value j) (ltn_ord i)).
by apply: eq_big => [j|j _]; rewrite ?ltnS // mxE.
Qed.

End Chunk.
End Recurrence.

(** T12, gated. Without gates it is the memory of T12. *)
Theorem T12_ungated (R : realFieldType) p n (k d : nat -> 'rV[R]_n) (v : nat -> 'rV[R]_p) (beta : nat -> R) S0 t :
  gated_memory (fun=> ones R n) k d v beta S0 t = memory k d v beta S0 t.
Proof. by elim: t => //= t ->; rewrite /kda_write diag_const_mx mulmx1. Qed.
