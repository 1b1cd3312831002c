(** T29: the scan by sweeps. Given gains drive all tokens at once, and the gains are corrected; with the clip, for any
    forgetting factors, weights, anchor and box. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring.
From OSDN Require Import definitions vectors projection scan forgetting causal driven.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Close.
Variable R : realFieldType.
Implicit Types (lo hi x y : R).

(** Clipping moves no two numbers apart. *)
Lemma clip1_close lo hi x y : `|clip1 lo hi x - clip1 lo hi y| <= `|x - y|.
Proof.
by rewrite -(ler_pexpn2r (isT : (0 < 2)%N)) ?nnegrE // !real_normK ?num_real // clip1_nonexpansive.
Qed.

Variable n : nat.
Implicit Types (d k s : 'rV[R]_n).

Lemma dot_close d s : `|dot d s| <= dot (magnitude s) (magnitude d).
Proof.
apply: (le_trans (ler_norm_sum _ _ _)); apply: ler_sum => i _.
by rewrite normrM !mxE mulrC.
Qed.

Lemma magnitude_ge0 s i : 0 <= magnitude s 0 i.
Proof. by rewrite mxE. Qed.

(** Features have no sign, unless a gate gives them one. *)
Lemma magnitude_feature k b : magnitude (b *: feature k) = `|b| *: feature k.
Proof. by apply/rowP => i; rewrite !mxE normrM; congr (_ * _); rewrite -expr2 ger0_norm ?sqr_ge0. Qed.

End Close.

Section Sweeps.
Variables (R : realFieldType) (n : nat).
Variables (eta : R) (w gamma : nat -> R) (c lo hi d1 : 'rV[R]_n) (x : nat -> 'rV[R]_n).
Implicit Types (u v z r : nat -> R) (t j m T : nat).

(** Token t's step with a given gain g: Pi[c + gamma (d - c) + g x]. *)
Definition gain_step t d (g : R) : 'rV[R]_n := clip lo hi (c + gamma t *: (d - c) + g *: x t).

(** eta w (1 - <d, x>), the gain that token t wants of d. *)
Definition gain_of t d : R := eta * w t * (1 - dot d (x t)).

(** Phi(u): the gains wanted along the run that u drives, all tokens at once. *)
Definition phi u : nat -> R := sweep d1 gain_step gain_of u.

(** The gains of the scan itself. *)
Definition scan_gain t : R := gain_of t (scan eta w gamma c lo hi d1 x t).

(** N_tj = eta w_t gamma_(j+1) ... gamma_(t-1) <|x_t|, |x_j|> *)
Definition gain_coupling t j : R :=
  eta * w t * (\prod_(j.+1 <= i < t) gamma i) * dot (magnitude (x t)) (magnitude (x j)).

(** What a unit of gain does to the iterate, and a change of the iterate to a gain, at most. *)
Definition written t : 'rV[R]_n := magnitude (x t).
Definition read t : 'rV[R]_n := (eta * w t) *: magnitude (x t).

Lemma scan_solved t : scan eta w gamma c lo hi d1 x t = solved d1 gain_step gain_of t.
Proof. by elim: t => //= t ->. Qed.

Lemma scan_gainE t : scan_gain t = solved_gain d1 gain_step gain_of t.
Proof. by rewrite /scan_gain scan_solved. Qed.

Lemma gain_couplingE t j :
  gain_coupling t j = coupling gamma written read t j.
Proof. by rewrite /gain_coupling /coupling dotZl /=; atoms; ring. Qed.

(** T29. The scan's gains are a fixed point of Phi, ... *)
Theorem T29_fixed_point t : phi scan_gain t = scan_gain t.
Proof. by rewrite scan_gainE -sweep_solved /phi /sweep; congr gain_of; apply: driven_ext => *; rewrite scan_gainE. Qed.

(** ... the only one on any number of tokens, ... *)
Theorem T29_only_fixed_point u T : (forall t, (t < T)%N -> phi u t = u t) ->
  forall t, (t < T)%N -> u t = scan_gain t.
Proof. by move=> fixed t tT; rewrite scan_gainE; exact: (sweep_fixed_only fixed). Qed.

(** ... and they drive the scan. *)
Theorem T29_drives_the_scan t : driven d1 gain_step scan_gain t = scan eta w gamma c lo hi d1 x t.
Proof. by rewrite scan_solved; apply: driven_solved => *; rewrite scan_gainE. Qed.

(** T29 (i). m sweeps make the first m gains exact, and the iterates up to number m: no hypothesis at all. *)
Theorem T29_first_gains u m t : (t < m)%N -> iter m phi u t = scan_gain t.
Proof. by rewrite scan_gainE; exact: sweeps_exact. Qed.

Theorem T29_first_iterates u m t : (t <= m)%N ->
  driven d1 gain_step (iter m phi u) t = scan eta w gamma c lo hi d1 x t.
Proof.
move=> tm; rewrite scan_solved; apply: driven_solved => j jt.
by rewrite -scan_gainE; apply: T29_first_gains; exact: leq_trans tm.
Qed.

Hypothesis gate_ge0 : forall t, 0 <= gamma t.
Hypothesis rate_ge0 : forall t, 0 <= eta * w t.

Lemma gain_coupling_ge0 t j : (j < t)%N -> 0 <= gain_coupling t j.
Proof.
move=> _; apply: mulr_ge0; first by apply: mulr_ge0 (rate_ge0 t) _; rewrite prodr_ge0.
by apply: sumr_ge0 => i _; rewrite mulr_ge0 ?magnitude_ge0.
Qed.

Lemma gain_step_close t d d' (g h : R) i :
  `|gain_step t d g 0 i - gain_step t d' h 0 i| <= gamma t * `|d 0 i - d' 0 i| + `|g - h| * written t 0 i.
Proof.
rewrite !mxE; apply: (le_trans (clip1_close _ _ _ _)); rewrite -[X in X * `|d _ _ - _|]ger0_norm // -!normrM.
apply: le_trans (ler_norm_add _ _); rewrite le_eqVlt; apply/orP; left; apply/eqP; congr (`|_|); entries; ring.
Qed.

Lemma gain_of_close t d d' :
  `|gain_of t d - gain_of t d'| <= dot (read t) (magnitude (d - d')).
Proof.
have -> : gain_of t d - gain_of t d' = - (eta * w t * dot (d - d') (x t)).
  by rewrite /gain_of dotBl; atoms; ring.
by rewrite normrN normrM ger0_norm // dotZl ler_wpmul2l // dot_close.
Qed.

Lemma gain_causal e t : causal gain_coupling e t =
  causal (coupling gamma written read) e t.
Proof. by apply: eq_bigr => j _; rewrite gain_couplingE. Qed.

Lemma read_ge0 t i : 0 <= read t 0 i.
Proof. by rewrite !mxE mulr_ge0. Qed.

(** T29. |Phi(u) - Phi(v)| <= N |u - v|, entry by entry, whatever clips. *)
Theorem T29_comparison u v t : `|phi u t - phi v t| <= \sum_(j < t) gain_coupling t j * `|u j - v j|.
Proof.
rewrite -[X in _ <= X]/(causal gain_coupling (fun j => `|u j - v j|) t) gain_causal.
exact: (sweep_close d1 gate_ge0 read_ge0 gain_step_close gain_of_close).
Qed.

(** The start's distance from the scan's gains. *)
Definition start_error u j : R := `|u j - scan_gain j|.

(** T29 (ii). |u^(m) - u| <= N^m |u^(0) - u|. *)
Theorem T29_sweeps u m t :
  `|iter m phi u t - scan_gain t| <= iter m (causal gain_coupling) (start_error u) t.
Proof.
elim: m t => // m IH t; rewrite -T29_fixed_point; apply: (le_trans (T29_comparison _ _ _)).
rewrite [iter m.+1 (causal _) _]iterS; exact: (causal_le gain_coupling_ge0 (fun j _ => IH j)).
Qed.

(** T29 (ii). With entries of N at most L, m sweeps leave L^m (t choose m) of the largest start error at the token with
    t before it: at most (L t)^m / m!, and nothing for m > t. *)
Theorem T29_binomial (L E : R) u m T : 0 <= L ->
  (forall t j, (j < t)%N -> (t < T)%N -> gain_coupling t j <= L) ->
  (forall j, (j < T)%N -> start_error u j <= E) ->
  forall t, (t < T)%N -> `|iter m phi u t - scan_gain t| <= L ^+ m * 'C(t, m)%:R * E.
Proof.
move=> L_ge0 small near t tT; have E_ge0 : 0 <= E := le_trans (normr_ge0 _) (near t tT).
apply: (le_trans (T29_sweeps _ _ _)); apply: iter_causal_binomial tT => //; exact: gain_coupling_ge0.
Qed.

Theorem T29_factorial (L E : R) u m T : 0 <= L ->
  (forall t j, (j < t)%N -> (t < T)%N -> gain_coupling t j <= L) ->
  (forall j, (j < T)%N -> start_error u j <= E) ->
  forall t, (t < T)%N -> `|iter m phi u t - scan_gain t| <= (L * t%:R) ^+ m / m`!%:R * E.
Proof.
move=> L_ge0 small near t tT; have E_ge0 : 0 <= E := le_trans (normr_ge0 _) (near t tT).
apply: (le_trans (T29_binomial m L_ge0 small near tT)); rewrite ler_wpmul2r //.
by rewrite exprMn -mulrA ler_wpmul2l ?exprn_ge0 // bin_le_power.
Qed.

(** T29 (ii). Where the rows of N sum to at most rho, the sweeps converge at that rate, however many tokens there
    are ... *)
Theorem T29_geometric (rho E : R) u m T : 0 <= rho ->
  (forall t, (t < T)%N -> \sum_(j < t) gain_coupling t j <= rho) ->
  (forall j, (j < T)%N -> start_error u j <= E) ->
  forall t, (t < T)%N -> `|iter m phi u t - scan_gain t| <= rho ^+ m * E.
Proof.
move=> rho_ge0 rows near t tT; have E_ge0 : 0 <= E := le_trans (normr_ge0 _) (near t tT).
apply: (le_trans (T29_sweeps _ _ _)); apply: iter_causal_geometric tT => //; exact: gain_coupling_ge0.
Qed.

(** The sum of all fades that end at one token. *)
Lemma fading_sum (g : R) T : g < 1 -> (forall t, (t < T)%N -> gamma t <= g) ->
  forall t, (t < T)%N -> \sum_(j < t) \prod_(j.+1 <= i < t) gamma i <= (1 - g)^-1.
Proof.
move=> g1 gates t tT; have pos : 0 < 1 - g by rewrite subr_gt0.
have g_ge0 : 0 <= g := le_trans (gate_ge0 t) (gates t tT).
elim: t tT => [|t IH] tT; first by rewrite big_ord0 invr_ge0 ltW.
rewrite big_ord_recr /= big_geq // (_ : (1 - g)^-1 = g * (1 - g)^-1 + 1); last first.
  by field; rewrite gt_eqF.
rewrite ler_add2r; apply: (@le_trans _ _ (gamma t * \sum_(j < t) \prod_(j.+1 <= i < t) gamma i)).
  by rewrite mulr_sumr; apply: ler_sum => j _; rewrite big_nat_recr //= mulrC.
apply: (le_trans (ler_wpmul2l (gate_ge0 t) (IH (ltnW tT)))).
by rewrite ler_wpmul2r ?invr_ge0 ?(ltW pos) // gates // ltnW.
Qed.

(** ... as they do with forgetting: L / (1 - g) for factors of at most g < 1. *)
Theorem T29_forgetting (L g : R) T : 0 <= L -> g < 1 -> (forall t, (t < T)%N -> gamma t <= g) ->
  (forall t j, (j < t)%N -> (t < T)%N -> eta * w t * dot (magnitude (x t)) (magnitude (x j)) <= L) ->
  forall t, (t < T)%N -> \sum_(j < t) gain_coupling t j <= L / (1 - g).
Proof.
move=> L_ge0 g1 gates small t tT.
apply: (le_trans _ (ler_wpmul2l L_ge0 (fading_sum g1 gates tT))); rewrite mulr_sumr.
apply: ler_sum => j _; rewrite /gain_coupling mulrAC ler_wpmul2r ?small //.
by rewrite prodr_ge0.
Qed.

(** T29 (iii), whatever v is: by how much it misses being a fixed point says how far it is from the scan's gains. Any z
    that is at least N z + r bounds the error; the least is (I - N)^-1 r. *)
Lemma defect_below v r T : (forall t, (t < T)%N -> `|v t - phi v t| <= r t) ->
  forall t, (t < T)%N -> `|v t - scan_gain t| <= causal gain_coupling (fun j => `|v j - scan_gain j|) t + r t.
Proof.
move=> defect t tT; apply: (le_trans (ler_dist_add (phi v t) _ _)); rewrite addrC ler_add ?defect //.
rewrite -[X in _ - X]T29_fixed_point; exact: T29_comparison.
Qed.

Theorem T29_certificate v z r T : (forall t, (t < T)%N -> `|v t - phi v t| <= r t) ->
  (forall t, (t < T)%N -> \sum_(j < t) gain_coupling t j * z j + r t <= z t) ->
  forall t, (t < T)%N -> `|v t - scan_gain t| <= z t.
Proof. by move=> defect above; apply: (causal_least gain_coupling_ge0 (defect_below defect)). Qed.

Theorem T29_defect v r T : (forall t, (t < T)%N -> `|v t - phi v t| <= r t) ->
  forall t : 'I_T, `|v t - scan_gain t| <= (invmx (1%:M - causal_mx gain_coupling T) *m column T r) t 0.
Proof. by move=> defect; exact: (causal_solution gain_coupling_ge0 (defect_below defect)). Qed.

(** T29 (iii), for sweeps in rounded arithmetic: v is a sweep of u up to r. *)
Theorem T29_rounded u v r T : (forall t, (t < T)%N -> `|v t - phi u t| <= r t) ->
  forall t : 'I_T, `|v t - scan_gain t| <=
    (invmx (1%:M - causal_mx gain_coupling T) *m
      (causal_mx gain_coupling T *m column T (fun j => `|v j - u j|) + column T r)) t 0.
Proof.
move=> rounded; pose moved := causal gain_coupling (fun j => `|v j - u j|).
have -> : causal_mx gain_coupling T *m column T (fun j => `|v j - u j|) + column T r =
    column T (fun t => moved t + r t) by rewrite causal_mxE; apply/colP => t; rewrite !mxE.
apply: T29_defect => t tT; apply: (le_trans (ler_dist_add (phi u t) _ _)); rewrite addrC ler_add ?rounded //.
rewrite distrC; exact: T29_comparison.
Qed.

(** T29 (iii). |u^(m+1) - u| <= (I - N)^-1 N |u^(m+1) - u^(m)|. *)
Theorem T29_a_posteriori u m T (t : 'I_T) :
  `|iter m.+1 phi u t - scan_gain t| <=
  (invmx (1%:M - causal_mx gain_coupling T) *m
    (causal_mx gain_coupling T *m column T (fun j => `|iter m.+1 phi u j - iter m phi u j|))) t 0.
Proof.
have := @T29_rounded (iter m phi u) (iter m.+1 phi u) (fun=> 0) T.
rewrite (_ : column T (fun=> 0) = 0) ?addr0; last by apply/colP => i; rewrite !mxE.
by apply=> i _; rewrite subrr normr0.
Qed.

(** T29. N e is one pass of a run without a box from 0, whose gains are e: eta w_t <|x_t|, y_t>,
    y_{t+1} = gamma_t y_t + e_t |x_t|. So the certificate costs what a scan costs. *)
Theorem T29_spread (e : nat -> R) t : \sum_(j < t) gain_coupling t j * e j = dot (read t) (carried gamma written e t).
Proof. by rewrite -[LHS]/(causal gain_coupling e t) gain_causal -spread_causal. Qed.

End Sweeps.

Section UnitKeys.
Variables (R : realFieldType) (n : nat).
Variables (eta : R) (w gamma : nat -> R) (c lo hi d1 : 'rV[R]_n) (k : nat -> 'rV[R]_n) (b : nat -> R).

(** <s, s'> <= 1 for keys of length at most 1 *)
Lemma dot_feature_le1 (k1 k2 : 'rV[R]_n) : norm_sq k1 <= 1 -> norm_sq k2 <= 1 ->
  dot (feature k1) (feature k2) <= 1.
Proof.
move=> unit1 unit2; apply: le_trans unit1; rewrite norm_sqE; apply: ler_sum => i _.
rewrite !mxE -!expr2 ler_pimulr ?sqr_ge0 //; exact: le_trans (norm_sq_coord k2 i) unit2.
Qed.

(** T29. With features b_t s_t, beta-aware or not, N has the products of the gates without their signs. *)
Theorem T29_feature_coupling t j :
  gain_coupling eta w gamma (fun t => b t *: feature (k t)) t j =
  eta * w t * (\prod_(j.+1 <= i < t) gamma i) * (`|b t| * `|b j| * dot (feature (k t)) (feature (k j))).
Proof. by rewrite /gain_coupling !magnitude_feature dotZl dotZr mulrA. Qed.

(** T29 (ii), the factorial bound: keys of length at most 1, gates in [0, 1], weights at most 1, write gates of size at
    most 1. *)
Theorem T29_unit_keys (E : R) u m T : 0 <= eta ->
  (forall t, norm_sq (k t) <= 1) -> (forall t, `|b t| <= 1) -> (forall t, 0 <= w t <= 1) ->
  (forall t, 0 <= gamma t <= 1) ->
  let x t := b t *: feature (k t) in
  (forall j, (j < T)%N -> start_error eta w gamma c lo hi d1 x u j <= E) ->
  forall t, (t < T)%N ->
    `|iter m (phi eta w gamma c lo hi d1 x) u t - scan_gain eta w gamma c lo hi d1 x t| <=
    (eta * t%:R) ^+ m / m`!%:R * E.
Proof.
move=> eta_ge0 unit bounded weights gates x near t tT.
have gates_ge0 i : 0 <= gamma i by case/andP: (gates i).
have rates_ge0 i : 0 <= eta * w i by case/andP: (weights i) => w_ge0 _; rewrite mulr_ge0.
apply: (@T29_factorial _ _ eta w gamma c lo hi d1 x gates_ge0 rates_ge0 eta E u m T) => // i j _ _.
rewrite T29_feature_coupling.
have [/andP[wi_ge0 wi_le1] inner_le1] := (weights i, dot_feature_le1 (unit i) (unit j)).
have /andP[fade_ge0 fade_le1] : 0 <= \prod_(j.+1 <= l < i) gamma l <= 1.
  elim/big_rec: _ => [|l y _ /andP[y_ge0 y_le1]]; first by rewrite ler01 lexx.
  by have /andP[g_ge0 g_le1] := gates l; rewrite mulr_ge0 //= mulr_ile1.
have inner_ge0 : 0 <= dot (feature (k i)) (feature (k j)).
  by apply: sumr_ge0 => l _; rewrite !mxE -!expr2 mulr_ge0 ?sqr_ge0.
have small (p q : R) : 0 <= p -> p <= 1 -> 0 <= q -> q <= 1 -> 0 <= p * q <= 1.
  by move=> p0 p1 q0 q1; rewrite mulr_ge0 // mulr_ile1.
have /andP[bb_ge0 bb_le1] := small _ _ (normr_ge0 _) (bounded i) (normr_ge0 _) (bounded j).
have /andP[bs_ge0 bs_le1] := small _ _ bb_ge0 bb_le1 inner_ge0 inner_le1.
have /andP[wf_ge0 wf_le1] := small _ _ wi_ge0 wi_le1 fade_ge0 fade_le1.
by rewrite -!mulrA (mulrA (w i)) (mulrA `|b i|) ler_pimulr // mulr_ile1.
Qed.

End UnitKeys.

Section Norm.
Variables (R : realFieldType) (n : nat).

Lemma norm_triangle (u v : 'rV[R]_n) (a b : R) : 0 <= a -> 0 <= b ->
  norm_sq u <= a ^+ 2 -> norm_sq v <= b ^+ 2 -> norm_sq (u + v) <= (a + b) ^+ 2.
Proof.
move=> a_ge0 b_ge0 ua vb; have inner : dot u v <= a * b.
  apply: (le_trans (ler_norm _)); rewrite -(ler_pexpn2r (isT : (0 < 2)%N)) ?nnegrE ?mulr_ge0 //.
  rewrite real_normK ?num_real // exprMn; apply: (le_trans (cauchy_schwarz u v)).
  by rewrite ler_pmul ?norm_sq_ge0.
rewrite norm_sqD (_ : (a + b) ^+ 2 = a ^+ 2 + 2 * (a * b) + b ^+ 2); last by ring.
by rewrite !ler_add // ler_wpmul2l ?ler0n.
Qed.

(** T29 (iii), in the norm. Iterates p that miss each step by e before the clip and by f after it are within r of the
    scan's: r does not grow where eta w |x|^2 <= 2 gamma, as (I - N)^-1 does. *)
Theorem T29_norm_certificate eta (w gamma : nat -> R) (c lo hi d1 : 'rV[R]_n) (x p e f : nat -> 'rV[R]_n)
    (r a b : nat -> R) T :
  (forall t, 0 <= eta * w t) -> (forall t, 0 <= gamma t) ->
  (forall t, (t < T)%N -> eta * w t * norm_sq (x t) <= 2 * gamma t) ->
  p 0%N = d1 -> (forall t, (t < T)%N ->
    p t.+1 = clip lo hi (calibrate_free eta (w t) (gamma t) c (p t) (x t) + e t) + f t) ->
  (forall t, 0 <= a t /\ norm_sq (e t) <= a t ^+ 2) -> (forall t, 0 <= b t /\ norm_sq (f t) <= b t ^+ 2) ->
  r 0%N = 0 -> (forall t, r t.+1 = gamma t * r t + a t + b t) ->
  forall t, (t <= T)%N -> norm_sq (p t - scan eta w gamma c lo hi d1 x t) <= r t ^+ 2.
Proof.
move=> rates gates steps p0 pS small_e small_f r0 rS.
have r_ge0 t : 0 <= r t.
  elim: t => [|t IH]; first by rewrite r0.
  by rewrite rS !addr_ge0 ?mulr_ge0 //; [case: (small_e t)|case: (small_f t)].
elim=> [|t IH] tT; first by rewrite p0 subrr norm_sq0 r0 expr0n.
have [[a_ge0 ea] [b_ge0 fb]] := (small_e t, small_f t).
rewrite pS // rS addrAC; apply: norm_triangle => //; first by rewrite addr_ge0 ?mulr_ge0.
apply: (le_trans (clip_nonexpansive _ _ _ _)); rewrite addrAC; apply: norm_triangle => //; first by rewrite mulr_ge0.
apply: (le_trans (free_contraction c (p t) _ (rates t) (steps t tT))).
by rewrite exprMn ler_wpmul2l ?sqr_ge0 // IH // ltnW.
Qed.

End Norm.
