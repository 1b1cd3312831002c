(** T18: rounding. The standard model of floating-point arithmetic, derived from Flocq's unbounded-exponent format (FLX)
    with p bits and round to nearest (any tie rule), and the forward-error bounds for sums and dot products that follow.

    u = 2^(-p) is the unit roundoff: 2^(-8) for bfloat16, 2^(-24) for float32. *)
From Coq Require Import ZArith Reals List Lra Lia.
From Flocq Require Import Core Relative.
Import ListNotations.
Open Scope R_scope.

Section Rounding.
Variable p : Z.
Context {p_gt_0 : Prec_gt_0 p}.
Variable choice : Z -> bool.

(** Rounding to nearest with p bits. *)
Definition fl (x : R) : R := round radix2 (FLX_exp p) (Znearest choice) x.

(** The unit roundoff. *)
Definition u : R := bpow radix2 (- p).

(** gamma_n = n u / (1 - n u) *)
Definition gamma (n : nat) : R := INR n * u / (1 - INR n * u).

Lemma u_gt_0 : 0 < u.
Proof. apply bpow_gt_0. Qed.

Lemma u_half_ulp : / 2 * bpow radix2 (- p + 1) = u.
Proof. unfold u; rewrite bpow_plus; change (bpow radix2 1) with 2; field. Qed.

(** T18. Rounding moves a number by at most u times its size. *)
Theorem T18_round (x : R) : Rabs (fl x - x) <= u * Rabs x.
Proof. rewrite <- u_half_ulp; apply relative_error_N_FLX; exact p_gt_0. Qed.

(** T18. Each operation: |fl(x op y) - (x op y)| <= u |x op y|. *)
Theorem T18_add (x y : R) : Rabs (fl (x + y) - (x + y)) <= u * Rabs (x + y).
Proof. apply T18_round. Qed.

Theorem T18_subtract (x y : R) : Rabs (fl (x - y) - (x - y)) <= u * Rabs (x - y).
Proof. apply T18_round. Qed.

Theorem T18_multiply (x y : R) : Rabs (fl (x * y) - x * y) <= u * Rabs (x * y).
Proof. apply T18_round. Qed.

Theorem T18_divide (x y : R) : Rabs (fl (x / y) - x / y) <= u * Rabs (x / y).
Proof. apply T18_round. Qed.

(** T18. The standard model: fl(x) = x (1 + delta) with |delta| <= u. *)
Theorem T18_standard_model (x : R) : exists delta, Rabs delta <= u /\ fl x = x * (1 + delta).
Proof. rewrite <- u_half_ulp; apply relative_error_N_FLX_ex; exact p_gt_0. Qed.

Lemma fl_size (x : R) : Rabs (fl x) <= (1 + u) * Rabs x.
Proof.
replace (fl x) with (x + (fl x - x)) by ring.
apply Rle_trans with (1 := Rabs_triang _ _); pose proof (T18_round x); lra.
Qed.

(** growth n = (1 + u)^n - 1 bounds n roundings in a row. *)
Definition growth (n : nat) : R := (1 + u) ^ n - 1.

Lemma growth_S n : growth (S n) = growth n * (1 + u) + u.
Proof. unfold growth; simpl; ring. Qed.

Lemma growth_ge_0 n : 0 <= growth n.
Proof.
pose proof u_gt_0; induction n as [|n IH]; [unfold growth; simpl; lra|].
rewrite growth_S; apply Rplus_le_le_0_compat; [apply Rmult_le_pos|]; lra.
Qed.

Lemma growth_le_S n : growth n <= growth (S n).
Proof. rewrite growth_S; pose proof u_gt_0; pose proof (growth_ge_0 n); nra. Qed.

Lemma growth_gamma n : INR n * u < 1 -> growth n <= gamma n.
Proof.
intro small; pose proof u_gt_0 as u_pos.
assert (power : forall m, (1 + u) ^ m * (1 - INR m * u) <= 1).
{ induction m as [|m IH]; [simpl; lra|]; rewrite S_INR; simpl.
  assert (0 < (1 + u) ^ m) by (apply pow_lt; lra).
  assert (0 <= INR m * u * u) by (repeat apply Rmult_le_pos; try apply pos_INR; lra).
  replace ((1 + u) * (1 + u) ^ m * (1 - (INR m + 1) * u))
    with ((1 + u) ^ m * (1 - INR m * u) - (1 + u) ^ m * (INR m * u * u + u * u)) by ring.
  assert (0 <= (1 + u) ^ m * (INR m * u * u + u * u)) by (apply Rmult_le_pos; nra).
  lra. }
unfold gamma, growth; apply Rmult_le_reg_r with (1 - INR n * u); [lra|].
unfold Rdiv; rewrite Rmult_assoc, Rinv_l by lra; pose proof (power n); nra.
Qed.

Lemma roundings_growth (deltas : list R) :
  Forall (fun delta => Rabs delta <= u) deltas ->
  Rabs (fold_right (fun delta x => (1 + delta) * x) 1 deltas - 1) <= growth (length deltas).
Proof.
intro bounded; induction bounded as [|delta deltas bound _ IH]; simpl.
{ rewrite Rminus_diag_eq, Rabs_R0 by reflexivity; apply (growth_ge_0 0). }
rewrite growth_S; set (x := fold_right _ _ _) in *.
replace ((1 + delta) * x - 1) with ((x - 1) * (1 + delta) + delta) by ring.
apply Rle_trans with (1 := Rabs_triang _ _); apply Rplus_le_compat; [|exact bound].
rewrite Rabs_mult; apply Rmult_le_compat; [apply Rabs_pos|apply Rabs_pos|exact IH|].
apply Rle_trans with (1 := Rabs_triang _ _); rewrite Rabs_R1; lra.
Qed.

(** T18. n roundings in a row: |(1 + delta_1) ... (1 + delta_n) - 1| <= gamma_n. *)
Theorem T18_gamma_product (deltas : list R) :
  Forall (fun delta => Rabs delta <= u) deltas -> INR (length deltas) * u < 1 ->
  Rabs (fold_right (fun delta x => (1 + delta) * x) 1 deltas - 1) <= gamma (length deltas).
Proof.
intros bounded small; apply Rle_trans with (2 := growth_gamma _ small); exact (roundings_growth _ bounded).
Qed.

(** The exact sum, the sum of the sizes, and the sum as computed from left to right on top of a first term. *)
Definition total (xs : list R) : R := fold_right Rplus 0 xs.
Definition sizes (xs : list R) : R := total (map Rabs xs).
Fixpoint running_sum (first : R) (xs : list R) : R :=
  match xs with
  | [] => first
  | x :: xs' => running_sum (fl (first + x)) xs'
  end.

Lemma sizes_ge_0 xs : 0 <= sizes xs.
Proof.
induction xs as [|x xs IH]; unfold sizes; simpl; [lra|].
pose proof (Rabs_pos x); unfold sizes in IH; lra.
Qed.

Lemma running_sum_growth xs : forall first,
  Rabs (running_sum first xs - (first + total xs)) <= growth (length xs) * (Rabs first + sizes xs).
Proof.
induction xs as [|x xs IH]; intro first; simpl.
{ unfold sizes, growth; simpl; rewrite Rplus_0_r, Rminus_diag_eq, Rabs_R0 by reflexivity; lra. }
set (next := fl (first + x)).
replace (running_sum next xs - (first + (x + total xs)))
  with ((running_sum next xs - (next + total xs)) + (next - (first + x))) by ring.
apply Rle_trans with (1 := Rabs_triang _ _).
pose proof (IH next) as later; pose proof (T18_round (first + x)) as now; fold next in now.
pose proof (fl_size (first + x)) as size; fold next in size.
pose proof (Rabs_triang first x); pose proof (growth_ge_0 (length xs)) as grow.
pose proof (sizes_ge_0 xs); pose proof (growth_le_S (length xs)) as larger.
change (sizes (x :: xs)) with (Rabs x + sizes xs); pose proof u_gt_0.
set (rest := sizes xs) in *; set (A := Rabs (first + x)) in *; set (g := growth (length xs)) in *.
assert (g * (Rabs next + rest) <= g * ((1 + u) * A + rest)) by (apply Rmult_le_compat_l; lra).
assert (g * rest <= growth (S (length xs)) * rest) by (apply Rmult_le_compat_r; lra).
assert (growth (S (length xs)) * A <= growth (S (length xs)) * (Rabs first + Rabs x)).
{ apply Rmult_le_compat_l; lra. }
assert (growth (S (length xs)) * A = g * (1 + u) * A + u * A) by (rewrite growth_S; fold g; ring).
lra.
Qed.

(** T18. A sum of n + 1 terms, in the order given: |computed - exact| <= gamma_n (sum of the sizes). *)
Theorem T18_sum (first : R) (xs : list R) : INR (length xs) * u < 1 ->
  Rabs (running_sum first xs - (first + total xs)) <= gamma (length xs) * (Rabs first + sizes xs).
Proof.
intro small; apply Rle_trans with (1 := running_sum_growth xs first).
apply Rmult_le_compat_r; [|exact (growth_gamma _ small)].
pose proof (sizes_ge_0 xs); pose proof (Rabs_pos first); lra.
Qed.

(** The products x y of a list of pairs, exact and rounded, and the dot product as computed. *)
Definition products (pairs : list (R * R)) : list R := map (fun xy => fst xy * snd xy) pairs.
Definition computed_dot (first : R * R) (pairs : list (R * R)) : R :=
  running_sum (fl (fst first * snd first)) (map fl (products pairs)).

Lemma rounded_total xs : Rabs (total (map fl xs) - total xs) <= u * sizes xs.
Proof.
induction xs as [|x xs IH]; unfold sizes in *; simpl.
{ rewrite Rminus_diag_eq, Rabs_R0 by reflexivity; lra. }
replace (fl x + total (map fl xs) - (x + total xs)) with ((fl x - x) + (total (map fl xs) - total xs)) by ring.
apply Rle_trans with (1 := Rabs_triang _ _); pose proof (T18_round x); lra.
Qed.

Lemma rounded_sizes xs : sizes (map fl xs) <= (1 + u) * sizes xs.
Proof.
induction xs as [|x xs IH]; unfold sizes in *; simpl; [lra|].
pose proof (fl_size x); lra.
Qed.

(** T18. A dot product of n = 1 + length terms, each product rounded: |computed - exact| <= gamma_n (sum of |x y|). *)
Theorem T18_dot (first : R * R) (pairs : list (R * R)) :
  let exact := fst first * snd first in
  let n := S (length pairs) in
  INR n * u < 1 ->
  Rabs (computed_dot first pairs - (exact + total (products pairs))) <=
  gamma n * (Rabs exact + sizes (products pairs)).
Proof.
intros exact n small; set (xs := products pairs); pose proof u_gt_0.
assert (len : length (map fl xs) = length pairs) by (unfold xs, products; rewrite !map_length; reflexivity).
pose proof (running_sum_growth (map fl xs) (fl exact)) as sum; rewrite len in sum.
pose proof (T18_round exact) as e1; pose proof (rounded_total xs) as e2.
pose proof (fl_size exact) as s1; pose proof (rounded_sizes xs) as s2.
pose proof (growth_ge_0 (length pairs)) as grow; pose proof (growth_gamma _ small) as bound.
pose proof (sizes_ge_0 xs); pose proof (Rabs_pos exact).
unfold computed_dot; fold exact; fold xs.
replace (running_sum (fl exact) (map fl xs) - (exact + total xs))
  with ((running_sum (fl exact) (map fl xs) - (fl exact + total (map fl xs))) +
        ((fl exact - exact) + (total (map fl xs) - total xs))) by ring.
apply Rle_trans with (1 := Rabs_triang _ _).
assert (Rabs ((fl exact - exact) + (total (map fl xs) - total xs)) <= u * (Rabs exact + sizes xs)).
{ apply Rle_trans with (1 := Rabs_triang _ _); lra. }
set (g := growth (length pairs)) in *; set (B := Rabs exact + sizes xs) in *.
assert (g * (Rabs (fl exact) + sizes (map fl xs)) <= g * ((1 + u) * B)).
{ apply Rmult_le_compat_l; [exact grow|unfold B; lra]. }
apply Rle_trans with (growth n * B).
{ unfold n; rewrite growth_S; fold g; lra. }
apply Rmult_le_compat_r; [unfold B; lra|exact bound].
Qed.

Lemma another_factor (x g delta e : R) : 0 <= g -> Rabs (x - 1) <= g -> Rabs delta <= e ->
  Rabs ((1 + delta) * x - 1) <= (1 + g) * (1 + e) - 1.
Proof.
intros g_ge_0 near small; pose proof (Rabs_pos delta).
replace ((1 + delta) * x - 1) with ((x - 1) * (1 + delta) + delta) by ring.
apply Rle_trans with (1 := Rabs_triang _ _); rewrite Rabs_mult.
assert (Rabs (1 + delta) <= 1 + e) by (apply Rle_trans with (1 := Rabs_triang _ _); rewrite Rabs_R1; lra).
assert (Rabs (x - 1) * Rabs (1 + delta) <= g * (1 + e)).
{ apply Rmult_le_compat; try apply Rabs_pos; assumption. }
lra.
Qed.

(** T18. What two numbers give that are scaled and multiplied, the products rounded and each scale off by at most e
    times itself: a term of the product of two blocks whose rows carry decays. *)
Theorem T18_scaled_pair (x y a b c d e : R) :
  0 <= e -> Rabs (c - a) <= e * Rabs a -> Rabs (d - b) <= e * Rabs b ->
  Rabs (fl (fl (x * c) * fl (y * d)) - x * a * (y * b)) <=
  ((1 + u) ^ 3 * (1 + e) ^ 2 - 1) * Rabs (x * a * (y * b)).
Proof.
intros e_ge_0 near_a near_b.
assert (factor : forall s t, Rabs (t - s) <= e * Rabs s -> exists r, Rabs r <= e /\ t = s * (1 + r)).
{ intros s t near; destruct (Req_dec s 0) as [zero|nonzero].
  - exists 0; rewrite Rabs_R0; split; [exact e_ge_0|].
    rewrite zero, Rabs_R0, Rmult_0_r, Rminus_0_r in near.
    rewrite zero, Rmult_0_l; apply Rabs_eq_R0; pose proof (Rabs_pos t); lra.
  - exists ((t - s) / s); split; [|field; exact nonzero].
    unfold Rdiv; rewrite Rabs_mult, Rabs_inv.
    apply Rmult_le_reg_r with (Rabs s); [apply Rabs_pos_lt; exact nonzero|].
    rewrite Rmult_assoc, Rinv_l, Rmult_1_r by (apply Rabs_no_R0; exact nonzero); exact near. }
destruct (factor a c near_a) as [r [small_r ca]]; destruct (factor b d near_b) as [s [small_s db]].
destruct (T18_standard_model (x * c)) as [e1 [b1 q1]]; destruct (T18_standard_model (y * d)) as [e2 [b2 q2]].
destruct (T18_standard_model (fl (x * c) * fl (y * d))) as [e3 [b3 q3]].
pose (z := (1 + e1) * ((1 + e2) * ((1 + e3) * ((1 + r) * (1 + s))))).
replace (fl (fl (x * c) * fl (y * d)) - x * a * (y * b)) with ((z - 1) * (x * a * (y * b)))
  by (rewrite q3, q2, q1, ca, db; unfold z; ring).
rewrite Rabs_mult; apply Rmult_le_compat_r; [apply Rabs_pos|].
pose proof u_gt_0.
assert (at_s : Rabs (1 + s - 1) <= e) by (replace (1 + s - 1) with s by ring; exact small_s).
assert (0 <= e * e) by (apply Rmult_le_pos; exact e_ge_0).
pose (g0 := (1 + e) * (1 + e) - 1); assert (0 <= g0) by (unfold g0; lra).
pose (g1 := (1 + g0) * (1 + u) - 1); assert (0 <= g1) by (unfold g1; nra).
pose (g2 := (1 + g1) * (1 + u) - 1); assert (0 <= g2) by (unfold g2; nra).
replace ((1 + u) ^ 3 * (1 + e) ^ 2 - 1) with ((1 + g2) * (1 + u) - 1) by (unfold g2, g1, g0; ring).
unfold z; repeat (apply another_factor; [assumption| |assumption]).
exact at_s.
Qed.

(** T18. One coordinate of the calibrate step d + eta (1 - a) s, each of its four operations rounded. *)
Theorem T18_calibrate_coordinate (d eta a s : R) :
  let step := eta * (1 - a) * s in
  4 * u < 1 ->
  Rabs (fl (d + fl (fl (eta * fl (1 - a)) * s)) - (d + step)) <= u * Rabs d + gamma 4 * Rabs step.
Proof.
intros step small; pose proof u_gt_0.
destruct (T18_standard_model (1 - a)) as [e1 [b1 q1]].
destruct (T18_standard_model (eta * fl (1 - a))) as [e2 [b2 q2]].
destruct (T18_standard_model (fl (eta * fl (1 - a)) * s)) as [e3 [b3 q3]].
set (z := fl (fl (eta * fl (1 - a)) * s)) in *.
pose (x := fold_right (fun delta x => (1 + delta) * x) 1 [e1; e2; e3]).
assert (zx : z = step * x) by (rewrite q3, q2, q1; unfold x, step; simpl; ring).
assert (three : Rabs (x - 1) <= growth 3).
{ unfold x; apply roundings_growth with (deltas := [e1; e2; e3]).
  repeat (apply Forall_cons; [assumption|]); apply Forall_nil. }
assert (moved : Rabs (z - step) <= growth 3 * Rabs step).
{ replace (z - step) with ((x - 1) * step) by (rewrite zx; ring).
  rewrite Rabs_mult; apply Rmult_le_compat_r; [apply Rabs_pos|exact three]. }
replace (fl (d + z) - (d + step)) with ((fl (d + z) - (d + z)) + (z - step)) by ring.
apply Rle_trans with (1 := Rabs_triang _ _).
pose proof (T18_round (d + z)) as last; pose proof (Rabs_triang d z).
assert (Rabs z <= Rabs step + growth 3 * Rabs step).
{ replace z with (step + (z - step)) by ring; apply Rle_trans with (1 := Rabs_triang _ _); lra. }
assert (growth 4 <= gamma 4) by (apply growth_gamma; simpl; lra).
assert (growth 4 * Rabs step <= gamma 4 * Rabs step) by (apply Rmult_le_compat_r; [apply Rabs_pos|assumption]).
assert (growth 4 * Rabs step = growth 3 * Rabs step + u * (Rabs step + growth 3 * Rabs step)).
{ rewrite growth_S; ring. }
assert (u * Rabs (d + z) <= u * (Rabs d + (Rabs step + growth 3 * Rabs step))) by (apply Rmult_le_compat_l; lra).
lra.
Qed.

(** T18. Near 1 the stored numbers are 2 u apart above and u apart below. *)
Theorem T18_spacing_near_one :
  succ radix2 (FLX_exp p) 1 = 1 + 2 * u /\ pred radix2 (FLX_exp p) 1 = 1 - u.
Proof.
change 1 with (bpow radix2 0); split.
- rewrite succ_eq_pos by apply bpow_ge_0; rewrite ulp_bpow; unfold FLX_exp, u.
  replace (0 + 1 - p)%Z with (1 + - p)%Z by ring; rewrite bpow_plus; reflexivity.
- rewrite pred_bpow; unfold FLX_exp, u; reflexivity.
Qed.

(** T18. A stored 1 does not move until a step reaches half the spacing below it: every |h| < u / 2 is rounded away. *)
Theorem T18_storage_stalls (h : R) : Rabs h < u / 2 -> fl (1 + h) = 1.
Proof.
intro tiny; destruct (Rabs_def2 _ _ tiny) as [below above].
destruct T18_spacing_near_one as [up down]; pose proof u_gt_0.
assert (stored : generic_format radix2 (FLX_exp p) 1).
{ change 1 with (bpow radix2 0); apply generic_format_bpow; unfold FLX_exp; unfold Prec_gt_0 in p_gt_0; lia. }
apply Rle_antisym.
- apply round_N_le_midp; [apply FLX_exp_valid; exact p_gt_0|exact stored|rewrite up; lra].
- apply round_N_ge_midp; [apply FLX_exp_valid; exact p_gt_0|exact stored|rewrite down; lra].
Qed.

End Rounding.

(** T18. bfloat16 (p = 8): the spacing is 2^-7 above 1 and 2^-8 below, and a calibrate step shorter than 2^-9 leaves a
    stored 1 as it is. *)
Theorem T18_bfloat16 (choice : Z -> bool) :
  succ radix2 (FLX_exp 8) 1 = 1 + / 128 /\ pred radix2 (FLX_exp 8) 1 = 1 - / 256 /\
  forall h, Rabs h < / 512 -> fl 8 choice (1 + h) = 1.
Proof.
assert (pos : Prec_gt_0 8) by reflexivity.
assert (unit : u 8 = / 256) by reflexivity.
destruct (T18_spacing_near_one 8) as [up down]; rewrite unit in *.
split; [rewrite up; lra|split; [exact down|]].
intros h tiny; apply T18_storage_stalls; [exact pos|rewrite unit; lra].
Qed.

Section Running.
Variables (A : Type) (dist : A -> A -> R).
Hypothesis triangle : forall x y z, dist x z <= dist x y + dist y z.
Variables (step : nat -> A -> A) (x y : nat -> A) (stretch local : nat -> R) (start : R).
Hypothesis exact_run : forall t, x (S t) = step t (x t).
Hypothesis local_error : forall t, dist (y (S t)) (step t (y t)) <= local t.
Hypothesis stretch_ge_0 : forall t, 0 <= stretch t.
Hypothesis lipschitz : forall t, dist (step t (y t)) (step t (x t)) <= stretch t * dist (y t) (x t).

Fixpoint bound (t : nat) : R :=
  match t with
  | O => start
  | S t' => stretch t' * bound t' + local t'
  end.

(** T18. The running bound. Let y follow the recurrence x' = step_t(x) with a local error of at most local_t, and let
    step_t stretch distances by at most stretch_t. Then y stays within bound_t of x, where
    bound_(t+1) = stretch_t bound_t + local_t is computed along the way. *)
Theorem T18_running_bound : dist (y 0%nat) (x 0%nat) <= start -> forall t, dist (y t) (x t) <= bound t.
Proof.
intros at_start t; induction t as [|t IH]; [exact at_start|]; simpl; rewrite exact_run.
apply Rle_trans with (1 := triangle _ (step t (y t)) _).
pose proof (local_error t); pose proof (lipschitz t).
pose proof (Rmult_le_compat_l _ _ _ (stretch_ge_0 t) IH); lra.
Qed.

End Running.
