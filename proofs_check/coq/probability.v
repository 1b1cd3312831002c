(** Expectations on a finite probability space, and independence. *)
From mathcomp Require Import all_ssreflect all_algebra.
From OSDN Require Import definitions vectors.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Space.
Variables (R : realFieldType) (Omega : finType) (P : Omega -> R).

Definition distribution : Prop := (forall o, 0 <= P o) /\ \sum_o P o = 1.

(** The probability of an event. *)
Definition prob (A : pred Omega) : R := \sum_(o | A o) P o.

(** The mean of a number and of a matrix (a row vector in particular). *)
Definition mean (X : Omega -> R) : R := \sum_o P o * X o.
Definition mean_mx m n (X : Omega -> 'M[R]_(m, n)) : 'M[R]_(m, n) := \sum_o P o *: X o.

(** P(X = x, Y = y) = P(X = x) P(Y = y) for all x and y. *)
Definition independent (A B : eqType) (X : Omega -> A) (Y : Omega -> B) : Prop :=
  forall x y, prob (fun o => (X o == x) && (Y o == y)) =
    prob (fun o => X o == x) * prob (fun o => Y o == y).

Lemma eq_prob (A B : pred Omega) : A =1 B -> prob A = prob B.
Proof. exact: eq_bigl. Qed.

Lemma prob_none (A : pred Omega) : A =1 xpred0 -> prob A = 0.
Proof. by move/eq_prob->; rewrite /prob big_pred0_eq. Qed.

Lemma sum_by_value (A : eqType) (X : Omega -> A) (F : Omega -> R) :
  \sum_o F o = \sum_(x <- undup (codom X)) \sum_(o | X o == x) F o.
Proof.
rewrite (exchange_big_dep xpredT) //=; apply: eq_bigr => o _.
rewrite -big_filter (eq_filter (a2 := pred1 (X o))) => [|x]; last exact: eq_sym.
by rewrite filter_pred1_uniq ?undup_uniq ?mem_undup ?codom_f // big_seq1.
Qed.

Lemma mean_by_value (A : eqType) (X : Omega -> A) (f : A -> R) (F : Omega -> R) :
  mean (fun o => f (X o) * F o) = \sum_(x <- undup (codom X)) f x * \sum_(o | X o == x) P o * F o.
Proof.
rewrite /mean (sum_by_value X); apply: eq_bigr => x _; rewrite mulr_sumr.
by apply: eq_bigr => o /eqP->; rewrite mulrCA.
Qed.

(** The mean of a product of functions of independent variables is the product of the means. *)
Lemma independent_mean (A B : eqType) (X : Omega -> A) (Y : Omega -> B) (f : A -> R) (g : B -> R) :
  independent X Y -> mean (fun o => f (X o) * g (Y o)) = mean (f \o X) * mean (g \o Y).
Proof.
move=> ind; rewrite mean_by_value.
have -> : mean (f \o X) = \sum_(x <- undup (codom X)) f x * prob (fun o => X o == x).
  transitivity (mean (fun o => f (X o) * 1)); first by apply: eq_bigr => o _; rewrite mulr1.
  rewrite mean_by_value; apply: eq_bigr => x _; congr (_ * _).
  by apply: eq_bigr => o _; rewrite mulr1.
rewrite mulr_suml; apply: eq_bigr => x _; rewrite -mulrA; congr (_ * _).
have -> : mean (g \o Y) = \sum_(y <- undup (codom Y)) g y * prob (fun o => Y o == y).
  transitivity (mean (fun o => g (Y o) * 1)); first by apply: eq_bigr => o _; rewrite mulr1.
  rewrite mean_by_value; apply: eq_bigr => y _; congr (_ * _).
  by apply: eq_bigr => o _; rewrite mulr1.
rewrite mulr_sumr big_mkcond (sum_by_value Y); apply: eq_bigr => y _.
rewrite mulrCA -ind /prob mulr_sumr -big_mkcondr.
by apply: eq_big => [o|o /andP[/eqP-> _]]; rewrite 1?andbC // mulrC.
Qed.

Section Linear.
Variables (m n : nat).
Implicit Types (X Y : Omega -> 'M[R]_(m, n)).

Lemma mean_mxE X i j : mean_mx X i j = mean (fun o => X o i j).
Proof. by rewrite summxE; apply: eq_bigr => o _; rewrite mxE. Qed.

Lemma mean_mxD X Y : mean_mx (fun o => X o + Y o) = mean_mx X + mean_mx Y.
Proof. by rewrite -big_split; apply: eq_bigr => o _; rewrite scalerDr. Qed.

Lemma mean_mxZ x X : mean_mx (fun o => x *: X o) = x *: mean_mx X.
Proof. by rewrite scaler_sumr; apply: eq_bigr => o _; rewrite !scalerA mulrC. Qed.

Lemma mean_mx_const (M : 'M[R]_(m, n)) : distribution -> mean_mx (fun=> M) = M.
Proof. by case=> _ one; rewrite /mean_mx -scaler_suml one scale1r. Qed.

End Linear.

(** The mean of a vector times an independent matrix. *)
Lemma independent_mean_mulmx (A : eqType) (X : Omega -> A) q m n (Y : Omega -> 'rV[R]_q)
  (f : A -> 'rV[R]_m) (g : 'rV[R]_q -> 'M[R]_(m, n)) : independent X Y ->
  mean_mx (fun o => f (X o) *m g (Y o)) = mean_mx (f \o X) *m mean_mx (g \o Y).
Proof.
move=> ind; apply/rowP => j; rewrite mean_mxE mxE.
transitivity (\sum_i mean (fun o => f (X o) 0 i * g (Y o) i j)).
  rewrite exchange_big; apply: eq_bigr => o _; rewrite mxE mulr_sumr; exact: eq_bigr.
apply: eq_bigr => i _; rewrite !mean_mxE.
exact: (independent_mean (fun a => f a 0 i) (fun b => g b i j) ind).
Qed.

End Space.

(** Independent draws: the product of T copies of one distribution. *)
Section Product.
Variables (R : realFieldType) (T : nat) (A : finType) (mu : A -> R).
Hypothesis mu_distribution : distribution mu.

Definition product_law (o : {ffun 'I_T -> A}) : R := \prod_i mu (o i).

(** The probability of a rectangle is the product of the probabilities of its sides. *)
Lemma prob_rectangle (Q : 'I_T -> pred A) :
  prob product_law (fun o => [forall i, Q i (o i)]) = \prod_i prob mu (Q i).
Proof.
rewrite bigA_distr_big_dep; apply: eq_bigl => o; exact: eq_forallb.
Qed.

Lemma prob_all : prob mu xpredT = 1.
Proof. by case: mu_distribution. Qed.

Lemma product_distribution : distribution product_law.
Proof.
split=> [o|]; first by apply: prodr_ge0 => i _; case: mu_distribution.
have := prob_rectangle (fun _ => xpredT); rewrite big1 => [<-|i _]; last exact: prob_all.
by apply: eq_bigl => o; apply/esym/forallP.
Qed.

(** Each coordinate has the law of one draw. *)
Lemma mean_coordinate (now : 'I_T) (f : A -> R) : mean product_law (fun o => f (o now)) = mean mu f.
Proof.
pose F i a := mu a * (if i == now then f a else 1).
transitivity (\prod_i \sum_a F i a).
  rewrite bigA_distr_bigA; apply: eq_bigr => o _; rewrite big_split /=; congr (_ * _).
  by rewrite -big_mkcond big_pred1_eq.
rewrite (bigD1 now) //= [X in _ * X]big1 => [|i /negbTE other]; last first.
  by rewrite -prob_all; apply: eq_bigr => a _; rewrite /F other mulr1.
by rewrite mulr1; apply: eq_bigr => a _; rewrite /F eqxx.
Qed.

(** Rectangles on disjoint sets of coordinates are independent events. *)
Lemma prob_disjoint (Q Q' : 'I_T -> pred A) (D : pred 'I_T) :
  (forall i, ~~ D i -> Q i =1 xpredT) -> (forall i, D i -> Q' i =1 xpredT) ->
  prob product_law (fun o => [forall i, Q i (o i)] && [forall i, Q' i (o i)]) =
  prob product_law (fun o => [forall i, Q i (o i)]) * prob product_law (fun o => [forall i, Q' i (o i)]).
Proof.
move=> free free'; rewrite !prob_rectangle -big_split /=.
transitivity (prob product_law (fun o => [forall i, Q i (o i) && Q' i (o i)])).
  apply: eq_bigl => o; apply/andP/forallP => [[/forallP q /forallP q'] i|q]; first by rewrite q q'.
  by split; apply/forallP => i; case/andP: (q i).
rewrite (prob_rectangle (fun i a => Q i a && Q' i a)); apply: eq_bigr => i _; have [Di|nDi] := boolP (D i).
  rewrite -[LHS]mulr1 -prob_all; congr (_ * _); apply: eq_bigl => a; by rewrite free' ?andbT.
rewrite -[LHS]mul1r -prob_all; congr (_ * _); apply: eq_bigl => a; by rewrite free.
Qed.

End Product.
