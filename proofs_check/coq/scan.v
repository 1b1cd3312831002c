(** T11: the preconditioner is itself a delta rule, so it has a chunk form; and the clip certificate. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token projection chunk.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Step.
Variables (R : realFieldType) (n : nat).
Implicit Types (c d s : 'rV[R]_n) (eta w gamma : R).

(** Row vectors: (gamma I - eta w s s^T) acts on the right, and is symmetric. *)
Definition transition eta w gamma s : 'M[R]_n := gamma%:M - (eta * w) *: (s^T *m s).

(** T11. Before the projection, d_{t+1} - c = (gamma I - eta w s s^T)(d_t - c) + eta w (1 - <c, s>) s. *)
Theorem T11_delta_rule eta w gamma c d s :
  calibrate_free eta w gamma c d s - c =
  (d - c) *m transition eta w gamma s + (eta * w * (1 - dot c s)) *: s.
Proof.
rewrite /calibrate_free /transition mulmxBr mul_mx_scalar -scalemxAr mulmxA dot_mx mul_scalar_mx.
rewrite anchorK scalerA -addrA; congr (_ + _).
by rewrite -scaleNr -scalerDl dotBl; congr (_ *: _); ring.
Qed.

(** T11. It is the same write as the memory's: the 1 x K memory d - c, decayed by gamma, is written with key s, value
    gamma (1 - <c, s>), gate eta w / gamma and no preconditioner. *)
Theorem T11_is_a_write eta w gamma c d s : gamma != 0 ->
  calibrate_free eta w gamma c d s - c =
  write (gamma *: (d - c)) s (const_mx (gamma * (1 - dot c s))) (ones R n) (eta * w / gamma).
Proof.
move=> nz; rewrite /write had1l /calibrate_free anchorK; congr (_ + _).
rewrite scalemxAl /residual linearZ -scalemxAr dot_mx.
set r := _ *: (_ - _)^T; have -> : r = (eta * w * (1 - dot d s))%:M.
  apply/rowP => i; rewrite (ord1 i) !mxE eqxx /= mulr1n dotBr (dotC d) (dotC c); field.
  exact: nz.
by rewrite mul_scalar_mx.
Qed.

End Step.

Section Certificate.
Variables (R : realFieldType) (n : nat).
Variables (eta : R) (w gamma : nat -> R) (c lo hi d1 : 'rV[R]_n) (s : nat -> 'rV[R]_n).

Notation projected := (scan eta w gamma c lo hi d1 s).

(** The iterates without the projection. *)
Fixpoint unprojected (t : nat) : 'rV[R]_n :=
  if t is t'.+1 then calibrate_free eta (w t') (gamma t') c (unprojected t') (s t') else d1.

(** T11, clip certificate. If every unprojected iterate after the first, up to and including the one that the T tokens
    hand on, lies in the box, then the projected and the unprojected iterates agree, for any number T of tokens. *)
Theorem T11_clip_certificate T : (forall t, (t < T)%N -> in_box lo hi (unprojected t.+1)) ->
  forall t, (t <= T)%N -> projected t = unprojected t.
Proof.
move=> inside; elim=> [|t IH] // tT.
have same := IH (ltnW tT); rewrite [LHS]/= same; exact: clip_id (inside t tT).
Qed.

(** T11, clip certificate. It is never too strict: where the iterates agree, the certificate holds. *)
Theorem T11_clip_certificate_iff T : in_box lo hi d1 ->
  (forall t, (t < T)%N -> in_box lo hi (unprojected t.+1)) <->
  (forall t, (t <= T)%N -> projected t = unprojected t).
Proof.
move=> box; split=> [inside|same t tT]; first exact: T11_clip_certificate.
by rewrite -(same t.+1 tT); exact: clip_in_box box.
Qed.

End Certificate.

(** A chunk that passes the certificate hands on the same iterate; one that fails is recomputed token by token. *)
Section Chunks.
Variables (R : realFieldType) (n : nat).
Variables (eta : R) (w gamma : nat -> R) (c : 'rV[R]_n) (s : nat -> 'rV[R]_n).
Implicit Types lo hi d : 'rV[R]_n.

Definition shift A (x : nat -> A) t0 t := x (t0 + t)%N.

Lemma scan_from lo hi d1 t0 t :
  scan eta w gamma c lo hi d1 s (t0 + t) =
  scan eta (shift w t0) (shift gamma t0) c lo hi (scan eta w gamma c lo hi d1 s t0) (shift s t0) t.
Proof. by elim: t => [|t IH]; rewrite ?addn0 // addnS /= IH. Qed.

(** T11, clip certificate, chunk by chunk. Start the chunk from the projected iterate that the previous chunk handed
    on; if the unprojected iterates of this chunk, and the one it hands on, lie in the box, they are the projected
    ones. *)
Theorem T11_chunk_certificate lo hi d1 t0 C :
  let entering := scan eta w gamma c lo hi d1 s t0 in
  let free := unprojected eta (shift w t0) (shift gamma t0) c entering (shift s t0) in
  (forall t, (t < C)%N -> in_box lo hi (free t.+1)) ->
  forall t, (t <= C)%N -> scan eta w gamma c lo hi d1 s (t0 + t) = free t.
Proof. by move=> entering free inside t tC; rewrite scan_from; exact: (T11_clip_certificate inside). Qed.

(** The running product of the forgetting factors: decay t is the product of gamma_0 ... gamma_(t-1). *)
Fixpoint decay t : R := if t is t'.+1 then gamma t' * decay t' else 1.

Lemma decay_neq0 : (forall t, gamma t != 0) -> forall t, decay t != 0.
Proof. by move=> nz; elim=> [|t IH] /=; rewrite ?oner_eq0 ?mulf_neq0. Qed.

(** Dividing out the decay leaves the ungated recurrence of T12, on a 1 x K memory. *)
Lemma unprojected_memory d1 : (forall t, gamma t != 0) -> forall t,
  unprojected eta w gamma c d1 s t - c =
  decay t *: memory s (fun=> ones R n) (fun t => const_mx ((1 - dot c (s t)) / decay t))
    (fun t => eta * w t / gamma t) (d1 - c) t.
Proof.
move=> nz; elim=> [|t IH]; first by rewrite /= scale1r.
have gt := nz t; have pt := decay_neq0 nz t.
rewrite [LHS]/= T11_is_a_write // IH memoryS; move: (memory _ _ _ _ _ t) => m.
rewrite /write had1l scalerDr !scalerA -[decay t.+1]/(gamma t * decay t); congr (_ + _).
rewrite !scalemxAl; congr (_ *m _); rewrite /residual; apply/rowP => i; rewrite (ord1 i).
rewrite (linearZ _ m) /= -scalemxAr dot_mx !mxE eqxx /= mulr1n; field.
by apply/andP.
Qed.

(** T11, chunk form. For any C and t0, one C x C unit lower triangular solve gives the unprojected iterates: with
    rows s_t, gates eta w_t / gamma_t and targets (1 - <c, s_t>) / decay_t, the iterate handed on is
    c + decay (H + S^T X)^T. *)
Theorem T11_chunk_form d1 t0 C : (forall t, gamma t != 0) ->
  unprojected eta w gamma c d1 s (t0 + C) =
  c + decay (t0 + C) *: (chunk_next s (fun=> ones R n) (fun t => const_mx ((1 - dot c (s t)) / decay t))
    (fun t => eta * w t / gamma t) (d1 - c) t0 C)^T.
Proof.
by move=> nz; rewrite T12_chunk_state trmxK -unprojected_memory // add_diff.
Qed.

End Chunks.
