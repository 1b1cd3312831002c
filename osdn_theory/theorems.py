r"""The theorems T1 to T29 in words and as formulas: one text for the proofs, the report, and whoever asks.

Symbols: state `S` (V x K), key `k`, value `v`, gate `beta`, preconditioner `d`, squared key `s = k * k`, alignment
`a = <d, s>`, step `eta`, forgetting `gamma`, anchor `c`, feedback weight `w`, `M = max |s_t|^2`; `f` is the token
loss and `l` the surrogate. In LaTeX :math:`\odot` is the product entry by entry and :math:`\Pi` the clip to the box.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Theorem:
    """What a theorem says.

    - `id`, `title`: "T5", "Interpolating regret".
    - `latex`: Formulas, separated by ``,\\quad`` or ``;\\quad``.
    - `plain`: One or two sentences.
    """

    id: str
    title: str
    latex: str
    plain: str
    hypotheses: tuple[str, ...] = ()

    @property
    def formulas(self) -> tuple[str, ...]:
        """The formulas of `latex`, one by one."""
        return tuple(part.strip() for part in re.split(r"[,;]\\quad", self.latex))


_PLAIN_CALIBRATION = ("w_t = 1 and gamma_t = 1",)
_INTERPOLATION = "some u in the box has <u, s_t> = 1 for every t"

_ALL = (
    Theorem(
        "T1",
        "Exact quadratic",
        r"f(S + \Delta) = f(S) + \langle \nabla f(S), \Delta \rangle + \frac{1}{2} \|\Delta k\|^2,\quad"
        r" \nabla f(S) = (S k - v) k^\top;\quad"
        r" F(S) - F^* = \frac{1}{2} \operatorname{tr}\left((S - S^*) G (S - S^*)^\top\right)",
        "The token loss is its second-order expansion, and the loss of a context exceeds its minimum by a quadratic "
        "form whose Hessian is the Gram matrix of the keys, acting on the right.",
        ("S* solves the normal equations S* G = sum of v_t k_t^T",),
    ),
    Theorem(
        "T2",
        "Right-preconditioning is key scaling",
        r"\nabla f(S)\,\mathrm{Diag}(d) = (S k - v)(d \odot k)^\top",
        "A gradient step preconditioned from the right by a diagonal erases with k and writes with d * k.",
    ),
    Theorem(
        "T3",
        "Residual identity",
        r"v - S_t k = (1 - \beta a)(v - S_{t-1} k),\quad f(S_t) = (1 - \beta a)^2 f(S_{t-1})",
        "A write scales the token's residual by 1 - beta a, whatever the state and the value are.",
    ),
    Theorem(
        "T4",
        "Hypergradient",
        r"\ell(d) = \frac{1}{2} (1 - \langle d, s \rangle)^2,\quad -\nabla \ell(d) = (1 - a) s,\quad"
        r" \|\nabla \ell(d)\|^2 = 2 \|s\|^2 \ell(d)",
        "The surrogate is half the residual ratio of a full write; the calibrate step is projected gradient descent "
        "on it. It is convex, |s|^2-smooth and self-bounding, and <d, s> = 1 makes one write zero the token loss.",
    ),
    Theorem(
        "T5",
        "Interpolating regret",
        r"\sum_{t \leq T} (1 - a_t)^2 \leq C := \frac{\|d_1 - u\|^2}{\eta (2 - \eta M)}",
        "If one preconditioner solves the surrogate of every token, the squared gaps of all tokens together stay "
        "below a constant that does not grow with T.",
        (_INTERPOLATION, *_PLAIN_CALIBRATION, "0 < eta and eta |s_t|^2 <= eta M < 2 for every t"),
    ),
    Theorem(
        "T6",
        "Super-geometric convergence",
        r"\prod_{t \leq T} q_t \leq (C / T)^T",
        "Under T5 the product of the residual ratios of full writes falls faster than any geometric rate.",
        (_INTERPOLATION, *_PLAIN_CALIBRATION, "0 < eta < 2 / M", "beta_t = 1", "T >= 1"),
    ),
    Theorem(
        "T7",
        "Contraction for any gate",
        r"\sqrt{q_t} \leq |1 - \beta_t| + \beta_t |1 - a_t|,\quad"
        r" \prod_t \sqrt{q_t} \leq \left(\frac{1}{T} \sum_t |1 - \beta_t| + \bar{\beta}_2 \sqrt{C / T}\right)^T",
        "Gates other than 1 add their own distance from 1 to the rate; with beta-aware feedback T5 and T6 hold for "
        "beta_t s_t in the place of s_t.",
        ("beta_t >= 0", _INTERPOLATION, *_PLAIN_CALIBRATION, "0 < eta < 2 / M"),
    ),
    Theorem(
        "T8",
        "Agnostic regret",
        r"\sum_t \ell_t(d_t) \leq \frac{\sum_t \ell_t(u) + \|d_1 - u\|^2 / (2 \eta)}{1 - \eta M}",
        "Without any interpolating preconditioner the surrogate losses stay within a factor and a constant of those "
        "of every fixed preconditioner in the box.",
        ("u in the box", *_PLAIN_CALIBRATION, "0 < eta < 1 / M"),
    ),
    Theorem(
        "T9",
        "Context hypergradient",
        r"\nabla_P \rho = -\frac{2\, g^\top (E - g P) G}{\operatorname{tr}(E G E^\top)},\quad"
        r" \nabla^2_d \rho = \frac{2\, (g^\top g) \odot G}{\operatorname{tr}(E G E^\top)}",
        "The ratio of suboptimality after and before a preconditioned step on the whole context is a convex "
        "quadratic in the preconditioner, with this gradient and Hessian; it is 2 L^2-smooth.",
        ("tr(E G E^T) > 0", "G symmetric, positive semidefinite, its eigenvalues at most L"),
    ),
    Theorem(
        "T10",
        "Super-geometric convergence against the right-Newton comparator",
        r"\sum_j \rho_j \leq L^2 \|P_1 - P^*\|_F^2,\quad"
        r" F(S_{T+1}) - F^* \leq (F(S_1) - F^*) \left(\frac{L^2 \|P_1 - P^*\|_F^2}{T}\right)^T",
        "Learning the preconditioner of the whole context by gradient steps of size 1/(2 L^2) is as good as knowing "
        "the Newton preconditioner, up to a constant. Vacuous until T exceeds that constant. It speaks of steps on the "
        "whole context: the online state approaches exact Newton no faster than DeltaNet's does, see the figure.",
        (
            "P* = G^+, the pseudo-inverse, G^-1 where there is one: P a full matrix, or P diagonal and G diagonal",
            "eta = 1 / (2 L^2), G nonzero with eigenvalues at most L",
        ),
    ),
    Theorem(
        "T11",
        "The preconditioner is itself a delta rule",
        r"d_{t+1} - c = (\gamma I - \eta w s s^\top)(d_t - c) + \eta w (1 - \langle c, s \rangle) s",
        "Without the clip the calibrate step is a delta rule with key s, so it has a chunk form; where every iterate "
        "of the chunk lies in the box, and the one it hands on, clipped and unclipped iterates are the same.",
        ("clip certificate: every unclipped iterate lies in the box",),
    ),
    Theorem(
        "T12",
        "Chunkwise equivalence",
        r"X = (I + A)^{-1} \mathrm{diag}(\beta)(V - K H),\quad"
        r" O = Q H + \operatorname{tril}(Q \tilde{K}^\top) X,\quad H^+ = H + \tilde{K}^\top X",
        "One triangular solve gives what the recurrence gives token by token: outputs and the state handed on.",
        ("A = tril(diag(beta) K K~^T, -1), K~ = D * K",),
    ),
    Theorem(
        "T13",
        "Forgetting",
        r"\|d_t - d'_t\| \leq \gamma^{t-1} \|d_1 - d'_1\|,\quad"
        r" a_\infty = \frac{(1 - \gamma) \langle c, s \rangle + \eta \|s\|^2}{(1 - \gamma) + \eta \|s\|^2}",
        "Forgetting is weight decay towards the anchor. Two runs from different starts approach each other at rate "
        "gamma; for a constant key the alignment settles at a weighted mean of <c, s> and 1.",
        ("0 < gamma <= 1", "eta |s_t|^2 <= 2 gamma", "both runs share the anchor c"),
    ),
    Theorem(
        "T14",
        "Tracking",
        r"\sum_t \ell_t(d_t) \leq"
        r" \frac{\sum_t \ell_t(u_t) + (\|d_1 - u_1\|^2 + 2 R P_T) / (2 \eta)}{1 - \eta M}",
        "The bound of T8 against a comparator that moves: its path length enters, times the diameter of the box.",
        ("every u_t in the box", "d_1 in the box", *_PLAIN_CALIBRATION, "0 < eta < 1 / M"),
    ),
    Theorem(
        "T15",
        "The identity fixed point",
        r"\|k_t\|_2 = 1,\ \gamma = 1,\ d_1 = \mathbf{1} \Rightarrow d_t = \mathbf{1} \text{ for all } t",
        "With exactly unit keys, no forgetting and d_1 = 1, OSDN is DeltaNet.",
        ("|k_t| = 1 exactly", "gamma = 1", "d_1 = 1", "the box contains 1"),
    ),
    Theorem(
        "T16",
        "Lyapunov identity",
        r"V^+ = V - \beta (2 - \beta a) \|E k\|^2,\quad V = \|E\,\mathrm{Diag}(d)^{-1/2}\|_F^2",
        "On a realisable stream a write with 0 <= beta a <= 2 never raises an energy, in a metric that moves with d; "
        "in the plain Frobenius norm it can.",
        ("v_t = S* k_t", "d > 0, the same d before and after the write"),
    ),
    Theorem(
        "T17",
        "Gated recurrences",
        r"f(S_t) = (1 - \beta a)^2 f(\alpha S_{t-1})",
        "Measured against the decayed state, the residual ratio is still a function of d alone.",
    ),
    Theorem(
        "T18",
        "Rounding",
        r"|\mathrm{fl}(x \circ y) - x \circ y| \leq u\,|x \circ y|,\quad \gamma_n = \frac{n u}{1 - n u}",
        "Each operation of a kernel errs by at most a relative u, a sum of n terms by gamma_n; from these follows a "
        "running bound on the error of d, S and the output. Near 1 bfloat16 spaces d by 2^-8 below and 2^-7 above.",
        ("no overflow, no underflow", "n u < 1"),
    ),
    Theorem(
        "T19",
        "Calibration time",
        r"\mathbb{E}[d_{t+1} - u] = (I - \eta R)\, \mathbb{E}[d_t - u],\quad"
        r" \lambda = \frac{1}{K} \text{ (once)},\ \frac{2}{K (K + 2)} \text{ for isotropic unit keys}",
        "The mean error of calibration shrinks by 1 - eta lambda a token along each eigenvector of the moments of s, "
        "so calibration takes about 1 / (eta lambda) tokens.",
        (
            "independent keys with R = E[s s^T]",
            "E[(1 - <u, s>) s] = 0",
            "no clipping",
            *_PLAIN_CALIBRATION,
        ),
    ),
    Theorem(
        "T20",
        "Quadratic regret",
        r"\sum_t w_t (1 - a_t)^2 \leq X := \left(\frac{B + \sqrt{B^2 + \mu \|d_1 - u\|^2 / \eta}}{\mu}\right)^2,\quad"
        r" \prod_{t \leq T} w_t (1 - a_t)^2 \leq (X / T)^T,\quad"
        r" \|d_t - u\|^2 \leq \|d_1 - u\|^2 + \frac{\eta}{\mu} \sum_{i < t} w_i (1 - \langle u, s_i \rangle)^2",
        "T5 without interpolation: the gaps of any comparator, B^2 in all, enter by their root. The product of the "
        "token ratios still falls super-geometrically, and the preconditioner stays near the comparator.",
        (
            "u in the box",
            "gamma_t = 1",
            "M = max w_t |s_t|^2, 0 < eta < 2 / M, mu = 2 - eta M",
            "B^2 = sum of w_t (1 - <u, s_t>)^2",
        ),
    ),
    Theorem(
        "T21",
        "Regret with forgetting",
        r"\sum_t w_t (1 - a_t)^2 \leq"
        r" \left(\frac{B + \sqrt{B^2 + \mu (\|d_1 - u\|^2 + \sum_t (1 - \gamma_t) \|c - u\|^2) / \eta}}{\mu}\right)^2",
        "T20 for any forgetting towards any anchor: what the anchor misses of the comparator is paid at every token "
        "that forgets. Anchored at the comparator, forgetting costs nothing.",
        (
            "u in the box",
            "0 < gamma_t <= 1",
            "M = max w_t |s_t|^2 / gamma_t, 0 < eta < 2 / M, mu = 2 - eta M",
            "B^2 = sum of w_t (1 - <u, s_t>)^2",
        ),
    ),
    Theorem(
        "T22",
        "Exact recall where keys do not overlap",
        r"\|v_i - S_T k_i\|^2 = \|v_i - S_0 k_i\|^2 (1 - \langle d_1, s_i \rangle)^{2 m_i}"
        r" (1 - \eta w_i \|s_i\|^2)^{m_i (m_i - 1)}",
        "After m_i reads of pair i, in any order, its residual has this size. From d_1 = 1 that of DeltaNet lacks the "
        "last factor, so OSDN recalls better where pairs are read more than once and keys are not of unit norm, and "
        "never worse.",
        ("keys of different pairs have disjoint supports", "beta_t = 1 and gamma_t = 1", "no clipping"),
    ),
    Theorem(
        "T23",
        "Implicit bias",
        r"d_t - d_1 \in \operatorname{span}(s_1, \ldots, s_{t-1}),\quad"
        r" \|d_{N+1} - u\|^2 \leq \left(1 - \frac{\eta \mu \kappa}{\sigma}\right) \|d_1 - u\|^2",
        "Calibration moves within the span of the squared keys. Where they can be interpolated it approaches the "
        "nearest interpolating preconditioner, u, geometrically if the excitation recurs: with unit keys from d_1 = 1 "
        "it only erases what d_1 has along the span.",
        (
            "gamma_t = 1 and no clipping",
            "second part: u the projection of d_1 on the interpolating ones of the window, w_t = 1",
            "0 < eta < 2 / M, mu = 2 - eta M",
            "kappa, sigma: least eigenvalue of the Gram matrix of independent s_t, largest of (1 + N)(1 + N)^T",
            "N the lower triangle of eta <s_i, s_j>",
        ),
    ),
    Theorem(
        "T24",
        "Blindness",
        r"\ell_t(d_1) = \ell_t(u) = 0 \text{ for all } t,\ \langle u \odot k_i, k_j \rangle = \delta_{ij}"
        r" \Rightarrow d_t = d_1,\quad S^u_T k_t = v_t",
        "The surrogate does not see how keys overlap: two preconditioners may both make it zero, of which the static "
        "one recalls every pair exactly, and OSDN started at the other stays there.",
        ("every pair written once, beta_t = 1 and gamma_t = 1", "d_1 in the box"),
    ),
    Theorem(
        "T25",
        "Context rate of a static preconditioner",
        r"\mathbb{E}[V^+] = V - \operatorname{tr}(\hat{E} W_d \hat{E}^\top),\quad"
        r" W_d = \mathbb{E}[\beta (2 - \beta a) D^{1/2} k k^\top D^{1/2}],\quad"
        r" \lambda_{\min}(W_d) \leq h \max_i \frac{2 - \beta_i l n_i}{2 - \beta_i n_i} \lambda_{\min}(W_1)",
        "One token drawn at random lowers the energy of T16 by a quadratic form, whose least eigenvalue is the rate. A "
        "box [l, h] limits what any preconditioner in it gains over DeltaNet: unit keys and beta = 1 give h (2 - l), a "
        "factor 2 in the box [2/3, 3/2].",
        (
            "v_t = S* k_t",
            "E^ is S - S* with every column over the root of its d, and V its squared norm",
            "second part: d in the box [l, h], n_i = |k_i|^2, beta_i >= 0 and beta_i n_i < 2, l >= 0",
        ),
    ),
    Theorem(
        "T26",
        "OSDN is near DeltaNet",
        r"\|S_T - S_T^{\mathrm{DeltaNet}}\|_F \leq \sum_t \beta_t \|r_t\| \|(d_t - \mathbf{1}) \odot k_t\|",
        "Writes of DeltaNet never enlarge a difference of states, so that OSDN's state is off by at most what its own "
        "writes differ in, residual by residual.",
        ("both start from one state", "0 <= beta_t |k_t|^2 <= 2", "r_t = v_t - S_{t-1} k_t of OSDN"),
    ),
    Theorem(
        "T27",
        "No stability in the plain sense",
        r"V_T \leq \prod_{t < T} \max_i \frac{d_{t,i}}{d_{t+1,i}} V_0",
        "Each write contracts its own metric, and the metric moves: only the product of its moves bounds the error of "
        "the state, which can grow geometrically although 0 <= beta a <= 2 at every token. Gates multiply it by their "
        "squares: one of at most d_min / d_max in the square makes every write contract.",
        ("v_t = S* k_t", "d_t > 0", "0 <= beta_t a_t <= 2"),
    ),
    Theorem(
        "T28",
        "T6 is tight up to a factor a token",
        r"\prod_{t \leq T} q_t = (C x)^T (1 - x)^{T (T - 1) / 2},\quad"
        r" 1 - x = \left(1 - \frac{1}{T + 1}\right)^2 \Rightarrow"
        r" \prod_{t \leq T} q_t \geq \left(\frac{2}{e}\right)^T \left(\frac{C}{T}\right)^T",
        "Two features that alternate, x the squared sine of their angle, lose only a constant factor a token against "
        "T6. At a fixed angle the product falls as exp of minus a constant times T^2.",
        (
            "two alternating features of one squared norm M, eta = 1 / M",
            _INTERPOLATION,
            "d_1 - u orthogonal to the second feature, in the plane of both",
            *_PLAIN_CALIBRATION,
        ),
    ),
    Theorem(
        "T29",
        "The scan by sweeps",
        r"|\Phi(u) - \Phi(v)| \leq N |u - v|,\quad |u^{(m)} - u| \leq N^m |u^{(0)} - u|,\quad"
        r" |u^{(m)} - u| \leq (I - N)^{-1} N |u^{(m)} - u^{(m-1)}|",
        "Given gains drive all tokens at once, clipped, and the gains are corrected: m sweeps make the first m gains "
        "exact, the others converge faster than any geometric rate, and the last correction bounds what is left.",
        (
            "eta w_t >= 0 and gamma_t >= 0",
            "N_tj = eta w_t <|x_t|, |x_j|> times the gates strictly between, for j < t",
        ),
    ),
)

THEOREMS: dict[str, Theorem] = {theorem.id: theorem for theorem in _ALL}
"""Theorem id -> theorem, in order."""
