(** T24: the surrogate does not see how keys overlap. Of two preconditioners that both make it zero, OSDN stays where it
    started, while the other may recall every pair. *)
From mathcomp Require Import all_ssreflect all_algebra.
From OSDN Require Import definitions vectors token chunk fixed_point.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Blind.
Variables (R : realFieldType) (p n : nat).

(** T24. A start of the box with <d_1, s_t> = 1 for all t never moves, whatever other preconditioners would do. *)
Theorem T24_stays (eta : R) (lo hi d1 : 'rV[R]_n) (s : nat -> 'rV[R]_n) t :
  in_box lo hi d1 -> (forall t, dot d1 (s t) = 1) -> path eta lo hi d1 s t = d1.
Proof. by move=> box fit; exact: fixed_path. Qed.

(** T24. A static u with <u * k_i, k_j> = 1 for i = j and 0 else recalls every pair, each written once with beta = 1. *)
Theorem T24_static_recalls (k : nat -> 'rV[R]_n) (v : nat -> 'rV[R]_p) (u : 'rV[R]_n) (S0 : 'M[R]_(p, n)) T :
  (forall i j, (i < T)%N -> (j < T)%N -> dot (had u (k i)) (k j) = (i == j)%:R) ->
  forall t, (t < T)%N -> residual (memory k (fun=> u) v (fun=> 1) S0 T) (k t) (v t) = 0.
Proof.
move=> apart; suff recalls m : (m <= T)%N -> forall t, (t < m)%N ->
    residual (memory k (fun=> u) v (fun=> 1) S0 m) (k t) (v t) = 0 by exact: recalls.
elim: m => // m IH mT t tm; rewrite memoryS /write scale1r residualD read_rank1 dotC apart ?(leq_trans tm mT) //.
have [->|other] := eqVneq m t; first by rewrite scale1r subrr.
by rewrite scale0r subr0 IH ?(ltnW mT) // ltn_neqAle eq_sym other -ltnS.
Qed.

End Blind.
