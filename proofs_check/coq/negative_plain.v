(** T27 without forgetting: plain OSDN at eta = 1, whose error grows for ever although every write contracts. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors projection chunk negative_stability.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(** x, y, z, x, y, z, ... *)
Definition in_turn A (x y z : A) (t : nat) : A :=
  if (t %% 3 == 0)%N then x else if (t %% 3 == 1)%N then y else z.

Section PlainGrowth.
Variable R : realFieldType.

Let key1 : 'rV[R]_2 := pair_row 1 0.
Let key2 : 'rV[R]_2 := pair_row (5 / 4) (3 / 4).
Let key3 : 'rV[R]_2 := pair_row (3 / 2) (3 / 4).
Let key := in_turn key1 key2 key3.
Let lo : 'rV[R]_2 := const_mx (2 / 3).
Let hi : 'rV[R]_2 := const_mx (3 / 2).
Let high : 'rV[R]_2 := pair_row 1 (2 / 3).
Let d := path 1 lo hi lo (fun t => feature (key t)).
Let S := memory key d (fun=> 0 : 'rV[R]_1) (fun=> 1) (pair_row 0 1).

Lemma clip_low x : x <= 2 / 3 -> clip1 (2 / 3) (3 / 2) x = 2 / 3 :> R.
Proof. by move=> small; rewrite /clip1 max_r // min_l // quotient_le. Qed.

Lemma calibrated_plain : [/\ calibrate 1 1 1 0 lo hi lo (feature key1) = high,
  calibrate 1 1 1 0 lo hi high (feature key2) = lo & calibrate 1 1 1 0 lo hi lo (feature key3) = lo].
Proof.
have loE : lo = pair_row (2 / 3) (2 / 3) by apply/rowP => i; rewrite !mxE; case: ifP.
have clip_below (a b : nat) x : (0 < b)%N -> x = 2 / 3 - a%:R / b%:R -> clip1 (2 / 3) (3 / 2) x = 2 / 3 :> R.
  by move=> b_gt0 ->; rewrite clip_low // ger_addl oppr_le0 divr_ge0 ?ler0n.
split; rewrite /calibrate /calibrate_free /feature loE !had_pair dot_pair; apply/rowP => i; rewrite !mxE; case: ifP => _.
- rewrite (_ : _ + _ = 1 :> R); last by field.
  by rewrite clip1_id // ler_pdivr_mulr ?ltr0n // ler_pdivl_mulr ?ltr0n // !mul1r !ler_nat.
- by rewrite (_ : _ + _ = 2 / 3 :> R) ?clip_low //; field.
- by rewrite (clip_below 869%N 768%N) //; field.
- by rewrite (clip_below 135%N 256%N) //; field.
- by rewrite (clip_below 63%N 32%N) //; field.
- by rewrite (clip_below 63%N 128%N) //; field.
Qed.

Lemma keys_in_turn m : [/\ key (m * 3) = key1, key (m * 3).+1 = key2 & key (m * 3).+2 = key3].
Proof.
have keyE j : key (m * 3 + j) = key j by rewrite /key /in_turn modnMDl.
by split; [rewrite -[(m * 3)%N]addn0|rewrite -[(m * 3).+1]addn1|rewrite -[(m * 3).+2]addn2]; rewrite keyE.
Qed.

Lemma d_periodic m : [/\ d (m * 3) = lo, d (m * 3).+1 = high & d (m * 3).+2 = lo].
Proof.
have [step1 step2 step3] := calibrated_plain.
have dS t : d t.+1 = calibrate 1 1 1 0 lo hi (d t) (feature (key t)) by [].
suff d0 : d (m * 3) = lo by have [k1 k2 _] := keys_in_turn m; rewrite !dS d0 k1 step1 k2 step2.
elim: m => [//|m IH]; have [k1 k2 k3] := keys_in_turn m.
by rewrite mulSnr addn3 !dS IH k1 step1 k2 step2 k3 step3.
Qed.

Lemma write_row t : S t.+1 = S t - dot (key t) (S t) *: had (d t) (key t).
Proof.
rewrite /S memoryS -/S /write /residual sub0r scale1r dot_mx linearN /= mulNmx tr_scalar_mx mul_scalar_mx.
by [].
Qed.

(** Over a period the second coordinate of the state is multiplied by 35/32, and the first is 0 again. *)
Lemma grows_in_turn m : S (m * 3) = pair_row 0 ((35 / 32) ^+ m).
Proof.
elim: m => [|m IH]; first by rewrite expr0.
have [k1 k2 k3] := keys_in_turn m; have [d1 d2 d3] := d_periodic m.
have loE : lo = pair_row (2 / 3) (2 / 3) by apply/rowP => i; rewrite !mxE; case: ifP.
rewrite exprS mulSnr addn3; move: ((35 / 32) ^+ m) IH => g IH.
have first : S (m * 3).+1 = pair_row 0 g.
  by rewrite write_row IH k1 dot_pair mulr0 mul0r addr0 scale0r subr0.
have second : S (m * 3).+2 = pair_row (- (15 / 16) * g) (5 / 8 * g).
  rewrite write_row first k2 d2 dot_pair had_pair.
  by apply/rowP => i; rewrite !mxE; case: ifP => _; field.
rewrite write_row second k3 d3 loE dot_pair had_pair.
by apply/rowP => i; rewrite !mxE; case: ifP => _; field.
Qed.

(** T27. Without forgetting either, at eta = 1 with keys that are not unit: d stays in [2/3, 3/2], every 0 <= a_t <= 2,
    full writes of values 0 (S* = 0), and the error is multiplied by 35/32 in every period of three tokens, for ever. *)
Theorem T27_needs_metric_cost_plain (t m : nat) :
  [/\ forall i, 2 / 3 <= d t 0 i <= 3 / 2, 0 <= alignment (d t) (feature (key t)) <= 2 &
      S (m * 3) = (35 / 32) ^+ m *: S 0].
Proof.
have loE : lo = pair_row (2 / 3) (2 / 3) by apply/rowP => i; rewrite !mxE; case: ifP.
have fits (a b : nat) : (0 < b)%N -> (a <= 2 * b)%N -> 0 <= (a%:R / b%:R : R) <= 2.
  move=> b_gt0 le; apply/andP; split; first by rewrite divr_ge0 ?ler0n.
  by rewrite ler_pdivr_mulr ?ltr0n // -natrM ler_nat.
have low : 2 / 3 <= (2 / 3 : R) <= 3 / 2 by rewrite lexx quotient_le.
have top : 2 / 3 <= (1 : R) <= 3 / 2 by rewrite ler_pdivr_mulr ?ltr0n // ler_pdivl_mulr ?ltr0n // !mul1r !ler_nat.
have [[-> ->]|[-> ->]|[-> ->]] : [\/ d t = lo /\ key t = key1, d t = high /\ key t = key2 | d t = lo /\ key t = key3].
- have := divn_eq t 3; have := ltn_pmod t (isT : 0 < 3)%N.
  have [k1 k2 k3] := keys_in_turn (t %/ 3); have [d1 d2 d3] := d_periodic (t %/ 3).
  case: (t %% 3)%N => [|[|[|j]]] // _ ->; rewrite ?addn0 ?addn1 ?addn2.
  + by constructor 1.
  + by constructor 2.
  by constructor 3.
all: split; last by rewrite grows_in_turn; apply/rowP => i; rewrite !mxE; case: ifP; rewrite ?mulr0 ?mulr1.
all: try by move=> i; rewrite ?loE !mxE; case: ifP => _; rewrite ?low ?top.
all: rewrite ?loE /alignment /feature ?/high ?/key1 ?/key2 ?/key3 had_pair dot_pair.
- by rewrite (_ : _ + _ = 2%:R / 3%:R :> R); [exact: fits|field].
- by rewrite (_ : _ + _ = 31%:R / 16%:R :> R); [exact: fits|field].
- by rewrite (_ : _ + _ = 15%:R / 8%:R :> R); [exact: fits|field].
Qed.

End PlainGrowth.
