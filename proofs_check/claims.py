"""The claims T1 to T29: the theorems of `osdn_theory`, where they are loose, and what has no general proof."""

from osdn_theory.theorems import THEOREMS
from proofs_check.proof import Claim

NOTES = {
    "T1": (
        "No inverse of G is needed: any solution of the normal equations serves, so a singular G is covered."
    ),
    "T3": "As a ratio it needs f(S_{t-1}) != 0; stated as a product it holds without.",
    "T5": "d_1 may lie outside the box.",
    "T10": (
        "Against the best fixed diagonal for a general G, the analogue of T8 needs a step smaller than 1/(2 L^2), "
        "where its factor 1 - 2 L^2 eta vanishes; a bound of its own, with a square root, reaches 1/L^2."
    ),
    "T13": "With the anchor c = d_1 two runs with different starts have different anchors and stay apart.",
    "T15": (
        "That d_t -> 1 from other starts of the box needs persistent excitation: keys that span once are not "
        "enough. It is proved where the s_t span every window of N tokens and eta M < 2, at a geometric rate."
    ),
    "T16": "d > 0 is a hypothesis: the historic box starts at 0, and d reaches it.",
    "T17": (
        "The decay may be a number for the whole state or one for each feature. Feedback that knows the write "
        "gate has T20 in beta_t s_t, for losses against the gated state; plain feedback leaves (1 - beta)^2 "
        "of them, whatever the state's gate is."
    ),
    "T19": (
        "With forgetting, (1 - gamma) I is added to eta R. In Coq the keys are drawn from a finite probability "
        "space; the moments of keys uniform on the sphere, which are not, are SymPy's integrals."
    ),
    "T20": "With weights it is T21 without forgetting.",
    "T22": (
        "It is about the recurrence itself, clip and all, where nothing clips; weights may differ from pair to pair. "
        "From d_1 = 1 OSDN recalls strictly better than DeltaNet if and only if some pair with |k_i| != 1 and "
        "v_i != S_0 k_i is read twice."
    ),
    "T23": (
        "The limit's rate is that of T15, with B = 2 (1 + (N eta M)^2) for sigma and any kappa that every "
        "window grants on the span."
    ),
    "T25": "In Coq a lower bound on the eigenvalues stands for lambda_min, and l > 0 and 2 - beta_i n_i >= 0.",
    "T26": "beta_t >= 0 and beta_t |k_t|^2 <= 2 are enough.",
    "T27": (
        "That the plain norm grows geometrically is proved of two instances in [2/3, 3/2]: anchored "
        "forgetting at beta = 11/7 and eta = 3125/2548 on two unit keys that alternate, by 1.03 a period, and "
        "plain OSDN at eta = 1, beta = 1 on three keys that are not unit, by 35/32 a period. Where the gaps "
        "decay as g r^t the metrics cost at most 2 (1 + eta g / d_min)^m in all, 2 (eta g / d_min) r^m <= 1 - "
        "r. With gates every factor is multiplied by max_i alpha_i^2, and a gate of at most d_min / d_max in "
        "the square makes each write contract in the plain norm."
    ),
    "T28": "Without the exponential function: e is any number that no (1 + 1/m)^m exceeds.",
    "T29": (
        "N takes features without their signs: with write gates of both signs in beta-aware feedback the inner "
        "products themselves bound nothing. The factorial bound needs |k_t| <= 1, w_t <= 1, gamma_t <= 1 and, "
        "beta-aware, |beta_t| <= 1; it is eta^m (t choose m) for the token with t before it. With gates of at most "
        "g < 1 the sweeps also converge geometrically, however long the stream. The clip pattern of the adjoint is "
        "taken as given."
    ),
}
"""Where a theorem is proved otherwise than the theory page has it."""

MISSING = {
    "T18": (
        "That the program which bounds the error of a kernel's d, S and output follows from the proved parts (one "
        "operation, a sum, a dot product, a coordinate of the calibrate step, the recursion of a running bound): "
        "it is checked exactly on instances."
    ),
}
"""What has no general proof, and why."""

CLAIMS: dict[str, Claim] = {
    name: Claim(
        name,
        theorem.title,
        theorem.latex,
        theorem.plain,
        theorem.hypotheses,
        note=NOTES.get(name, ""),
        missing=MISSING.get(name, ""),
    )
    for name, theorem in THEOREMS.items()
}
"""Theorem id -> claim, in the order of the theory page."""
