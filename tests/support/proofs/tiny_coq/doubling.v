(** Doubling; comments may say Admitted and "*)" Axiom (* as they like *) without harm. *)
From Coq Require Import Arith Lia.
From TINY Require Import definitions.

Section Doubling.
Variable n : nat.
Hypothesis n_positive : positive n.

Lemma twice_grows : n < twice n.
Proof. unfold twice, positive in *; lia. Qed.

Theorem T5_twice_grows : n + 1 <= twice n.
Proof. pose proof twice_grows; lia. Qed.

End Doubling.

Theorem T5_needs_positive : ~ (forall n, n < twice n).
Proof. intro every; pose proof (every 0); unfold twice in *; lia. Qed.
