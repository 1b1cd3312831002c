"""What the page says in fixed words: symbols, captions, and plain mathematics made readable."""

import re
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from osdn_theory.crosscheck.results import CrossCheck

SYMBOLS: tuple[tuple[str, str], ...] = (
    (
        r"t,\ T",
        "token, and how many there are; j and J count steps on a whole context, m sweeps, n terms of a sum",
    ),
    (
        r"k_t,\ v_t,\ q",
        "key with K features and value with V; q is the query that reads (elsewhere q is a ratio)",
    ),
    (r"S_t,\ o_t", "state, V rows by K columns, after token t, and the output read from it"),
    (
        r"\beta_t,\ \alpha_t",
        "write gate, and decay of the state before the write; the second is 1 unless it is gated",
    ),
    (r"d_t,\ \mathrm{Diag}(d)", "preconditioner: one factor for each feature of the key; d = 1 is DeltaNet"),
    (r"s_t = k_t \odot k_t", "squared key; the sign is the product entry by entry"),
    (r"a_t = \langle d_t, s_t \rangle", "alignment: the part of the residual that a full write removes"),
    (
        r"f_t(S) = \frac{1}{2} \|S k_t - v_t\|^2",
        "loss of a token; F is the sum over a context, F* its minimum, at S*",
    ),
    (r"q_t = f_t(S_t) / f_t(S_{t-1})", "residual ratio: what a write leaves of its token's loss"),
    (
        r"\ell_t(d) = \frac{1}{2} (1 - \langle d, s_t \rangle)^2",
        "surrogate loss, which the calibrate step descends",
    ),
    (
        r"\eta,\ w_t",
        "step of the calibration, and its weight for a token, 1 unless the feedback is normalised",
    ),
    (r"\gamma_t,\ c", "forgetting of the preconditioner, 1 for none, and the anchor that it forgets towards"),
    (
        r"u,\ u_t",
        "comparator: a preconditioner to be measured against, fixed or moving; in T18 the unit roundoff",
    ),
    (r"M = \max_t \|s_t\|^2", "the largest squared key"),
    (r"C", "constant of T5 and T6, defined there; in T10 the square of L times the distance from P to P*"),
    (
        r"R,\ P_T",
        "diameter of the box, and path length of a moving comparator; in T19, R holds the moments of s",
    ),
    (r"G,\ L", "Gram matrix of a context's keys, and a bound on its eigenvalues"),
    (r"P,\ P^*", "preconditioner of a whole context, and the right-Newton one, the pseudo-inverse of G"),
    (r"g,\ E", "gradient at the state, and the state's distance from S*"),
    (r"\rho_j", "what a step on the context leaves of F - F*"),
    (
        r"X,\ A,\ H,\ Q,\ K,\ \tilde{K},\ V,\ O",
        "of a chunk, one row a token: writes, their coupling, state at the start, queries, keys, keys times d, values, "
        "outputs",
    ),
    (r"V,\ V^+", "in T16 the energy of the state's distance, before and after a write"),
    (
        r"\mathrm{fl}(x \circ y),\ \gamma_n",
        "result of an operation as a format rounds it, and the error of n of them",
    ),
    (r"\lambda,\ \mathbb{E},\ I", "eigenvalue of the moments of s; expectation; identity matrix"),
    (
        r"\mu,\ B^2",
        "2 less the largest step; the squared gaps that a comparator has, in all (T20, T21)",
    ),
    (
        r"m_i,\ k_i,\ v_i,\ \delta_{ij}",
        "times that pair i is read, its key and value (T22, T24); 1 where i = j, else 0",
    ),
    (
        r"\kappa,\ \sigma,\ \ldots",
        "least and largest eigenvalue that say how well a window is excited (T23); and so on",
    ),
    (
        r"W_d,\ \lambda_{\min},\ D,\ \hat{E},\ h,\ l,\ n_i",
        "rate of a static d and its least eigenvalue; Diag(d), E over the roots of d; upper and lower face of the box, "
        "squared norm of a key (T25)",
    ),
    (
        r"r_t,\ x,\ e",
        "residual of OSDN (T26); squared sine of the angle of two features, and Euler's number (T28)",
    ),
    (r"\Phi,\ N", "one sweep over all tokens, and the matrix that bounds how much of an error it keeps"),
    (
        r"\Delta,\ \nabla,\ \operatorname{tr},\ \mathbf{1}",
        "change of the state; gradient; trace; vector of ones",
    ),
)
"""Formula and meaning of each."""


SUMMARY: Mapping[str, str] = {
    "contraction": "The product of the residual ratios on a stream that some preconditioner solves. OSDN's stays below "
    "the bound of T6, which falls faster than any geometric rate; DeltaNet's ends above it.",
    "slack": "How much room each bound leaves: a point for each stream, a bar at the smallest. 0 is attained.",
}

RECALL: Mapping[str, str] = {
    "accuracy": "Accuracy against the number of pairs, by key statistic and reading. Points of one number of pairs are "
    "moved apart a little, so that their intervals can be told apart.",
    "residual-ratios": "Token residual ratio and missing share of every model; the dashed line is DeltaNet's.",
    "differences": "Accuracy minus DeltaNet's, paired by seed. A filled marker is significant, an open one is not.",
    "distance": "Accuracy against the number of tokens between the last write of a pair and its query.",
}


def kernel_caption(part: str, run: CrossCheck) -> str:
    """What a figure of a kernel's run shows, and no more than is drawn in it."""
    if part == "errors":
        bounded = any(each.bound is not None for each in run.comparisons)
        return f"Measured errors, the largest over heads{'; dashed, their bounds' if bounded else ''}."
    assert run.curve is not None, "decay is drawn only where there is a curve"
    beside = "the exact ones" if run.curve.bound is None else "the exact ones and the bound of T6"
    ends = run.curve.ends
    hidden = "" if ends is None else f" From token {ends} on rounding may hide every residual."
    return (
        f"The kernel's own residual ratios multiplied up, beside {beside}: whatever rounding did, the product has "
        f"fallen by at least {run.curve.decades:.1f} decades.{hidden}"
    )


_GREEK = {"eta": "η", "beta": "β", "gamma": "γ", "lambda": "λ", "alpha": "α", "rho": "ρ"}
_GREEK_NAME = re.compile(rf"(?<![A-Za-z])({'|'.join(_GREEK)})(?![A-Za-z])")

# On escaped text: what stands between angle brackets is an inner product.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-&gt;"), "→"),
    (re.compile(r"(?<= )&lt;-(?= )"), "←"),
    (re.compile(r"&lt;="), "≤"),
    (re.compile(r"&gt;="), "≥"),
    (re.compile(r"!="), "≠"),
    (re.compile(r"&lt;([^&;]+, [^&;]+)&gt;"), r"⟨\1⟩"),
    (re.compile(r"([A-Za-z])~"), "\\1\N{COMBINING TILDE}"),
    (re.compile(r"\|\|"), "‖"),
    (re.compile(r"(?<=[A-Za-z])(?:'|&#39;)(?=_)"), "′"),
    (re.compile(r"(?<= )\*(?= )"), "⊙"),
    (re.compile(r"(?<= )-(?= )|(?<![\w)^])-(?=\d)"), "−"),
    (re.compile(r"(?<![\w.])1e\+?(-?)0*(\d+)\b"), r"10^\1\2"),
    (re.compile(r"(?<=\d)e\+?(-?)0*(\d+)\b"), r"·10^\1\2"),
    (re.compile(r"(?<=[^\W\d_])(′?)_\{([^}]*)\}"), r"\1<sub>\2</sub>"),
    (re.compile(r"(?<![^\W\d_]{2})(?<=[^\W\d_])(′?)_([a-z0-9]{1,2})(?![A-Za-z_])"), r"\1<sub>\2</sub>"),
    (re.compile(r"\^-([A-Z0-9]+)"), r"<sup>−\1</sup>"),
    (re.compile(r"\^([A-Z0-9]+|[a-z]\b)"), r"<sup>\1</sup>"),
)


def readable(text: object) -> Markup:
    """Greek letters, relations, indices and powers of a text, and what stands between backticks as code."""
    if isinstance(text, Markup):
        return text
    parts = str(text).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else _mathematics(part)
        for place, part in enumerate(parts)
    )


def _mathematics(text: str) -> Markup:
    html = _GREEK_NAME.sub(lambda found: _GREEK[found[1]], str(Markup.escape(text)))
    for pattern, replacement in _RULES:
        html = pattern.sub(replacement, html)
    return Markup(html)


_NUMBER = re.compile(r"[-−+]?[\d.,]+(e[-+]?\d+)?|[∞–]?")


def number_columns(rows: Sequence[Sequence[object]]) -> set[int]:
    """The columns of a table in which every cell is a number, or a sign that there is none."""
    columns = enumerate(zip(*rows, strict=True))
    return {place for place, column in columns if all(_NUMBER.fullmatch(str(cell)) for cell in column)}
