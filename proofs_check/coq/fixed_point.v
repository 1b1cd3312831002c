(** T15: with unit keys the all-ones preconditioner is a fixed point, and OSDN is DeltaNet. *)
From mathcomp Require Import all_ssreflect all_algebra.
From OSDN Require Import definitions vectors projection chunk.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section FixedPoint.
Variables (R : realFieldType) (n : nat).
Variables (eta : R) (lo hi : 'rV[R]_n).

(** A preconditioner with <u, s_t> = 1 for all t never moves. *)
Lemma fixed_path (u : 'rV[R]_n) (s : nat -> 'rV[R]_n) :
  in_box lo hi u -> (forall t, dot u (s t) = 1) -> forall t, path eta lo hi u s t = u.
Proof.
move=> box fit; elim=> [|t IH] //=.
rewrite IH /calibrate /calibrate_free fit subrr mulr0 scale0r addr0 scale1r add_diff.
exact: clip_id.
Qed.

Variable (k : nat -> 'rV[R]_n).
Hypothesis unit_keys : forall t, norm_sq (k t) = 1.
Hypothesis ones_in_box : in_box lo hi (ones R n).

Let d := path eta lo hi (ones R n) (fun t => feature (k t)).

(** T15. Unit keys, gamma = 1, d_1 = 1 and a box that contains 1: d_t = 1 for all t, whatever eta. *)
Theorem T15_identity_fixed_point t : d t = ones R n.
Proof. by apply: fixed_path => // t'; rewrite dot_ones_feature unit_keys. Qed.

(** T15. Every write is then DeltaNet's: S + beta (v - S k) k^T. *)
Theorem T15_write_is_deltanet p (S : 'M[R]_(p, n)) v beta t :
  write S (k t) v (d t) beta = S + beta *: ((residual S (k t) v)^T *m k t).
Proof. by rewrite T15_identity_fixed_point /write had1l. Qed.

(** T15. OSDN and DeltaNet (d = 1 throughout) keep the same memory and give the same outputs, for ever. *)
Theorem T15_osdn_is_deltanet p (v : nat -> 'rV[R]_p) beta S0 t :
  memory k d v beta S0 t = memory k (fun=> ones R n) v beta S0 t.
Proof. by elim: t => [|t IH] //=; rewrite IH T15_identity_fixed_point. Qed.

End FixedPoint.
