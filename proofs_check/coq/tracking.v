(** T14: the regret of the calibrate steps against comparators that move inside the box. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token sums projection regret agnostic.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Norm.
Variables (R : rcfType) (n : nat).
Implicit Types u v w x y lo hi : 'rV[R]_n.

(** |u| *)
Definition norm u : R := Num.sqrt (norm_sq u).

Lemma norm_ge0 u : 0 <= norm u.
Proof. exact: sqrtr_ge0. Qed.

Lemma norm0 : norm 0 = 0.
Proof. by rewrite /norm norm_sq0 sqrtr0. Qed.

(** <u, v> <= |u| |v| *)
Lemma dot_le_norm u v : dot u v <= norm u * norm v.
Proof.
apply: (le_trans (ler_norm _)); rewrite -sqrtr_sqr -sqrtrM ?norm_sq_ge0 //.
exact: ler_wsqrtr (cauchy_schwarz u v).
Qed.

(** No two points of the box are further apart than its corners. *)
Lemma box_diameter lo hi x y : in_box lo hi x -> in_box lo hi y -> norm (x - y) <= norm (hi - lo).
Proof.
move=> x_box y_box; apply: ler_wsqrtr; rewrite !norm_sqE; apply: ler_sum => i _; rewrite !mxE.
have /andP[lo_x x_hi] := x_box i; have /andP[lo_y y_hi] := y_box i.
have lo_hi := le_trans lo_x x_hi.
rewrite -[X in X <= _]real_normK ?num_real // -[X in _ <= X]real_normK ?num_real //.
apply: ler_expn2r; rewrite ?nnegrE // (ger0_norm (_ : 0 <= hi 0 i - lo 0 i)) ?subr_ge0 //.
by rewrite ler_norml opprB !ler_sub.
Qed.

(** Changing the comparator from u to v costs at most twice the diameter times |v - u|. *)
Lemma move_comparator lo hi x u v : in_box lo hi x -> in_box lo hi u -> in_box lo hi v ->
  norm_sq (x - v) <= norm_sq (x - u) + 2 * norm (hi - lo) * norm (v - u).
Proof.
move=> x_box u_box v_box; set w := u - v; set r := norm (hi - lo).
have -> : norm (v - u) = norm w by rewrite /norm norm_sqBC.
have along y : in_box lo hi y -> dot (x - y) w <= r * norm w.
  move=> y_box; apply: (le_trans (dot_le_norm _ _)).
  by rewrite ler_wpmul2r ?norm_ge0 // box_diameter.
have -> : norm_sq (x - v) = norm_sq (x - u) + (dot (x - u) w + dot (x - v) w).
  by rewrite /w !dotBl !dotBr !norm_sqB /norm_sq (dotC v u); atoms; ring.
rewrite ler_add2l; apply: (le_same_slack (ler_add (along u u_box) (along v v_box))); ring.
Qed.

End Norm.

Section Tracking.
Variables (R : rcfType) (n : nat).
Variables (eta M : R) (lo hi d1 : 'rV[R]_n) (u s : nat -> 'rV[R]_n) (T : nat).
Notation d := (path eta lo hi d1 s).

(** With one comparator more than there are tokens: the last move is paid for too. *)
Lemma tracking_closed :
  (forall t, in_box lo hi (u t)) -> (forall t, (t < T)%N -> norm_sq (s t) <= M) -> 0 < eta -> eta * M < 1 ->
  \sum_(t < T) surrogate (d t) (s t) <=
  (\sum_(t < T) surrogate (u t) (s t) +
    (norm_sq (d1 - u 0%N) + 2 * norm (hi - lo) * \sum_(t < T) norm (u t.+1 - u t)) / (2 * eta)) / (1 - eta * M).
Proof.
move=> box small eta_gt0 eta_M; apply: divide_regret; rewrite ?subr_gt0 // !mulr_sumr -addrA.
have step t : (t < T)%N ->
    norm_sq (d t.+1 - u t.+1) + 2 * eta * (1 - eta * M) * surrogate (d t) (s t) <=
    norm_sq (d t - u t) + (2 * norm (hi - lo) * norm (u t.+1 - u t) + 2 * eta * surrogate (u t) (s t)).
  move=> lt; have next_box : in_box lo hi (d t.+1) by apply: clip_in_box (box t).
  have moved := move_comparator next_box (box t) (box t.+1).
  have paid := agnostic_step (d t) (box t) (small _ lt) (ltW eta_gt0).
  by apply: (le_same_slack (ler_add moved paid)); atoms; ring.
have := potential_sum step; rewrite [X in _ <= _ + X]big_split; apply: le_trans.
by rewrite ler_addr norm_sq_ge0.
Qed.

End Tracking.

Section Theorems.
Variables (R : rcfType) (n : nat).
Implicit Types (eta M : R) (lo hi : 'rV[R]_n) (u s : nat -> 'rV[R]_n) (T : nat).

(** T14. Comparators u_0 ... u_{T-1} in the box, with path length P = sum_{t < T-1} |u_{t+1} - u_t|, and the diameter
    r = |hi - lo| of the box. If |s_t|^2 <= M for all t < T and 0 < eta < 1/M, then
    sum_{t < T} l_t(d_t) <= (sum_{t < T} l_t(u_t) + (|d_1 - u_0|^2 + 2 r P) / (2 eta)) / (1 - eta M).
    The start d_1 may lie outside the box: only later iterates meet a comparator that moves. *)
Theorem T14_tracking eta M lo hi (d1 : 'rV[R]_n) u s T :
  (forall t, (t < T)%N -> in_box lo hi (u t)) ->
  (forall t, (t < T)%N -> norm_sq (s t) <= M) ->
  0 < eta -> eta * M < 1 ->
  \sum_(t < T) surrogate (path eta lo hi d1 s t) (s t) <=
  (\sum_(t < T) surrogate (u t) (s t) +
    (norm_sq (d1 - u 0%N) + 2 * norm (hi - lo) * \sum_(t < T.-1) norm (u t.+1 - u t)) / (2 * eta)) /
  (1 - eta * M).
Proof.
case: T => [|T] box small eta_gt0 eta_M.
  by rewrite !big_ord0 mulr0 addr0 add0r !divr_ge0 ?norm_sq_ge0 ?mulr_ge0 ?ler0n ?subr_ge0 ?ltW.
pose held t := u (minn t T).
have held_box t : in_box lo hi (held t) by apply: box; rewrite ltnS geq_minr.
have heldE t : (t <= T)%N -> held t = u t by move=> le; rewrite /held (minn_idPl le).
have held_last : held T.+1 = u T by rewrite /held (minn_idPr (leqnSn T)).
have moves : \sum_(t < T.+1) norm (held t.+1 - held t) = \sum_(t < T) norm (u t.+1 - u t).
  rewrite big_ord_recr /= held_last heldE // subrr norm0 addr0.
  by apply: eq_bigr => t _; rewrite !heldE // ltnW.
have losses : \sum_(t < T.+1) surrogate (held t) (s t) = \sum_(t < T.+1) surrogate (u t) (s t).
  by apply: eq_bigr => t _; rewrite heldE // -ltnS.
by have := tracking_closed d1 held_box small eta_gt0 eta_M; rewrite moves losses heldE.
Qed.

End Theorems.
