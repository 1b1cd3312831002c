"""The symbols of all theorems, defined once."""

from __future__ import annotations

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
