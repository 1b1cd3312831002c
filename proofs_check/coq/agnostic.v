(** T8: the regret of the calibrate steps against any point of the box. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token sums projection regret.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Step.
Variables (R : realFieldType) (n : nat).
Implicit Types (d s u lo hi : 'rV[R]_n) (eta M : R).

(** One calibrate step, in losses: the distance to u pays for 2 eta (1 - eta M) l(d) and is refilled by 2 eta l(u). *)
Lemma agnostic_step eta M lo hi d s u : in_box lo hi u -> norm_sq s <= M -> 0 <= eta ->
  norm_sq (calibrate eta 1 1 0 lo hi d s - u) + 2 * eta * (1 - eta * M) * surrogate d s <=
  norm_sq (d - u) + 2 * eta * surrogate u s.
Proof.
move=> box small eta_ge0.
apply: (le_trans (ler_add (step_distance eta d s box) (lexx _))); rewrite -subr_ge0 dotBl.
have -> : norm_sq (d - u) + 2 * eta * surrogate u s -
    (norm_sq (d - u) + 2 * eta * (1 - dot d s) * (dot d s - dot u s)
     + eta ^+ 2 * (1 - dot d s) ^+ 2 * norm_sq s + 2 * eta * (1 - eta * M) * surrogate d s)
  = eta * (dot d s - dot u s) ^+ 2 + eta ^+ 2 * (1 - dot d s) ^+ 2 * (M - norm_sq s).
  by rewrite /surrogate; atoms; field.
apply: addr_ge0; apply: mulr_ge0; rewrite ?subr_ge0 ?sqr_ge0 //.
by rewrite -exprMn sqr_ge0.
Qed.

End Step.

Section Theorems.
Variables (R : realFieldType) (n : nat).
Implicit Types (eta M : R) (lo hi u : 'rV[R]_n) (T : nat).

(** From the telescoped form to the regret: 2 eta m A <= D + 2 eta B. *)
Lemma divide_regret eta (m A B D : R) : 0 < eta -> 0 < m ->
  2 * eta * m * A <= D + 2 * eta * B -> A <= (B + D / (2 * eta)) / m.
Proof.
move=> eta_gt0 m_gt0 le; have two_eta : 0 < 2 * eta by rewrite mulr_gt0 ?ltr0n.
rewrite ler_pdivl_mulr // -(ler_pmul2l two_eta) mulrDr (mulrC _ (D / _)) divfK ?gt_eqF //.
by rewrite addrC (mulrC A) mulrA.
Qed.

(** T8. For any point u of the box, if |s_t|^2 <= M for all t < T and 0 < eta < 1/M, then
    sum_{t < T} l_t(d_t) <= (sum_{t < T} l_t(u) + |d_1 - u|^2 / (2 eta)) / (1 - eta M). The start d_1 may lie outside
    the box. *)
Theorem T8_agnostic_regret eta M lo hi u (d1 : 'rV[R]_n) (s : nat -> 'rV[R]_n) T :
  in_box lo hi u ->
  (forall t, (t < T)%N -> norm_sq (s t) <= M) ->
  0 < eta -> eta * M < 1 ->
  \sum_(t < T) surrogate (path eta lo hi d1 s t) (s t) <=
  (\sum_(t < T) surrogate u (s t) + norm_sq (d1 - u) / (2 * eta)) / (1 - eta * M).
Proof.
move=> box small eta_gt0 eta_M; apply: divide_regret; rewrite ?subr_gt0 //.
rewrite !mulr_sumr; set d := path eta lo hi d1 s.
have step t : (t < T)%N ->
    norm_sq (d t.+1 - u) + 2 * eta * (1 - eta * M) * surrogate (d t) (s t) <=
    norm_sq (d t - u) + 2 * eta * surrogate u (s t).
  by move=> lt; apply: agnostic_step; rewrite ?small ?ltW.
apply: le_trans (potential_sum step); rewrite ler_addr norm_sq_ge0 //.
Qed.

End Theorems.
