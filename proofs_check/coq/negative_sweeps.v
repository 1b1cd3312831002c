(** What fails when a hypothesis of T29 is dropped, or its certificate: counterexamples with one feature, from d_1 = 1
    in the box [-10, 10], over any real field. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors projection scan driven sweeps one_feature.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Negative.
Variable R : realFieldType.
Implicit Types (eta : R) (gamma x u v : nat -> R).

(** Gains wanted of a run with one feature, no anchor and plain feedback, and the scan's own. *)
Definition phi1 eta gamma x u := phi eta (fun=> 1) gamma 0 (one (- 10)) (one 10) (one 1) (fun t => one (x t)) u.
Definition scan_gain1 eta gamma x :=
  scan_gain eta (fun=> 1) gamma 0 (one (- 10)) (one 10) (one 1) (fun t => one (x t)).
Definition coupling1 eta gamma x := gain_coupling eta (fun=> 1) gamma (fun t => one (x t)).

(** Its iterates, as numbers. *)
Fixpoint iterate gamma x u t : R := if t is t'.+1 then
  clip1 (- 10) 10 (gamma t' * iterate gamma x u t' + u t' * x t') else 1.

Lemma phi1E eta gamma x u t : phi1 eta gamma x u t = eta * (1 - iterate gamma x u t * x t).
Proof.
rewrite /phi1 /phi /sweep /gain_of mulr1; congr (_ * (1 - _)); rewrite -dot_one; congr dot.
elim: t => //= t ->; apply/rowP => i; rewrite !mxE; congr clip1; ring.
Qed.

Lemma clip_count p : (p <= 10)%N -> clip1 (- 10) 10 p%:R = p%:R :> R.
Proof. by move=> le; rewrite clip1_id // ler_nat le (le_trans _ (ler0n _ p)) // oppr_le0 ler0n. Qed.

Lemma clip_opp_count p : (p <= 10)%N -> clip1 (- 10) 10 (- p%:R) = - p%:R :> R.
Proof.
by move=> le; rewrite clip1_id // ler_opp2 ler_nat le (@le_trans _ _ 0) ?oppr_le0 ?ler0n.
Qed.

(** Keys at rest: features 1 and no forgetting keep d = 1, so that the scan's gains are zero. *)
Lemma rest_gain eta t : scan_gain1 eta (fun=> 1) (fun=> 1) t = 0.
Proof.
rewrite /scan_gain1 -(@T29_only_fixed_point _ _ _ _ _ _ _ _ _ _ (fun=> 0) t.+1) // => j _.
rewrite -/(phi1 eta (fun=> 1) (fun=> 1) (fun=> 0) j) phi1E.
suff -> : iterate (fun=> 1) (fun=> 1) (fun=> 0) j = 1 by rewrite mulr1 subrr mulr0.
by elim: j => //= j ->; rewrite mul0r addr0 mulr1 (clip_count (isT : (1 <= 10)%N)).
Qed.

(** T29 (i): m sweeps may leave gain number m + 1 wrong. One sweep from (1, ...) leaves the second at -1, not 0. *)
Theorem T29_needs_another_sweep :
  exists u : nat -> R,
    iter 1 (phi1 1 (fun=> 1) (fun=> 1)) u 1%N = - 1 /\ scan_gain1 1 (fun=> 1) (fun=> 1) 1 = 0.
Proof.
exists (fun=> 1); split; last exact: rest_gain.
by rewrite [iter _ _ _]/= phi1E /= !mulr1 (_ : 1 + 1 = 2%:R) ?(clip_count (isT : (2 <= 10)%N)) //; ring.
Qed.

(** T29: with its signs N is no bound: write gates of both signs, as beta-aware feedback may have them, make the
    features 1 and -1. The second gains of two starts differ by 1; <x_2, x_1> |u_1 - v_1| is -1. *)
Theorem T29_needs_magnitudes :
  exists x u v : nat -> R,
    \sum_(j < 1) dot (one (x 1%N)) (one (x j)) * `|u j - v j| = - 1 /\
    `|phi1 1 (fun=> 1) x u 1%N - phi1 1 (fun=> 1) x v 1%N| = 1.
Proof.
exists (fun t => if t is 0%N then 1 else - 1), (fun=> 1), (fun=> 0); split.
  by rewrite big_ord1 dot_one subr0 normr1; ring.
rewrite !phi1E /= !mulr1 addr0 (_ : 1 + 1 = 2%:R) // (clip_count (isT : (2 <= 10)%N)) (clip_count (isT : (1 <= 10)%N)).
by rewrite (_ : 1 * _ - 1 * _ = 1) ?normr1 //; ring.
Qed.

(** T29: forgetting factors below 0 make entries of N negative. With features (1, 0, 1) and factor -1 in between, the
    third gains of two starts differ by 1; N says -1. *)
Theorem T29_needs_nonnegative_gates :
  exists gamma x u v : nat -> R,
    \sum_(j < 2) coupling1 1 gamma x 2 j * `|u j - v j| = - 1 /\
    `|phi1 1 gamma x u 2%N - phi1 1 gamma x v 2%N| = 1.
Proof.
exists (fun t => if t is 1%N then - 1 else 1), (fun t => if t is 1%N then 0 else 1), (fun=> 1), (fun=> 0); split.
  rewrite !big_ord_recr big_ord0 /= /coupling1 /gain_coupling big_nat1 big_geq //= !mulr1 subr0 normr1.
  have mag0 : magnitude (one 0) = one 0 :> 'rV[R]_1 by apply/rowP => i; rewrite !mxE normr0.
  have mag1 : magnitude (one 1) = one 1 :> 'rV[R]_1 by apply/rowP => i; rewrite !mxE normr1.
  by rewrite mag0 mag1 !dot_one; ring.
rewrite !phi1E /= (_ : 1 * 1 + 1 * 1 = 2%:R); last by ring.
rewrite (_ : 1 * 1 + 0 * 1 = 1%:R); last by ring.
rewrite (clip_count (isT : (2 <= 10)%N)) (clip_count (isT : (1 <= 10)%N)).
rewrite (_ : - 1 * 2%:R + 1 * 0 = - 2%:R); last by ring.
rewrite (_ : - 1 * 1%:R + 0 * 0 = - 1%:R); last by ring.
rewrite (clip_opp_count (isT : (2 <= 10)%N)) (clip_opp_count (isT : (1 <= 10)%N)).
by rewrite (_ : 1 * _ - 1 * _ = 1) ?normr1 //; ring.
Qed.

(** The scan's gains drive its own iterates. *)
Lemma scan_gain1E eta gamma x t :
  scan_gain1 eta gamma x t = eta * (1 - iterate gamma x (scan_gain1 eta gamma x) t * x t).
Proof. by rewrite -phi1E [RHS]T29_fixed_point. Qed.

(** T29 (ii): the factorial bound needs keys of length at most 1. With keys of length 2 (features 4) and eta = 1/4, one
    sweep turns a start that is off by 1 everywhere into a second gain that is off by 4; eta t = 1/4. *)
Theorem T29_needs_unit_keys : exists u : nat -> R,
  let u_star := scan_gain1 4%:R^-1 (fun=> 1) (fun=> 4%:R) in
  (forall j, `|u j - u_star j| = 1) /\ `|phi1 4%:R^-1 (fun=> 1) (fun=> 4%:R) u 1%N - u_star 1%N| = 4%:R.
Proof.
set v := scan_gain1 _ _ _; exists (fun j => v j + 1) => /=; split; first by move=> j; rewrite addrAC subrr add0r normr1.
have v0 : v 0%N = - (3%:R / 4%:R) by rewrite /v scan_gain1E /=; field.
rewrite [v 1%N]scan_gain1E phi1E -/v /= v0 !mulr1.
have -> : 1 + (- (3%:R / 4%:R) + 1) * 4%:R = 2%:R :> R by field.
have -> : 1 + - (3%:R / 4%:R) * 4%:R = - 2%:R :> R by field.
rewrite (clip_count (isT : (2 <= 10)%N)) (clip_opp_count (isT : (2 <= 10)%N)).
have -> : 4%:R^-1 * (1 - 2%:R * 4%:R) - 4%:R^-1 * (1 - - 2%:R * 4%:R) = - 4%:R :> R by field.
by rewrite normrN ger0_norm ?ler0n.
Qed.

(** ... write gates of size at most 1, where the feedback is beta-aware: with gate 2, a unit key (feature 2) and eta = 1
    the second gain is off by 4; eta t = 1. *)
Theorem T29_needs_small_write_gates : exists u : nat -> R,
  let u_star := scan_gain1 1 (fun=> 1) (fun=> 2%:R) in
  (forall j, `|u j - u_star j| = 1) /\ `|phi1 1 (fun=> 1) (fun=> 2%:R) u 1%N - u_star 1%N| = 4%:R.
Proof.
set v := scan_gain1 _ _ _; exists (fun j => v j + 1) => /=; split; first by move=> j; rewrite addrAC subrr add0r normr1.
have v0 : v 0%N = - 1 by rewrite /v scan_gain1E /=; ring.
rewrite [v 1%N]scan_gain1E phi1E -/v /= v0 !mulr1.
have -> : 1 + (- 1 + 1) * 2%:R = 1%:R :> R by ring.
have -> : 1 + - 1 * 2%:R = - 1%:R :> R by ring.
rewrite (clip_count (isT : (1 <= 10)%N)) (clip_opp_count (isT : (1 <= 10)%N)).
have -> : 1 * (1 - 1%:R * 2%:R) - 1 * (1 - - 1%:R * 2%:R) = - 4%:R :> R by ring.
by rewrite normrN ger0_norm ?ler0n.
Qed.

(** ... and forgetting factors of at most 1: with factor 4 after the second token, eta = 1, the third gain is off by 4
    where only the first was off, by 1; eta t = 2. *)
Theorem T29_needs_gates_at_most_one : exists gamma u : nat -> R,
  let u_star := scan_gain1 1 gamma (fun=> 1) in
  (forall j, `|u j - u_star j| <= 1) /\ `|phi1 1 gamma (fun=> 1) u 2%N - u_star 2%N| = 4%:R.
Proof.
pose gamma t : R := if t is 1%N then 4%:R else 1; set v := scan_gain1 1 gamma (fun=> 1).
exists gamma, (fun j => if j is 0%N then v 0%N + 1 else v j); split.
  by case=> [|j]; rewrite ?subrr ?normr0 ?ler01 // addrAC subrr add0r normr1.
have v0 : v 0%N = 0 by rewrite /v scan_gain1E /=; ring.
have v1 : v 1%N = 0.
  by rewrite /v scan_gain1E /= -/v v0 mul0r addr0 !mulr1 (clip_count (isT : (1 <= 10)%N)) subrr mulr0.
rewrite [scan_gain1 _ _ _ _]scan_gain1E phi1E -/v /= v0 v1 !mul0r !addr0 !mulr1 add0r (_ : 1 + 1 = 2%:R) //.
rewrite (clip_count (isT : (2 <= 10)%N)) (clip_count (isT : (1 <= 10)%N)) -natrM mulr1.
rewrite (clip_count (isT : (8 <= 10)%N)) (clip_count (isT : (4 <= 10)%N)).
by rewrite (_ : 1 * (_ - _) - _ = - 4%:R) ?normrN ?ger0_norm ?ler0n //; ring.
Qed.

(** T29 (iii): the increment times N alone is no bound, the inverse is needed. At rest, eta = 3: from (1, -3, 0) one
    sweep gives (0, -3, 6), while the scan's gains are 0; N times the increment is 3 at the third token. *)
Theorem T29_needs_the_inverse : exists u : nat -> R,
  let swept := phi1 3%:R (fun=> 1) (fun=> 1) u in
  `|swept 2%N - scan_gain1 3%:R (fun=> 1) (fun=> 1) 2| = 6%:R /\
  \sum_(j < 2) coupling1 3%:R (fun=> 1) (fun=> 1) 2 j * `|swept j - u j| = 3%:R.
Proof.
have mag1 : magnitude (one 1) = one 1 :> 'rV[R]_1 by apply/rowP => i; rewrite !mxE normr1.
exists (fun j => if j is 0%N then 1 else if j is 1%N then - 3%:R else 0); split.
  rewrite rest_gain subr0 phi1E /= (_ : 1 * 1 + 1 * 1 = 2%:R); last by ring.
  rewrite (clip_count (isT : (2 <= 10)%N)).
  have -> : 1 * 2%:R + - 3%:R * 1 = - 1%:R :> R by ring.
  rewrite (clip_opp_count (isT : (1 <= 10)%N)).
  have -> : 3%:R * (1 - - 1%:R * 1) = 6%:R :> R by ring.
  by rewrite ger0_norm ?ler0n.
rewrite !big_ord_recr big_ord0 /= /coupling1 /gain_coupling !big1 // !mag1 dot_one !phi1E /=.
rewrite (_ : 1 * 1 + 1 * 1 = 2%:R); last by ring.
rewrite (clip_count (isT : (2 <= 10)%N)) !mulr1 subrr mulr0 sub0r normrN normr1.
have -> : 3%:R * (1 - 2%:R) - - 3%:R = 0 :> R by ring.
by rewrite normr0; ring.
Qed.

End Negative.
