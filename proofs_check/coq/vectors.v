(** Elementary lemmas on the inner product, the squared norm and the entrywise product of row vectors. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(** Equal inner products may carry structures found along different paths, which [ring] and [field] do not identify:
    [atoms] names them all, up to conversion, first. *)
Ltac atoms :=
  repeat (let x := fresh "atom" in set x := (norm_sq _); clearbody x);
  repeat (let x := fresh "atom" in set x := (dot _ _); clearbody x);
  repeat (let x := fresh "atom" in set x := (inner _ _); clearbody x).

(** All ones: DeltaNet's preconditioner. *)
Definition ones (R : comRingType) (n : nat) : 'rV[R]_n := const_mx 1.

Lemma add_diff (V : zmodType) (u v : V) : u + (v - u) = v.
Proof. by rewrite addrC subrK. Qed.

Lemma anchorK (V : zmodType) (u v w : V) : u + v + w - u = v + w.
Proof. by rewrite addrC !addrA addNr add0r. Qed.

Section Ring.
Variables (R : comRingType) (n : nat).
Implicit Types (u v w d k s : 'rV[R]_n) (x y : R).

Lemma dotC u v : dot u v = dot v u.
Proof. by apply: eq_bigr => i _; rewrite mulrC. Qed.

Lemma dotDl u v w : dot (u + v) w = dot u w + dot v w.
Proof. by rewrite -big_split; apply: eq_bigr => i _; rewrite mxE mulrDl. Qed.

Lemma dotDr u v w : dot w (u + v) = dot w u + dot w v.
Proof. by rewrite dotC dotDl !(dotC w). Qed.

Lemma dotZl x u v : dot (x *: u) v = x * dot u v.
Proof. by rewrite mulr_sumr; apply: eq_bigr => i _; rewrite mxE mulrA. Qed.

Lemma dotZr x u v : dot u (x *: v) = x * dot u v.
Proof. by rewrite dotC dotZl dotC. Qed.

Lemma dotNl u v : dot (- u) v = - dot u v.
Proof. by rewrite -scaleN1r dotZl mulN1r. Qed.

Lemma dotNr u v : dot u (- v) = - dot u v.
Proof. by rewrite dotC dotNl dotC. Qed.

Lemma dotBl u v w : dot (u - v) w = dot u w - dot v w.
Proof. by rewrite dotDl dotNl. Qed.

Lemma dotBr u v w : dot w (u - v) = dot w u - dot w v.
Proof. by rewrite dotDr dotNr. Qed.

Lemma dot0l u : dot 0 u = 0.
Proof. by rewrite -(scale0r 0) dotZl mul0r. Qed.

Lemma dot0r u : dot u 0 = 0.
Proof. by rewrite dotC dot0l. Qed.

Lemma dot_suml (I : Type) (r : seq I) (P : pred I) (F : I -> 'rV[R]_n) v :
  dot (\sum_(i <- r | P i) F i) v = \sum_(i <- r | P i) dot (F i) v.
Proof. by elim/big_rec2: _ => [|i x y _ <-]; rewrite ?dot0l ?dotDl. Qed.

Lemma dot_sumr (I : Type) (r : seq I) (P : pred I) (F : I -> 'rV[R]_n) v :
  dot v (\sum_(i <- r | P i) F i) = \sum_(i <- r | P i) dot v (F i).
Proof. by rewrite dotC dot_suml; apply: eq_bigr => i _; rewrite dotC. Qed.

(** The inner product as a 1 x 1 matrix and as a trace. *)
Lemma dot_mx u v : u *m v^T = (dot u v)%:M.
Proof. by apply/rowP => i; rewrite !mxE (ord1 i) eqxx; apply: eq_bigr => j _; rewrite mxE. Qed.

Lemma dot_tr u v : dot u v = \tr (u *m v^T).
Proof. by rewrite dot_mx mxtrace_scalar. Qed.

Lemma dot_inner u v : dot u v = inner u v.
Proof. exact: dot_tr. Qed.

(** Reading a rank-one matrix: u (x^T v)^T = <u, v> x. *)
Lemma read_rank1 m (x : 'rV[R]_m) u v : u *m (x^T *m v)^T = dot u v *: x.
Proof. by rewrite trmx_mul trmxK mulmxA dot_mx mul_scalar_mx. Qed.

Lemma norm_sqE u : norm_sq u = \sum_i u 0 i ^+ 2.
Proof. by apply: eq_bigr. Qed.

Lemma norm_sq0 : norm_sq (0 : 'rV[R]_n) = 0.
Proof. exact: dot0l. Qed.

Lemma norm_sqN u : norm_sq (- u) = norm_sq u.
Proof. by rewrite /norm_sq dotNl dotNr opprK. Qed.

Lemma norm_sqZ x u : norm_sq (x *: u) = x ^+ 2 * norm_sq u.
Proof. by rewrite /norm_sq dotZl dotZr mulrA. Qed.

Lemma norm_sqD u v : norm_sq (u + v) = norm_sq u + 2 * dot u v + norm_sq v.
Proof. by rewrite /norm_sq dotDl !dotDr (dotC v u); ring. Qed.

Lemma norm_sqB u v : norm_sq (u - v) = norm_sq u - 2 * dot u v + norm_sq v.
Proof. by rewrite norm_sqD norm_sqN dotNr mulrN. Qed.

Lemma norm_sqBC u v : norm_sq (u - v) = norm_sq (v - u).
Proof. by rewrite -norm_sqN opprB. Qed.

Lemma hadC u v : had u v = had v u.
Proof. by apply/rowP => i; rewrite !mxE mulrC. Qed.

Lemma hadDl u v w : had (u + v) w = had u w + had v w.
Proof. by apply/rowP => i; rewrite !mxE mulrDl. Qed.

Lemma hadDr u v w : had w (u + v) = had w u + had w v.
Proof. by rewrite hadC hadDl !(hadC w). Qed.

Lemma hadZl x u v : had (x *: u) v = x *: had u v.
Proof. by apply/rowP => i; rewrite !mxE mulrA. Qed.

Lemma hadZr x u v : had u (x *: v) = x *: had u v.
Proof. by rewrite hadC hadZl hadC. Qed.

(** Scaling the entries is multiplying by a diagonal matrix. *)
Lemma had_diag d k : had d k = k *m diag_mx d.
Proof. by apply/rowP => i; rewrite mul_mx_diag !mxE mulrC. Qed.

Lemma had1l k : had (ones R n) k = k.
Proof. by apply/rowP => i; rewrite !mxE mul1r. Qed.

(** <d u, v> = <d, u v>: the entrywise product is self-adjoint. *)
Lemma dot_had d u v : dot (had d u) v = dot d (had u v).
Proof. by apply: eq_bigr => i _; rewrite !mxE mulrA. Qed.

(** a = <d, s> = <d k, k> = k^T Diag(d) k. *)
Lemma dot_feature d k : dot d (feature k) = dot (had d k) k.
Proof. by rewrite dot_had. Qed.

Lemma dot_ones u : dot (ones R n) u = \sum_i u 0 i.
Proof. by apply: eq_bigr => i _; rewrite mxE mul1r. Qed.

Lemma dot_ones_feature k : dot (ones R n) (feature k) = norm_sq k.
Proof. by rewrite dot_feature had1l. Qed.

End Ring.

Section MatrixRing.
Variables (R : comRingType) (p n : nat).
Implicit Types A B C : 'M[R]_(p, n).

(** A diagonal matrix on the left scales the rows. *)
Lemma row_diag_mul (x : 'rV[R]_p) A i : row i (diag_mx x *m A) = x 0 i *: row i A.
Proof. by rewrite mul_diag_mx; apply/rowP => j; rewrite !mxE. Qed.

Lemma innerE A B : inner A B = \sum_i \sum_j A i j * B i j.
Proof. by apply: eq_bigr => i _; rewrite mxE; apply: eq_bigr => j _; rewrite mxE. Qed.

Lemma innerC A B : inner A B = inner B A.
Proof. by rewrite /inner -mxtrace_tr trmx_mul trmxK. Qed.

Lemma innerDl A B C : inner (A + B) C = inner A C + inner B C.
Proof. by rewrite /inner mulmxDl mxtraceD. Qed.

Lemma innerDr A B C : inner C (A + B) = inner C A + inner C B.
Proof. by rewrite innerC innerDl !(innerC C). Qed.

Lemma innerZl x A B : inner (x *: A) B = x * inner A B.
Proof. by rewrite /inner -scalemxAl mxtraceZ. Qed.

Lemma innerZr x A B : inner A (x *: B) = x * inner A B.
Proof. by rewrite innerC innerZl innerC. Qed.

Lemma innerNl A B : inner (- A) B = - inner A B.
Proof. by rewrite -scaleN1r innerZl mulN1r. Qed.

Lemma innerNr A B : inner A (- B) = - inner A B.
Proof. by rewrite innerC innerNl innerC. Qed.

(** <x^T u, B> = <x, u B^T>: the inner product with a rank-one matrix is a read. *)
Lemma inner_rank1 (x : 'rV[R]_p) (u : 'rV[R]_n) B : inner (x^T *m u) B = dot x (u *m B^T).
Proof. by rewrite /inner -mulmxA mxtrace_mulC -dot_tr dotC. Qed.

(** Adjoint: <w A, v> = <w, v A^T>. *)
Lemma dot_adjoint (w : 'rV[R]_p) A (v : 'rV[R]_n) : dot (w *m A) v = dot w (v *m A^T).
Proof. by rewrite !dot_tr trmx_mul trmxK mulmxA. Qed.

Lemma frob_sqD A B : frob_sq (A + B) = frob_sq A + 2 * inner A B + frob_sq B.
Proof. by rewrite /frob_sq innerDl !innerDr (innerC B A); ring. Qed.

Lemma frob_sqZ x A : frob_sq (x *: A) = x ^+ 2 * frob_sq A.
Proof. by rewrite /frob_sq innerZl innerZr mulrA. Qed.

(** |A|_F^2 is the sum of the squared norms of the rows. *)
Lemma frob_sq_rows A : frob_sq A = \sum_i norm_sq (row i A).
Proof.
by rewrite /frob_sq innerE; apply: eq_bigr => i _; apply: eq_bigr => j _; rewrite !mxE.
Qed.

(** |x^T u|_F^2 = |x|^2 |u|^2 *)
Lemma frob_sq_rank1 (x : 'rV[R]_p) (u : 'rV[R]_n) : frob_sq (x^T *m u) = norm_sq x * norm_sq u.
Proof. by rewrite /frob_sq inner_rank1 read_rank1 dotZr mulrC. Qed.

End MatrixRing.

Section Real.
Variables (R : realFieldType) (n : nat).
Implicit Types (u v : 'rV[R]_n).

Lemma norm_sq_ge0 u : 0 <= norm_sq u.
Proof. by rewrite norm_sqE; apply: sumr_ge0 => i _; exact: sqr_ge0. Qed.

Lemma norm_sq_eq0 u : (norm_sq u == 0) = (u == 0).
Proof.
apply/idP/eqP => [|->]; last by rewrite norm_sq0.
rewrite norm_sqE psumr_eq0 => [/allP zero|i _]; last exact: sqr_ge0.
apply/rowP => i; rewrite mxE; apply/eqP; rewrite -sqrf_eq0.
by have := zero i; rewrite mem_index_enum => /(_ isT).
Qed.

Lemma norm_sq_gt0 u : (0 < norm_sq u) = (u != 0).
Proof. by rewrite lt_def norm_sq_eq0 norm_sq_ge0 andbT. Qed.

(** One coordinate is at most the norm. *)
Lemma norm_sq_coord u i : u 0 i ^+ 2 <= norm_sq u.
Proof.
rewrite norm_sqE (bigD1 i) //= ler_addl; apply: sumr_ge0 => j _; exact: sqr_ge0.
Qed.

Lemma frob_sq_ge0 m (A : 'M[R]_(m, n)) : 0 <= frob_sq A.
Proof. by rewrite frob_sq_rows; apply: sumr_ge0 => i _; exact: norm_sq_ge0. Qed.

(** The Cauchy-Schwarz inequality, squared. *)
Lemma cauchy_schwarz u v : dot u v ^+ 2 <= norm_sq u * norm_sq v.
Proof.
have [->|nz] := eqVneq v 0; first by rewrite dot0r norm_sq0 mulr0 expr0n.
have pos : 0 < norm_sq v by rewrite norm_sq_gt0.
have := norm_sq_ge0 (norm_sq v *: u - dot u v *: v).
rewrite norm_sqB !norm_sqZ dotZl dotZr.
have -> : norm_sq v ^+ 2 * norm_sq u - 2 * (norm_sq v * (dot u v * dot u v)) +
    dot u v ^+ 2 * norm_sq v = norm_sq v * (norm_sq u * norm_sq v - dot u v ^+ 2) by ring.
by rewrite pmulr_rge0 // subr_ge0.
Qed.

(** 2 <u, v> <= |u|^2 + |v|^2 *)
Lemma dot_am_gm u v : 2 * dot u v <= norm_sq u + norm_sq v.
Proof.
by rewrite -subr_ge0 addrAC -norm_sqB norm_sq_ge0.
Qed.

End Real.

Section FrobeniusProduct.
Variable R : realFieldType.

Lemma norm_sq_mul_le n m (x : 'rV[R]_n) (B : 'M[R]_(n, m)) : norm_sq (x *m B) <= norm_sq x * frob_sq B.
Proof.
have -> : frob_sq B = frob_sq B^T by rewrite /frob_sq /inner trmxK mxtrace_mulC.
rewrite norm_sqE frob_sq_rows mulr_sumr; apply: ler_sum => j _.
have -> : (x *m B) 0 j = dot x (row j B^T) by rewrite mxE; apply: eq_bigr => i _; rewrite !mxE.
exact: cauchy_schwarz.
Qed.

(** |A B|_F^2 <= |A|_F^2 |B|_F^2, for any shapes *)
Lemma frob_sq_mul_le p n m (A : 'M[R]_(p, n)) (B : 'M[R]_(n, m)) :
  frob_sq (A *m B) <= frob_sq A * frob_sq B.
Proof.
rewrite frob_sq_rows (frob_sq_rows A) mulr_suml; apply: ler_sum => i _.
by rewrite row_mul norm_sq_mul_le.
Qed.

Lemma frob_sq_tr p n (A : 'M[R]_(p, n)) : frob_sq A^T = frob_sq A.
Proof. by rewrite /frob_sq /inner trmxK mxtrace_mulC. Qed.

End FrobeniusProduct.
