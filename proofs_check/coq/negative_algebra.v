(** What fails when a hypothesis is dropped: explicit rational counterexamples, in dimension 1 or 2. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token context chunk scan lyapunov gated.
From OSDN Require Import probability calibration_time.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(** One number as a vector of dimension 1 (and as a 1 x 1 matrix). *)
Definition one (x : rat) : 'rV[rat]_1 := const_mx x.

(** Two numbers as a vector of dimension 2. *)
Definition two (x y : rat) : 'rV[rat]_2 := \row_i (if i == 0 then x else y).

(** An equation between 1 x 1 matrices of numbers, by evaluation. *)
Ltac evaluate := let i := fresh in let j := fresh in
  apply/matrixP => i j; rewrite (ord1 i) (ord1 j) !(mxE, big_ord1); apply/eqP.

Section Dimension1.
Implicit Types x y : rat.

Lemma oneE x i j : one x i j = x.
Proof. by rewrite mxE. Qed.

Lemma one_inj : injective one.
Proof. by move=> x y /rowP/(_ 0); rewrite !mxE. Qed.

Lemma one_neq x y : x != y -> one x <> one y.
Proof. by move/eqP=> neq /one_inj. Qed.

Lemma ones1 : ones _ 1 = one 1.
Proof. by []. Qed.

Lemma add1 x y : one x + one y = one (x + y).
Proof. by apply/rowP => i; rewrite !mxE. Qed.

Lemma scale1 x y : x *: one y = one (x * y).
Proof. by apply/rowP => i; rewrite !mxE. Qed.

Lemma opp1 x : - one x = one (- x).
Proof. by apply/rowP => i; rewrite !mxE. Qed.

Lemma mul1 x y : one x *m one y = one (x * y).
Proof. by apply/rowP => i; rewrite !mxE big_ord1 !mxE. Qed.

Lemma tr1 x : (one x)^T = one x.
Proof. by apply/rowP => i; rewrite !mxE. Qed.

Lemma dot1 x y : dot (one x) (one y) = x * y.
Proof. by rewrite /dot big_ord1 !mxE. Qed.

Lemma had1 x y : had (one x) (one y) = one (x * y).
Proof. by apply/rowP => i; rewrite !mxE. Qed.

Lemma residual1 S k v : residual (one S) (one k) (one v) = one (v - k * S).
Proof. by rewrite /residual tr1 mul1 opp1 add1. Qed.

Lemma write1 S k v d beta :
  write (one S) (one k) (one v) (one d) beta = one (S + beta * ((v - k * S) * (d * k))).
Proof. by rewrite /write residual1 tr1 had1 mul1 scale1 add1. Qed.

Lemma token_loss1 S k v : token_loss (one S) (one k) (one v) = (v - k * S) * (v - k * S) / 2.
Proof. by rewrite /token_loss residual1 /norm_sq dot1. Qed.

Lemma calibrate_free1 eta w gamma c d s :
  calibrate_free eta w gamma (one c) (one d) (one s) =
  one (c + gamma * (d - c) + eta * w * (1 - d * s) * s).
Proof. by rewrite /calibrate_free dot1 opp1 add1 !scale1 !add1. Qed.

Lemma clip_one lo hi d : clip (one lo) (one hi) (one d) = one (clip1 lo hi d).
Proof. by apply/rowP => i; rewrite !mxE. Qed.

Lemma in_box1 lo hi d : lo <= d <= hi -> in_box (one lo) (one hi) (one d).
Proof. by move=> box i; rewrite !mxE. Qed.

Lemma lyapunov1 d E : lyapunov (one d) (one E) = E ^+ 2 / d.
Proof. by rewrite lyapunovE !big_ord1 !mxE. Qed.

End Dimension1.

Lemma dot2 x y x' y' : dot (two x y) (two x' y') = x * x' + y * y'.
Proof. by rewrite /dot !big_ord_recl big_ord0 !mxE addr0. Qed.

Lemma had2 x y x' y' : had (two x y) (two x' y') = two (x * x') (y * y').
Proof. by apply/rowP => i; rewrite !mxE; case: ifP. Qed.

(** T1 needs the normal equations: for another S* the gap F(S) - F(S* ) is not tr ((S - S* ) G (S - S* )^T) / 2. *)
Theorem T1_needs_normal_equations : exists (k v : 'I_1 -> 'rV[rat]_1) (S S' : 'M[rat]_1),
  context_loss k v S - context_loss k v S' != energy k (S - S') / 2.
Proof.
exists (fun=> one 1), (fun=> one 0), (one 0), (one 1).
by rewrite /context_loss energy_reads !big_ord1 !token_loss1 opp1 add1 tr1 mul1 /norm_sq dot1.
Qed.

(** T3 needs the square: the loss ratio is not |1 - beta a|. *)
Theorem T3_needs_square : exists (S : 'M[rat]_1) (k v d : 'rV[rat]_1) (beta : rat), residual S k v <> 0 /\
  token_loss (write S k v d beta) k v / token_loss S k v != `|1 - beta * alignment d (feature k)|.
Proof.
exists (one 0), (one 1), (one 1), (one 1), (1 / 2); split.
  by rewrite residual1; apply: (@one_neq _ 0).
by rewrite write1 !token_loss1 /alignment /feature had1 dot1.
Qed.

(** T3 needs a residual: 0/0 (here 0) is not (1 - beta a)^2. *)
Theorem T3_needs_nonzero_residual : exists (S : 'M[rat]_1) (k v d : 'rV[rat]_1) (beta : rat),
  token_loss (write S k v d beta) k v / token_loss S k v != (1 - beta * alignment d (feature k)) ^+ 2.
Proof.
exists (one 1), (one 1), (one 1), (one 1), (1 / 2).
by rewrite write1 !token_loss1 /alignment /feature had1 dot1.
Qed.

(** T3 needs the erase key k: reading with the scaled key d * k as well (S - beta (S k~ - v) k~^T) breaks it. *)
Theorem T3_needs_plain_erase_key : exists (S : 'M[rat]_1) (k v d : 'rV[rat]_1) (beta : rat),
  residual (S + beta *: ((residual S (had d k) v)^T *m had d k)) k v <>
  (1 - beta * alignment d (feature k)) *: residual S k v.
Proof.
exists (one 1), (one 1), (one 2), (one 2), (1 / 2).
rewrite /feature !had1 !residual1 tr1 mul1 !scale1 add1 residual1 /alignment dot1.
exact: one_neq.
Qed.

(** T4 needs beta = 1: with <d, s> = 1 and half a gate the token loss is not zeroed. *)
Theorem T4_needs_full_gate : exists (S : 'M[rat]_1) (k v d : 'rV[rat]_1) (beta : rat),
  alignment d (feature k) = 1 /\ token_loss (write S k v d beta) k v != 0.
Proof.
exists (one 0), (one 1), (one 1), (one 1), (1 / 2).
by rewrite /alignment /feature had1 dot1 write1 token_loss1.
Qed.

(** T11's certificate needs the iterate that is handed on: checking d_1 ... d_T alone is not enough. *)
Theorem T11_needs_handed_on_iterate :
  exists (eta : rat) (lo hi d1 : 'rV[rat]_1) (s : nat -> 'rV[rat]_1) (T : nat),
  let free := unprojected eta (fun=> 1) (fun=> 1) 0 d1 s in
  (forall t, (t < T)%N -> in_box lo hi (free t)) /\
  scan eta (fun=> 1) (fun=> 1) 0 lo hi d1 s T <> free T.
Proof.
exists 1, (one (3 / 2)), (one 3), (one 2), (fun=> one 1), 1%N.
have zero : (0 : 'rV[rat]_1) = one 0 by apply/rowP => i; rewrite !mxE.
split=> [[|t] // _|]; first exact: in_box1.
by rewrite /= /calibrate zero calibrate_free1 clip_one; apply: one_neq.
Qed.

Section Chunk.

(** One token with k = q = d = beta = scale = v = 1 and an empty memory: it writes 1 and reads 1. *)
Let k (t : nat) := one 1.
Let beta (t : nat) : rat := 1.
Let S0 : 'M[rat]_1 := one 0.
Let A : 'M[rat]_1 := chunk_beta beta 0 1 *m chunk_k k 0 1 *m (chunk_scaled_k k k 0 1)^T.
Let right_side := chunk_beta beta 0 1 *m (chunk_v k 0 1 - chunk_k k 0 1 *m chunk_state k k k beta S0 0).

Lemma A1 : A = one 1.
Proof. by evaluate. Qed.

Lemma tril1 x : tril (one x) = one x.
Proof. by evaluate. Qed.

(** T12's solve needs the strict triangle: with the diagonal in A even one token is wrong. *)
Theorem T12_needs_strict_triangle :
  (chunk_state k k k beta S0 0 + (chunk_scaled_k k k 0 1)^T *m (invmx (1%:M + tril A) *m right_side)) <>
  (memory k k k beta S0 1)^T.
Proof.
have inverse1 : invmx (1%:M + tril A) = one (1 / 2).
  have -> : 1%:M + tril A = one 2.
    by rewrite A1 tril1; evaluate.
  have unit : one 2 \in unitmx by rewrite unitmxE det_mx11 mxE.
  by apply: (can_inj (mulKmx unit)); rewrite mulmxV // mul1; evaluate.
have state0 : chunk_state k k k beta S0 0 = one 0 by exact: tr1.
have right1 : right_side = one 1.
  by rewrite /right_side state0; evaluate.
have key1 : (chunk_scaled_k k k 0 1)^T = one 1 by apply/rowP => i; rewrite !mxE.
rewrite inverse1 state0 right1 key1 !mul1 add1 /= write1 tr1; exact: one_neq.
Qed.

(** T12's output needs the diagonal: the read comes after the write, so tril(Q K~^T) must keep it. *)
Theorem T12_needs_inclusive_read :
  row 0 (1 *: (chunk_q k 0 1 *m chunk_state k k k beta S0 0 +
    tril_strict (chunk_q k 0 1 *m (chunk_scaled_k k k 0 1)^T) *m chunk_X k k k beta S0 0 1)) <>
  output k k k k beta 1 S0 0.
Proof.
have state0 : chunk_state k k k beta S0 0 = one 0 by exact: tr1.
have strict0 (M : 'M[rat]_1) : tril_strict M = 0 by evaluate.
rewrite strict0 mul0mx addr0 state0 /output /= write1 tr1 mul1 !scale1 !scale1r.
move=> /rowP/(_ 0); rewrite !(mxE, big_ord1) => /eqP; by [].
Qed.

End Chunk.

(** T15 needs unit keys: any other key that is not zero moves d away from 1, whatever eta <> 0. *)
Theorem T15_needs_unit_keys n (k : 'rV[rat]_n) eta : k != 0 -> norm_sq k != 1 -> eta != 0 ->
  calibrate_free eta 1 1 0 (ones _ n) (feature k) != ones _ n.
Proof.
move=> k_nz k_norm eta_nz; rewrite /calibrate_free scale1r subr0 add0r -subr_eq0 addrC addKr.
rewrite dot_ones_feature mulr1 scaler_eq0 mulf_eq0 (negbTE eta_nz) subr_eq0 eq_sym (negbTE k_norm) /=.
apply: contra k_nz => /eqP/rowP feature0; apply/eqP/rowP => i; apply/eqP.
by have := feature0 i; rewrite !mxE => /eqP; rewrite mulf_eq0 orbb.
Qed.

(** T15 needs unit keys, with the projection too: a box that holds 1, a key of norm 2, and d_2 = 1/2. *)
Theorem T15_needs_unit_keys_boxed : exists (eta : rat) (lo hi k : 'rV[rat]_1),
  in_box lo hi (ones _ 1) /\ path eta lo hi (ones _ 1) (fun=> feature k) 1 <> ones _ 1.
Proof.
exists (1 / 24), (one 0), (one 2), (one 2); split; first exact: in_box1.
have zero : (0 : 'rV[rat]_1) = one 0 by apply/rowP => i; rewrite !mxE.
by rewrite /= /feature had1 /calibrate zero ones1 calibrate_free1 clip_one; apply: one_neq.
Qed.

(** T15 needs gamma = 1 (or the anchor c = 1): forgetting towards 0 moves d away from 1, unit keys or not. *)
Theorem T15_needs_no_forgetting n (k : 'rV[rat]_n.+1) eta gamma : norm_sq k = 1 -> gamma != 1 ->
  calibrate_free eta 1 gamma 0 (ones _ n.+1) (feature k) != ones _ n.+1.
Proof.
move=> unit; rewrite /calibrate_free dot_ones_feature unit subrr mulr0 scale0r addr0 add0r subr0.
by apply: contra => /eqP/rowP/(_ 0); rewrite !mxE mulr1 => ->.
Qed.

(** T15 needs the box to hold 1. *)
Theorem T15_needs_ones_in_box : exists (eta : rat) (lo hi k : 'rV[rat]_1),
  norm_sq k = 1 /\ path eta lo hi (ones _ 1) (fun=> feature k) 1 <> ones _ 1.
Proof.
exists 1, (one 2), (one 2), (one 1); split; first by rewrite /norm_sq dot1.
have zero : (0 : 'rV[rat]_1) = one 0 by apply/rowP => i; rewrite !mxE.
by rewrite /= /feature had1 /calibrate zero ones1 calibrate_free1 clip_one; apply: one_neq.
Qed.

(** The first key is (1, 0), every later one (0, 1): the features span, once. *)
Definition spanning_once (t : nat) : 'rV[rat]_2 := if t is 0%N then two 1 0 else two 0 1.

(** T15's convergence to 1 from another d_1 needs features that keep spanning: here the keys are unit, the features
    span, the box holds 1 and d_1, and the first entry of d stays at 3/2 for ever. *)
Theorem T15_needs_recurring_span t :
  path (1 / 2) (two 0 0) (two 3 3) (two 2 2) (fun t => feature (spanning_once t)) t.+1 0 0 = 3 / 2.
Proof.
elim: t => [|t IH]; first by rewrite /= !mxE /feature had2 dot2; apply/eqP.
have -> : path (1 / 2) (two 0 0) (two 3 3) (two 2 2) (fun t => feature (spanning_once t)) t.+2 =
    calibrate (1 / 2) 1 1 0 (two 0 0) (two 3 3)
      (path (1 / 2) (two 0 0) (two 3 3) (two 2 2) (fun t => feature (spanning_once t)) t.+1)
      (feature (two 0 1)) by [].
move: (path _ _ _ _ _ t.+1) IH => d IH; rewrite /calibrate /calibrate_free mxE.
move: (dot d _) => a; rewrite !mxE IH /= !mul0r mulr0 addr0; exact/eqP.
Qed.

(** T16 needs the moving metric: in the plain Frobenius norm a write can expand, with a unit key, beta = 1,
    0 <= beta a <= 2 and d inside the box [2/3, 3/2]. *)
Theorem T16_needs_moving_metric : exists (S target : 'M[rat]_(1, 2)) (k d : 'rV[rat]_2),
  [/\ norm_sq k = 1, forall i, 2 / 3 <= d 0 i <= 3 / 2, 0 <= alignment d (feature k) <= 2 &
      frob_sq (S - target) < frob_sq (write S k (k *m target^T) d 1 - target)].
Proof.
exists (two (- 150) 150), 0, (two (3 / 5) (4 / 5)), (two (3 / 2) (2 / 3)); split.
- by rewrite /norm_sq dot2; apply/eqP.
- by move=> i; rewrite mxE; case: ifP.
- by rewrite /alignment /feature had2 dot2.
have target0 : two (3 / 5) (4 / 5) *m (0 : 'M[rat]_(1, 2))^T = one 0.
  by rewrite trmx0 mulmx0; apply/rowP => i; rewrite !mxE.
rewrite target0 !subr0 !frob_sq_rows !big_ord1 /write.
have -> : residual (two (- 150) 150) (two (3 / 5) (4 / 5)) (one 0) = one (- 30).
  by rewrite /residual dot_mx dot2; evaluate.
have -> : (one (- 30))^T *m had (two (3 / 2) (2 / 3)) (two (3 / 5) (4 / 5)) =
    two (- 27) (- 16).
  by rewrite had2; apply/rowP => i; rewrite !(mxE, big_ord1); case: ifP => _; apply/eqP.
have -> : two (- 150) 150 + 1 *: two (- 27) (- 16) = two (- 177) 134.
  by apply/rowP => i; rewrite !mxE; case: ifP => _; apply/eqP.
have row0 (u : 'rV[rat]_2) : row 0 u = u by apply/rowP => i; rewrite mxE.
by rewrite !row0 /norm_sq !dot2; vm_compute.
Qed.

(** T16 needs the same d on both sides: with the write done and E unchanged, a new d alone can raise the metric. *)
Theorem T16_needs_same_metric : exists (d d' E : 'rV[rat]_1), lyapunov d E < lyapunov d' E.
Proof. by exists (one 1), (one (1 / 2)), (one 1); rewrite !lyapunov1. Qed.

(** T16's contraction needs beta a <= 2. *)
Theorem T16_needs_step_at_most_2 : exists (S target : 'M[rat]_1) (k d : 'rV[rat]_1) (beta : rat),
  [/\ 0 < d 0 0, 2 < beta * alignment d (feature k) &
      lyapunov d (S - target) < lyapunov d (write S k (k *m target^T) d beta - target)].
Proof.
exists (one 1), (one 0), (one 1), (one 1), 3; split; first by rewrite mxE.
  by rewrite /alignment /feature had1 dot1.
by rewrite tr1 mul1 write1 !opp1 !add1 !lyapunov1.
Qed.

(** T17 needs the gated state as the reference: measured against S_{t-1}, the ratio is no function of the
    preconditioner, nor of the preconditioner, the key, the value and both gates together. *)
Theorem T17_needs_gated_reference :
  ~ exists ratio : 'rV[rat]_1 -> 'rV[rat]_1 -> 'rV[rat]_1 -> rat -> rat -> rat,
    forall (S : 'M[rat]_1) k v d alpha beta, residual S k v != 0 ->
    token_loss (gated_write alpha S k v d beta) k v / token_loss S k v = ratio d k v alpha beta.
Proof.
case=> ratio same.
have one_nz x : x != 0 -> one x != 0 by apply: contra => /eqP/rowP/(_ 0); rewrite !mxE => ->.
have from S : 1 - S != 0 ->
    (1 - S / 2) ^+ 2 / 4 / (1 - S) ^+ 2 = ratio (one 1) (one 1) (one 1) (1 / 2) (1 / 2).
  move=> nz; rewrite -(same (one S)) ?residual1 ?mul1r ?one_nz //.
  rewrite /gated_write scale1 write1 !token_loss1; field.
  exact: nz.
by have /eqP := etrans (from 0 isT) (esym (from 2 isT)); vm_compute.
Qed.

(** T19 needs independence: the same fair coin gives every feature (1 or 0), u = 1 is optimal and the second moment is
    1/2, but from d_1 = 0 with eta = 1 the mean error goes -1, -1/2, -1/2 instead of -1, -1/2, -1/4. *)
Theorem T19_needs_independence :
  exists (P : bool -> rat) (s : nat -> bool -> 'rV[rat]_1) (d1 u : 'rV[rat]_1) (second_moment : 'M[rat]_1),
  [/\ distribution P, forall t, moment P s t = second_moment,
      forall t, mean_mx P (fun o => (1 - dot u (s t o)) *: s t o) = 0 &
      mean_error P 1 1 0 d1 u s 2 <> mean_error P 1 1 0 d1 u s 1 *m (1%:M - 1 *: second_moment)].
Proof.
pose s (t : nat) (o : bool) := if o then one 1 else one 0.
have zero : (0 : 'rV[rat]_1) = one 0 by apply/rowP => i; rewrite !mxE.
exists (fun=> 1 / 2), s, (one 0), (one 1), (one (1 / 2)); split.
- by split=> [o|]; rewrite ?big_bool.
- by move=> t; rewrite /moment /mean_mx big_bool /= !tr1 !mul1 !scale1 add1.
- by move=> t; rewrite /mean_mx big_bool /= !dot1 !scale1 add1 zero.
have half : 1%:M - 1 *: one (1 / 2) = one (1 / 2) by evaluate.
rewrite half /mean_error /mean_mx /iterate !big_bool /= zero !(calibrate_free1, opp1, add1, scale1).
rewrite mul1; exact: one_neq.
Qed.
