(** T12: the chunkwise form. One chunk of any number C of tokens, starting at any token t0, equals the recurrence.

    The chunk form keeps the state transposed (K x V), as the kernels do. *)
From mathcomp Require Import all_ssreflect all_algebra.
From OSDN Require Import definitions vectors.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Triangular.
Variables (R : comUnitRingType) (C : nat).
Implicit Types A : 'M[R]_C.

(** The lower triangle, the diagonal included (tril) or not (tril_strict). *)
Definition tril A : 'M[R]_C := \matrix_(i, j) (if (j <= i)%N then A i j else 0).
Definition tril_strict A : 'M[R]_C := \matrix_(i, j) (if (j < i)%N then A i j else 0).

Lemma trig_unit_lower A : is_trig_mx (1%:M + tril_strict A).
Proof.
apply/is_trig_mxP => i j ij; rewrite !mxE (ltnNge j) (ltnW ij) addr0.
by case: eqP ij => // ->; rewrite ltnn.
Qed.

Lemma det_unit_lower A : \det (1%:M + tril_strict A) = 1.
Proof.
rewrite det_trig ?trig_unit_lower //.
by rewrite big1 // => i _; rewrite !mxE eqxx ltnn addr0.
Qed.

End Triangular.

(** T12. I + A is invertible for every strictly lower triangular A: the chunk's solve never fails. *)
Theorem T12_solve_exists (R : comUnitRingType) (C : nat) (A : 'M[R]_C) : 1%:M + tril_strict A \in unitmx.
Proof. by rewrite unitmxE det_unit_lower unitr1. Qed.

Section Recurrence.
Variables (R : realFieldType) (p n : nat).
Variables (k q d : nat -> 'rV[R]_n) (v : nat -> 'rV[R]_p) (beta : nat -> R) (scale : R).
Variable (S0 : 'M[R]_(p, n)).

Notation memory := (memory k d v beta S0).

Lemma memoryS t : memory t.+1 = write (memory t) (k t) (v t) (d t) (beta t).
Proof. by []. Qed.

(** The read of token t, after its write. *)
Definition output (t : nat) : 'rV[R]_p := scale *: (q t *m (memory t.+1)^T).

(** What token t writes along its scaled key: beta (v - S k). *)
Definition write_value (t : nat) : 'rV[R]_p := beta t *: residual (memory t) (k t) (v t).

Section Chunk.
Variables (t0 C : nat).

(** Row i of the chunk is token t0 + i. *)
Definition rows m (x : nat -> 'rV[R]_m) : 'M[R]_(C, m) := \matrix_i x (t0 + i)%N.
Definition chunk_q := rows q.
Definition chunk_k := rows k.
Definition chunk_scaled_k := rows (fun t => had (d t) (k t)).
Definition chunk_v := rows v.
Definition chunk_beta : 'M[R]_C := diag_mx (\row_i beta (t0 + i)%N).

(** The state that enters, K x V. *)
Definition chunk_state : 'M[R]_(n, p) := (memory t0)^T.

(** A, X, O and H+ of the chunk form. *)
Definition chunk_A := tril_strict (chunk_beta *m chunk_k *m chunk_scaled_k^T).
Definition chunk_X :=
  invmx (1%:M + chunk_A) *m (chunk_beta *m (chunk_v - chunk_k *m chunk_state)).
Definition chunk_out :=
  scale *: (chunk_q *m chunk_state + tril (chunk_q *m chunk_scaled_k^T) *m chunk_X).
Definition chunk_next := chunk_state + chunk_scaled_k^T *m chunk_X.

Lemma memory_sum m : (memory (t0 + m))^T =
  chunk_state + \sum_(j < m) (had (d (t0 + j)) (k (t0 + j)))^T *m write_value (t0 + j).
Proof.
elim: m => [|m IH]; first by rewrite addn0 big_ord0 addr0.
rewrite addnS memoryS /write linearD /= IH big_ord_recr /= addrA; congr (_ + _).
by rewrite linearZ /= trmx_mul trmxK -scalemxAr.
Qed.

(** A sum over the tokens before token i of the chunk is a masked sum over the chunk. *)
Lemma sum_before (x : 'rV[R]_n) (m : nat) : (m <= C)%N ->
  x *m (memory (t0 + m))^T = x *m chunk_state +
  \sum_(j < C | (j < m)%N) dot x (had (d (t0 + j)) (k (t0 + j))) *: write_value (t0 + j).
Proof.
move=> mC; rewrite memory_sum mulmxDr mulmx_sumr; congr (_ + _).
rewrite (big_ord_widen C (fun j => x *m ((had (d (t0 + j)) (k (t0 + j)))^T *m write_value (t0 + j)))) //.
by apply: eq_bigr => j _; rewrite mulmxA dot_mx mul_scalar_mx.
Qed.

Lemma row_chunk_product (x : nat -> 'rV[R]_n) (i j : 'I_C) :
  (rows x *m chunk_scaled_k^T) i j = dot (x (t0 + i)%N) (had (d (t0 + j)) (k (t0 + j))).
Proof. by rewrite mxE; apply: eq_bigr => l _; rewrite !mxE. Qed.

Lemma gated_product (i j : 'I_C) : (chunk_beta *m chunk_k *m chunk_scaled_k^T) i j =
  beta (t0 + i) * dot (k (t0 + i)%N) (had (d (t0 + j)) (k (t0 + j))).
Proof. by rewrite -mulmxA mul_diag_mx mxE row_chunk_product mxE. Qed.

Lemma row_masked m (x : nat -> 'rV[R]_m) (M : 'M[R]_C) (P : rel 'I_C) (i : 'I_C) :
  row i ((\matrix_(a, b) (if P a b then M a b else 0)) *m rows x) =
  \sum_(j < C | P i j) M i j *: x (t0 + j)%N.
Proof.
rewrite row_mul mulmx_sum_row [RHS]big_mkcond; apply: eq_bigr => j _.
by rewrite !mxE rowK; case: (P i j); rewrite ?scale0r.
Qed.

(** The written values solve the chunk's triangular system. *)
Lemma chunk_system : (1%:M + chunk_A) *m rows write_value = chunk_beta *m (chunk_v - chunk_k *m chunk_state).
Proof.
apply/row_matrixP => i; rewrite mulmxDl mul1mx linearD /= row_masked rowK.
rewrite row_diag_mul mxE linearB /= row_mul !rowK /write_value /residual.
rewrite (sum_before _ (ltnW (ltn_ord i))) opprD addrA scalerBr -addrA -[RHS]addr0.
congr (_ + _); rewrite addrC; apply/eqP; rewrite subr_eq0 scaler_sumr; apply/eqP.
by apply: eq_bigr => j _; rewrite gated_product -scalerA.
Qed.

(** T12. X = (I + A)^-1 diag(beta) (V - K H) is what the recurrence writes, row by row. *)
Theorem T12_chunk_values : chunk_X = rows write_value.
Proof. by rewrite /chunk_X -chunk_system mulKmx // T12_solve_exists. Qed.

(** T12. H + K~^T X is the recurrence's state after the C tokens of the chunk. *)
Theorem T12_chunk_state : chunk_next = (memory (t0 + C))^T.
Proof.
rewrite /chunk_next T12_chunk_values memory_sum; congr (_ + _).
apply/matrixP => i j; rewrite mxE summxE; apply: eq_bigr => l _.
by rewrite !mxE big_ord1 !mxE.
Qed.

(** T12. Row i of scale (Q H + tril(Q K~^T) X) is the recurrence's output at token i of the chunk. *)
Theorem T12_chunk_output (i : 'I_C) : row i chunk_out = output (t0 + i).
Proof.
rewrite /chunk_out /output -addnS linearZ /= T12_chunk_values; congr (_ *: _).
rewrite linearD /= row_masked row_mul rowK (sum_before _ (ltn_ord i)); congr (_ + _).
by apply: eq_big => [j|j _]; rewrite ?ltnS // row_chunk_product.
Qed.

End Chunk.
End Recurrence.
