(** OSDN in Coq: the objects that every theorem of this library speaks of.

    A key, a value and a preconditioner are row vectors; the memory S is V x K, as on the theory page, so that the
    read S k is [k *m S^T] as a row. Everything is over any real field; square roots need a real closed one. *)
From mathcomp Require Import all_ssreflect all_algebra.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Vectors.
Variables (R : comRingType) (n : nat).
Implicit Types u v : 'rV[R]_n.

(** <u, v> *)
Definition dot u v : R := \sum_i u 0 i * v 0 i.

(** |u|^2 *)
Definition norm_sq u : R := dot u u.

(** u * v, entry by entry *)
Definition had u v : 'rV[R]_n := \row_i (u 0 i * v 0 i).

(** s = k * k, the feature vector of the preconditioner's own problem *)
Definition feature u : 'rV[R]_n := had u u.

End Vectors.

Section Matrices.
Variables (R : comRingType) (p n : nat).
Implicit Types A B : 'M[R]_(p, n).

(** <A, B> = tr (A B^T) *)
Definition inner A B : R := \tr (A *m B^T).

(** |A|_F^2 *)
Definition frob_sq A : R := inner A A.

End Matrices.

Section Token.
Variables (R : realFieldType) (p n : nat).
Implicit Types (S : 'M[R]_(p, n)) (k d s c : 'rV[R]_n) (v : 'rV[R]_p) (beta eta gamma w : R).

(** v - S k *)
Definition residual S k v : 'rV[R]_p := v - k *m S^T.

(** f(S) = |S k - v|^2 / 2 *)
Definition token_loss S k v : R := norm_sq (residual S k v) / 2.

(** (S k - v) k^T *)
Definition token_gradient S k v : 'M[R]_(p, n) := (- residual S k v)^T *m k.

(** S - beta (S k - v) (d * k)^T *)
Definition write S k v d beta : 'M[R]_(p, n) :=
  S + beta *: ((residual S k v)^T *m had d k).

(** a = <d, s> *)
Definition alignment d s : R := dot d s.

(** l(d) = (1 - <d, s>)^2 / 2 *)
Definition surrogate d s : R := (1 - dot d s) ^+ 2 / 2.

(** - (1 - <d, s>) s *)
Definition surrogate_gradient d s : 'rV[R]_n := - ((1 - dot d s) *: s).

(** One coordinate of the projection onto [lo, hi]. *)
Definition clip1 (lo hi x : R) : R := Num.min (Num.max x lo) hi.

(** The projection onto the box. *)
Definition clip (lo hi : 'rV[R]_n) d : 'rV[R]_n := \row_i clip1 (lo 0 i) (hi 0 i) (d 0 i).

(** Membership in the box, which may have a side of its own for every feature. *)
Definition in_box (lo hi : 'rV[R]_n) d : Prop := forall i, lo 0 i <= d 0 i <= hi 0 i.

(** c + gamma (d - c) + eta w (1 - <d, s>) s: the calibrate step before the projection. *)
Definition calibrate_free eta w gamma c d s : 'rV[R]_n :=
  c + gamma *: (d - c) + (eta * w * (1 - dot d s)) *: s.

(** The calibrate step. *)
Definition calibrate eta w gamma c lo hi d s : 'rV[R]_n :=
  clip lo hi (calibrate_free eta w gamma c d s).

End Token.

Section Scan.
Variables (R : realFieldType) (n : nat).
Variables (eta : R) (w gamma : nat -> R) (c lo hi d1 : 'rV[R]_n) (x : nat -> 'rV[R]_n).

(** d_1, d_2, ...: token t is number t, from 0, and is written with [scan t]. Every preconditioner of this library is
    this one: with feedback weights w, forgetting factors gamma towards the anchor c, the box, and features x, which are
    s_t, or beta_t s_t for beta-aware feedback. *)
Fixpoint scan (t : nat) : 'rV[R]_n :=
  if t is t'.+1 then calibrate eta (w t') (gamma t') c lo hi (scan t') (x t') else d1.

End Scan.

(** Plain OSDN: w = gamma = 1. *)
Notation path eta lo hi d1 s := (scan eta (fun=> 1) (fun=> 1) 0 lo hi d1 s).

Section Trajectory.
Variables (R : realFieldType) (n : nat).
Variables (eta : R) (lo hi : 'rV[R]_n) (d1 : 'rV[R]_n) (s : nat -> 'rV[R]_n).

(** 1 - a_t *)
Definition gap (t : nat) : R := 1 - dot (path eta lo hi d1 s t) (s t).

End Trajectory.

Section Memory.
Variables (R : realFieldType) (p n : nat).
Variables (k d : nat -> 'rV[R]_n) (v : nat -> 'rV[R]_p) (beta : nat -> R) (S0 : 'M[R]_(p, n)).

(** S_0, S_1, ...: the memory before token t, which is written with d t and beta t. *)
Fixpoint memory (t : nat) : 'M[R]_(p, n) :=
  if t is t'.+1 then write (memory t') (k t') (v t') (d t') (beta t') else S0.

End Memory.
