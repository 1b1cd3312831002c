(** T17: gated recurrences. The gate acts before the residual; measured against the gated state the surrogate is still
    a function of d alone. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors token.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Gated.
Variables (R : realFieldType) (p n : nat).
Implicit Types (S : 'M[R]_(p, n)) (k d : 'rV[R]_n) (v : 'rV[R]_p) (beta : R).

(** The recurrence of Gated DeltaNet: one gate per token and head. *)
Definition gated_write (alpha : R) S k v d beta := write (alpha *: S) k v d beta.

(** The recurrence of KDA: one gate per feature of the key. *)
Definition kda_write (alpha : 'rV[R]_n) S k v d beta := write (S *m diag_mx alpha) k v d beta.

(** T17. f(S_t) = (1 - beta a)^2 f(alpha S_{t-1}), for one gate per token. *)
Theorem T17_gated alpha S k v d beta :
  token_loss (gated_write alpha S k v d beta) k v =
  (1 - beta * alignment d (feature k)) ^+ 2 * token_loss (alpha *: S) k v.
Proof. exact: T3_loss_identity. Qed.

(** T17. f(S_t) = (1 - beta a)^2 f(S_{t-1} Diag(alpha)), for one gate per feature. *)
Theorem T17_kda (alpha : 'rV[R]_n) S k v d beta :
  token_loss (kda_write alpha S k v d beta) k v =
  (1 - beta * alignment d (feature k)) ^+ 2 * token_loss (S *m diag_mx alpha) k v.
Proof. exact: T3_loss_identity. Qed.

(** T17. The ratio against the gated state is (1 - beta a)^2: no S, v or alpha in it. *)
Theorem T17_gated_ratio (alpha : R) S k v d beta : residual (alpha *: S) k v != 0 ->
  token_loss (gated_write alpha S k v d beta) k v / token_loss (alpha *: S) k v =
  (1 - beta * alignment d (feature k)) ^+ 2.
Proof. exact: T3_residual_ratio. Qed.

(** T17. The same for one gate per feature. *)
Theorem T17_kda_ratio (alpha : 'rV[R]_n) S k v d beta : residual (S *m diag_mx alpha) k v != 0 ->
  token_loss (kda_write alpha S k v d beta) k v / token_loss (S *m diag_mx alpha) k v =
  (1 - beta * alignment d (feature k)) ^+ 2.
Proof. exact: T3_residual_ratio. Qed.

(** T17. One gate per token is the gate per feature with equal entries. *)
Theorem T17_gated_is_kda (alpha : R) S k v d beta :
  kda_write (const_mx alpha) S k v d beta = gated_write alpha S k v d beta.
Proof. by rewrite /kda_write /gated_write diag_const_mx mul_mx_scalar. Qed.

(** T17. Measured against S_{t-1} the residual keeps a term (1 - alpha) S_{t-1} k that d can scale but not remove:
    v - S_t k = (1 - beta a) ((v - S_{t-1} k) + (1 - alpha) S_{t-1} k). *)
Theorem T17_ungated_residual (alpha : R) S k v d beta :
  residual (gated_write alpha S k v d beta) k v =
  (1 - beta * alignment d (feature k)) *: (residual S k v + (1 - alpha) *: (k *m S^T)).
Proof.
rewrite T3_residual_identity; congr (_ *: _); rewrite /residual linearZ /= -scalemxAr scalerBl scale1r.
by rewrite addrA subrK.
Qed.

(** T17. So measured against f(S_{t-1}) the loss keeps terms of the memory and the value, whatever d is: with
    m = (1 - alpha) S_{t-1} k, f(S_t) = (1 - beta a)^2 (f(S_{t-1}) + <v - S_{t-1} k, m> + |m|^2 / 2). *)
Theorem T17_ungated_loss (alpha : R) S k v d beta :
  let m := (1 - alpha) *: (k *m S^T) in
  token_loss (gated_write alpha S k v d beta) k v =
  (1 - beta * alignment d (feature k)) ^+ 2 * (token_loss S k v + dot (residual S k v) m + norm_sq m / 2).
Proof.
move=> m; rewrite /token_loss T17_ungated_residual norm_sqZ norm_sqD.
by move: (dot _ m) (norm_sq m) (norm_sq (residual _ _ _)) => x y z; field.
Qed.

End Gated.
