(** The whole algorithm: write, calibrate, clip and forget, with gates; and its chunked form. The scan of every chunk is
    one triangular solve and a certificate (T11), or is done token by token where the certificate fails; its writes are
    another solve (T12). Whatever is clipped and however the tokens are cut into chunks, the result is the recurrence's. *)
From mathcomp Require Import all_ssreflect all_algebra.
From OSDN Require Import definitions vectors projection chunk scan gated gated_chunk.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section ScanChunk.
Variables (R : realFieldType) (n : nat).
Variables (eta : R) (w gamma : nat -> R) (c lo hi : 'rV[R]_n) (x : nat -> 'rV[R]_n) (C : nat) (d : 'rV[R]_n).

(** The solve of T11 for a chunk that d enters: one number for each token. *)
Definition scan_solve : 'M[R]_(C, 1) :=
  chunk_X x (fun=> ones R n) (fun t => const_mx ((1 - dot c (x t)) / decay gamma t)) (fun t => eta * w t / gamma t)
    (d - c) 0 C.

(** The unprojected iterate before token i of the chunk, from that solve. *)
Definition solved_iterate (i : nat) : 'rV[R]_n :=
  c + decay gamma i *: (d - c + (\row_(j < C) (if (j < i)%N then scan_solve j 0 else 0)) *m rows 0 C x).

(** Whether an iterate lies in the box, and the certificate: all do, the one handed on included. *)
Definition inside (y : 'rV[R]_n) : bool := \big[andb/true]_(f < n) (lo 0 f <= y 0 f <= hi 0 f).
Definition certified : bool := \big[andb/true]_(i < C) inside (solved_iterate i.+1).

(** The scan of the chunk: solved where certified, else token by token. *)
Definition chunk_scan (i : nat) : 'rV[R]_n :=
  if certified then solved_iterate i else scan eta w gamma c lo hi d x i.

Lemma insideP y : inside y -> in_box lo hi y.
Proof. by rewrite /inside big_andE => /forallP. Qed.

Hypothesis gates : forall t, gamma t != 0.

Lemma solved_unprojected i : (i <= C)%N -> solved_iterate i = unprojected eta w gamma c d x i.
Proof.
move=> iC; rewrite /solved_iterate -[RHS](add_diff c) unprojected_memory //; congr (_ + _ *: _).
apply: trmx_inj; rewrite -[i]add0n memory_sum linearD /=; congr (_ + _).
rewrite mulmx_sum_row linear_sum /= add0n.
rewrite (big_ord_widen C (fun j => (had (ones R n) (x j))^T *m write_value x (fun=> ones R n)
  (fun t => const_mx ((1 - dot c (x t)) / decay gamma t)) (fun t => eta * w t / gamma t) (d - c) j) iC) [RHS]big_mkcond.
apply: eq_bigr => j _; rewrite mxE; case: ifP => _; last by rewrite scale0r trmx0.
rewrite had1l rowK /scan_solve T12_chunk_values linearZ /=; apply/colP => f.
by rewrite !mxE big_ord1 !mxE [LHS]mulrC.
Qed.

(** T11. Solved and certified, or token by token: it is the scan. *)
Theorem T11_chunk_scan i : (i <= C)%N -> chunk_scan i = scan eta w gamma c lo hi d x i.
Proof.
move=> iC; rewrite /chunk_scan; case: ifP => //; rewrite /certified big_andE => /forallP ok.
rewrite solved_unprojected //; apply/esym; apply: (T11_clip_certificate _ iC) => t tC.
by have := insideP (ok (Ordinal tC)); rewrite solved_unprojected.
Qed.

End ScanChunk.

Section Algorithm.
Variables (R : realFieldType) (p n : nat).
Variables (eta scale : R) (w gamma beta : nat -> R) (c lo hi d1 : 'rV[R]_n) (alpha k q x : nat -> 'rV[R]_n).
Variables (v : nat -> 'rV[R]_p) (S0 : 'M[R]_(p, n)) (C : nat -> nat).

(** Memory and preconditioner before token t: forget and write, then calibrate, clip and forget. *)
Fixpoint osdn (t : nat) : 'M[R]_(p, n) * 'rV[R]_n :=
  if t is t'.+1 then
    let before := osdn t' in
    (kda_write (alpha t') before.1 (k t') (v t') before.2 (beta t'),
     calibrate eta (w t') (gamma t') c lo hi before.2 (x t'))
  else (S0, d1).

(** The read of token t, after its write. *)
Definition osdn_output (t : nat) : 'rV[R]_p := scale *: (q t *m (osdn t.+1).1^T).

(** The scan does not look at the memory, and the memory takes its preconditioners as they come. *)
Theorem T12_osdn t :
  osdn t = (gated_memory alpha k (scan eta w gamma c lo hi d1 x) v beta S0 t, scan eta w gamma c lo hi d1 x t).
Proof. by elim: t => //= t ->. Qed.

(** The first token of chunk m: chunk i has C i tokens, as many as one likes. *)
Definition chunk_start (m : nat) : nat := (\sum_(i < m) C i)%N.

(** The preconditioners of chunk m that d enters. *)
Definition chunk_preconditioners (m : nat) (d : 'rV[R]_n) : nat -> 'rV[R]_n :=
  let t0 := chunk_start m in chunk_scan eta (shift w t0) (shift gamma t0) c lo hi (shift x t0) (C m) d.

(** State (K x V) and preconditioner that enter chunk m, from solves alone wherever the certificate holds. *)
Fixpoint chunked (m : nat) : 'M[R]_(n, p) * 'rV[R]_n :=
  if m is m'.+1 then
    let before := chunked m' in
    let t0 := chunk_start m' in
    let d := chunk_preconditioners m' before.2 in
    (gated_next (shift alpha t0) (shift k t0) d (shift v t0) (shift beta t0) before.1^T (C m'), d (C m'))
  else (S0^T, d1).

(** The outputs of chunk m. *)
Definition chunked_out (m : nat) : 'M[R]_(C m, p) :=
  let before := chunked m in
  let t0 := chunk_start m in
  gated_out (shift alpha t0) (shift k t0) (shift q t0) (chunk_preconditioners m before.2) (shift v t0) (shift beta t0)
    scale before.1^T (C m).

End Algorithm.

Section Equal.
Variables (R : realFieldType) (p n : nat).
Implicit Types (alpha k d e : nat -> 'rV[R]_n) (v : nat -> 'rV[R]_p) (beta : nat -> R) (S : 'M[R]_(p, n)).

Lemma gated_memory_ext alpha k d e v beta S T : (forall t, (t < T)%N -> d t = e t) ->
  forall t, (t <= T)%N -> gated_memory alpha k d v beta S t = gated_memory alpha k e v beta S t.
Proof. by move=> same; elim=> // t IH tT; rewrite !gated_memoryS IH ?(ltnW tT) // same. Qed.

Lemma gated_memory_from alpha k d v beta S t0 t :
  gated_memory alpha k d v beta S (t0 + t) =
  gated_memory (shift alpha t0) (shift k t0) (shift d t0) (shift v t0) (shift beta t0)
    (gated_memory alpha k d v beta S t0) t.
Proof. by elim: t => [|t IH]; rewrite ?addn0 // addnS !gated_memoryS IH. Qed.

End Equal.

Section Chunked.
Variables (R : realFieldType) (p n : nat).
Variables (eta scale : R) (w gamma beta : nat -> R) (c lo hi d1 : 'rV[R]_n) (alpha k q x : nat -> 'rV[R]_n).
Variables (v : nat -> 'rV[R]_p) (S0 : 'M[R]_(p, n)) (C : nat -> nat).
Hypothesis gates : forall t, gamma t != 0.
Notation osdn := (osdn eta w gamma beta c lo hi d1 alpha k x v S0).
Notation scan := (scan eta w gamma c lo hi d1 x).
Notation start := (chunk_start C).

Lemma chunk_preconditionersE m i : (i <= C m)%N ->
  chunk_preconditioners eta w gamma c lo hi x C m (scan (start m)) i = shift scan (start m) i.
Proof.
by move=> iC; rewrite /chunk_preconditioners T11_chunk_scan // => [|t]; rewrite -?scan_from // /shift.
Qed.

(** T12, the whole algorithm. Over any number of chunks of any sizes, clipped or not, with write gates, state gates and
    forgetting (gamma_t <> 0): the chunked form hands on the state and the preconditioner of the recurrence ... *)
Theorem T12_chunked m :
  chunked eta w gamma beta c lo hi d1 alpha k x v S0 C m = ((osdn (start m)).1^T, (osdn (start m)).2).
Proof.
elim: m => [|m IH]; first by rewrite /start big_ord0.
have next : start m.+1 = (start m + C m)%N by rewrite /start big_ord_recr.
rewrite [LHS]/= IH !T12_osdn next trmxK T12_gated_chunk_state chunk_preconditionersE // gated_memory_from.
congr (_^T, _); apply: (gated_memory_ext _ _ _ _ _ _ (leqnn _)) => t tC.
by rewrite chunk_preconditionersE // ltnW.
Qed.

(** ... and gives its outputs. *)
Theorem T12_chunked_output m (i : 'I_(C m)) :
  row i (chunked_out eta scale w gamma beta c lo hi d1 alpha k q x v S0 C m) =
  osdn_output eta scale w gamma beta c lo hi d1 alpha k q x v S0 (start m + i).
Proof.
rewrite /chunked_out T12_chunked !T12_osdn trmxK T12_gated_chunk_output /gated_output /osdn_output T12_osdn -addnS.
rewrite [in RHS]gated_memory_from; congr (_ *: (_ *m _^T)); apply: (gated_memory_ext _ _ _ _ _ _ (leqnn _)) => t ti.
by rewrite chunk_preconditionersE // ltnW // (leq_trans ti).
Qed.

End Chunked.
