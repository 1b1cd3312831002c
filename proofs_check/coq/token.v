(** One token: the exact quadratic (T1), right-preconditioning as key scaling (T2), the residual identity (T3) and the
    preconditioner's own loss (T4). *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Token.
Variables (R : realFieldType) (p n : nat).
Implicit Types (S D : 'M[R]_(p, n)) (k d e c s : 'rV[R]_n) (v : 'rV[R]_p) (beta eta gamma x : R).

Lemma residualD S D k v : residual (S + D) k v = residual S k v - k *m D^T.
Proof. by rewrite /residual linearD mulmxDr opprD addrA. Qed.

Lemma token_loss_ge0 S k v : 0 <= token_loss S k v.
Proof. by rewrite divr_ge0 ?ler0n ?norm_sq_ge0. Qed.

Lemma token_loss_eq0 S k v : (token_loss S k v == 0) = (residual S k v == 0).
Proof. by rewrite mulf_eq0 invr_eq0 pnatr_eq0 orbF norm_sq_eq0. Qed.

Lemma surrogate_ge0 d s : 0 <= surrogate d s.
Proof. by rewrite divr_ge0 ?ler0n ?sqr_ge0. Qed.

(** T1, one token. The loss is exactly quadratic: f(S + D) = f(S) + <(S k - v) k^T, D> + |D k|^2 / 2. *)
Theorem T1_token_exact_quadratic S D k v :
  token_loss (S + D) k v = token_loss S k v + inner (token_gradient S k v) D + norm_sq (k *m D^T) / 2.
Proof.
by rewrite /token_loss residualD norm_sqB /token_gradient inner_rank1 dotNl; atoms; field.
Qed.

(** T2. The gradient multiplied by Diag(d) on the right is (S k - v)(d * k)^T: the key is scaled, nothing else. *)
Theorem T2_right_preconditioning S k v d :
  token_gradient S k v *m diag_mx d = (- residual S k v)^T *m had d k.
Proof. by rewrite /token_gradient had_diag mulmxA. Qed.

(** T2. The write is the gradient step preconditioned by Diag(d) on the right. *)
Theorem T2_write_is_preconditioned_step S k v d beta :
  write S k v d beta = S - beta *: (token_gradient S k v *m diag_mx d).
Proof. by rewrite T2_right_preconditioning linearN mulNmx scalerN opprK. Qed.

(** T3. A write multiplies the residual by 1 - beta a, whatever the memory and the value. *)
Theorem T3_residual_identity S k v d beta :
  residual (write S k v d beta) k v = (1 - beta * alignment d (feature k)) *: residual S k v.
Proof.
rewrite /write residualD linearZ -scalemxAr read_rank1 scalerA.
by rewrite dotC -dot_feature scalerBl scale1r.
Qed.

(** T3. A write multiplies the token loss by (1 - beta a)^2. *)
Theorem T3_loss_identity S k v d beta :
  token_loss (write S k v d beta) k v = (1 - beta * alignment d (feature k)) ^+ 2 * token_loss S k v.
Proof. by rewrite /token_loss T3_residual_identity norm_sqZ mulrA. Qed.

(** T3. Where the residual is not zero, the token residual ratio is (1 - beta a)^2: no S and no v in it. *)
Theorem T3_residual_ratio S k v d beta : residual S k v != 0 ->
  token_loss (write S k v d beta) k v / token_loss S k v = (1 - beta * alignment d (feature k)) ^+ 2.
Proof. by rewrite -token_loss_eq0 => nz; rewrite T3_loss_identity mulfK. Qed.

(** T4. l(d) is half the residual ratio of a full write (beta = 1). *)
Theorem T4_full_write_ratio S k v d : residual S k v != 0 ->
  surrogate d (feature k) = token_loss (write S k v d 1) k v / token_loss S k v / 2.
Proof. by move=> nz; rewrite T3_residual_ratio // mul1r. Qed.

(** T4. l is exactly quadratic, with gradient -(1 - <d, s>) s and Hessian s s^T. *)
Theorem T4_exact_quadratic d e s :
  surrogate (d + e) s = surrogate d s + dot (surrogate_gradient d s) e + dot e s ^+ 2 / 2.
Proof. by rewrite /surrogate /surrogate_gradient dotNl dotZl dotDl (dotC s); atoms; field. Qed.

(** T4. Before the projection, the calibrate step is a gradient step on l. *)
Theorem T4_calibrate_is_gradient_step eta c d s :
  calibrate_free eta 1 1 c d s = d - eta *: surrogate_gradient d s.
Proof. by rewrite /calibrate_free scale1r add_diff mulr1 scalerN opprK scalerA. Qed.

(** T4. The calibrate step is projected gradient descent on l. *)
Theorem T4_calibrate_is_projected_gradient_step eta c lo hi d s :
  calibrate eta 1 1 c lo hi d s = clip lo hi (d - eta *: surrogate_gradient d s).
Proof. by rewrite /calibrate T4_calibrate_is_gradient_step. Qed.

(** T4. l is above its tangents. *)
Theorem T4_convex_tangent d e s :
  surrogate d s + dot (surrogate_gradient d s) (e - d) <= surrogate e s.
Proof.
rewrite -{2}(add_diff d e) T4_exact_quadratic ler_addl.
by rewrite divr_ge0 ?ler0n ?sqr_ge0.
Qed.

(** T4. l is convex: it lies below its chords. *)
Theorem T4_convex d e s x : 0 <= x <= 1 ->
  surrogate (x *: d + (1 - x) *: e) s <= x * surrogate d s + (1 - x) * surrogate e s.
Proof.
case/andP=> x_ge0 x_le1; rewrite -subr_ge0 /surrogate dotDl !dotZl.
have -> : x * ((1 - dot d s) ^+ 2 / 2) + (1 - x) * ((1 - dot e s) ^+ 2 / 2) -
    (1 - (x * dot d s + (1 - x) * dot e s)) ^+ 2 / 2 =
    x * (1 - x) * ((dot d s - dot e s) ^+ 2 / 2) by field.
by apply: mulr_ge0; [apply: mulr_ge0; rewrite ?subr_ge0|rewrite divr_ge0 ?sqr_ge0 ?ler0n].
Qed.

(** T4. The gradient of l is |s|^2-Lipschitz (both sides squared). *)
Theorem T4_smooth_gradient d e s :
  norm_sq (surrogate_gradient d s - surrogate_gradient e s) <= norm_sq s ^+ 2 * norm_sq (d - e).
Proof.
have -> : surrogate_gradient d s - surrogate_gradient e s = dot (d - e) s *: s.
  by rewrite /surrogate_gradient -opprD -scalerBl -scaleNr dotBl; congr (_ *: _); ring.
have -> : norm_sq s ^+ 2 * norm_sq (d - e) = norm_sq (d - e) * norm_sq s * norm_sq s by ring.
by rewrite norm_sqZ ler_wpmul2r ?norm_sq_ge0 ?cauchy_schwarz.
Qed.

(** T4. l is |s|^2-smooth: it lies below its tangents plus |s|^2 |e - d|^2 / 2. *)
Theorem T4_smooth d e s :
  surrogate e s <= surrogate d s + dot (surrogate_gradient d s) (e - d) + norm_sq s / 2 * norm_sq (e - d).
Proof.
rewrite -{1}(add_diff d e) T4_exact_quadratic ler_add2l mulrAC.
by rewrite ler_wpmul2r ?invr_ge0 ?ler0n // mulrC cauchy_schwarz.
Qed.

(** T4. l is self-bounding: |grad l|^2 = 2 |s|^2 l. *)
Theorem T4_self_bounding d s :
  norm_sq (surrogate_gradient d s) = 2 * norm_sq s * surrogate d s.
Proof. by rewrite /surrogate_gradient norm_sqN norm_sqZ /surrogate; field. Qed.

(** T4. The right-Newton condition: where the residual is not zero, one full write zeroes the token loss if and only
    if <d, s> = 1. *)
Theorem T4_right_newton S k v d : residual S k v != 0 ->
  (token_loss (write S k v d 1) k v == 0) = (alignment d (feature k) == 1).
Proof.
rewrite -token_loss_eq0 => nz.
by rewrite T3_loss_identity mulf_eq0 (negbTE nz) orbF sqrf_eq0 mul1r subr_eq0 eq_sym.
Qed.

(** T4. If <d, s> = 1 then one full write zeroes the token loss, for every memory and value. *)
Theorem T4_right_newton_zeroes S k v d : alignment d (feature k) = 1 ->
  token_loss (write S k v d 1) k v = 0.
Proof. by move=> newton; rewrite T3_loss_identity newton mul1r subrr expr0n mul0r. Qed.

End Token.
