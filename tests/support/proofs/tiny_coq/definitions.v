(** A library just large enough to be tampered with: no MathComp, so that it compiles at once. *)

Definition twice (n : nat) : nat := n + n.

Definition positive (n : nat) : Prop := 1 <= n.
