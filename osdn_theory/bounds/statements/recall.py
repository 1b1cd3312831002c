r"""T22, T24: what is recalled after a context, where keys do not overlap, and where the surrogate cannot see them do.

Supports that are disjoint keep each pair's part of d and of the state to itself: a read of pair i scales its residual
by 1 - <d, s_i>, and that by 1 - eta w_i |s_i|^2. In exact rationals: no ball can tell that two numbers are equal.
"""

from collections.abc import Iterable, Sequence
from functools import wraps

import numpy as np

from osdn_theory.bounds import hypotheses as h
from osdn_theory.bounds.check import Sides
from osdn_theory.bounds.numbers import Number, dot, norm_sq, total, vector
from osdn_theory.bounds.problem import CalibrationProblem
from osdn_theory.bounds.registry import BoundEvidence, Hypothesis, HypothesisVerdict, bound, unless
from osdn_theory.bounds.runs.local_step import EXACT
from osdn_theory.bounds.runs.states import column, final_state

Pairs = dict[tuple[float, ...], list[int]]


def pairs_of(problem: CalibrationProblem) -> Pairs:
    """Key -> the tokens that have it."""
    found: Pairs = {}
    for token, key in enumerate(problem.stream.keys.tolist()):
        found.setdefault(tuple(key), []).append(token)
    return found


def disjoint_pairs(e: BoundEvidence) -> HypothesisVerdict:
    """Keys that differ share no feature, and one key has one value."""
    pairs, values = pairs_of(e.problem), e.problem.stream.values
    overlaps = np.count_nonzero(np.array(list(pairs)), axis=0).max() > 1
    if overlaps:
        return unless("needs keys with disjoint supports")
    same = all(bool(np.all(values[tokens] == values[tokens[0]])) for tokens in pairs.values())
    return unless("" if same else "needs one value for each key")


def plain_writes(e: BoundEvidence) -> HypothesisVerdict:
    beta = e.problem.beta
    return unless("" if np.all(beta == 1) else f"needs beta = 1, got {beta.min():.4g} to {beta.max():.4g}")


def _exactly(hypothesis: Hypothesis) -> Hypothesis:
    """The hypothesis asked of the run in rationals."""

    @wraps(hypothesis)
    def asked(e: BoundEvidence) -> HypothesisVerdict:
        return hypothesis(BoundEvidence(e.problem, e.facts, e.facts.exact_run))

    return asked


def recalled(
    problem: CalibrationProblem, path: Sequence[Sequence[Number]], tokens: Iterable[int]
) -> list[Number]:
    """||v_i - S k_i||^2 of the pairs of `tokens`, S being written with the preconditioners of `path`; exact."""
    state = final_state(problem, EXACT, path)
    stream = problem.stream
    missed = (
        column(vector(EXACT, stream.values[token])) - state * column(vector(EXACT, stream.keys[token]))
        for token in tokens
    )
    return [norm_sq(residual.entries()) for residual in missed]


def disjoint_residual(start: Number, gap: Number, drop: Number, reads: int) -> Number:
    """start gap^(2 m) drop^(m (m - 1)) for m reads."""
    return start * gap ** (2 * reads) * drop ** (reads * (reads - 1))


_DISJOINT = (
    h.has_tokens, h.ungated, h.no_forgetting, plain_writes, disjoint_pairs, _exactly(h.box_inactive)
)  # fmt: skip


@bound(
    "T22",
    "Recall of pairs that do not overlap",
    r"\|v_i-S_Tk_i\|^2 = \|v_i-S_0k_i\|^2 (1-\langle d_1,s_i\rangle)^{2m_i} (1-\eta w_i\|s_i\|^2)^{m_i(m_i-1)}",
    hypotheses=_DISJOINT,
)
def disjoint_recall(e: BoundEvidence) -> list[Sides]:
    run, pairs = e.facts.exact_run, pairs_of(e.problem)
    first = [tokens[0] for tokens in pairs.values()]
    found, before = (recalled(e.problem, path, first) for path in (run.preconditioners[:-1], ()))
    sides = []
    for lhs, start, token, tokens in zip(found, before, first, pairs.values(), strict=True):
        x, reads = run.features[token], len(tokens)
        drop = 1 - run.rate(token) * norm_sq(x)
        rhs = disjoint_residual(start, 1 - dot(run.preconditioners_start, x), drop, reads)
        scope = f"every pair; one that is read {reads} times shown"
        sides.append(Sides(lhs, rhs, identity=True, vacuous=start == 0, scope=scope, method=EXACT.label))
    return sides


@bound(
    "T22",
    "At least DeltaNet's recall",
    r"\sum_i\|v_i-S_Tk_i\|^2 \le \sum_i\|v_i-S_0k_i\|^2 (1-\|k_i\|^2)^{2m_i}",
    hypotheses=(*_DISJOINT, h.starts_at_one, _exactly(h.contracting_step)),
)
def recall_beside_delta_net(e: BoundEvidence) -> list[Sides]:
    run, pairs = e.facts.exact_run, pairs_of(e.problem)
    first = [tokens[0] for tokens in pairs.values()]
    own, before = (recalled(e.problem, path, first) for path in (run.preconditioners[:-1], ()))
    missed = [1 - total(run.features[token]) for token in first]
    plain = (
        disjoint_residual(start, gap, EXACT.of(1.0), len(tokens))
        for start, gap, tokens in zip(before, missed, pairs.values(), strict=True)
    )
    return [Sides(total(own), total(plain), method=EXACT.label)]


def written_once(e: BoundEvidence) -> HypothesisVerdict:
    """<u * k_i, k_j> = 1 where i = j and 0 elsewhere, exactly: writes of the comparator do not meet."""
    assert e.facts.comparator is not None
    if e.problem.length > e.problem.key_dim:
        return unless("needs <u * k_i, k_j> = 0 for i != j, but there are more tokens than features")
    u = vector(EXACT, e.facts.comparator)
    keys = [vector(EXACT, key) for key in e.problem.stream.keys]
    written = [[a * k for a, k in zip(u, key, strict=True)] for key in keys]
    for i, write_key in enumerate(written):
        for j, key in enumerate(keys):
            if dot(write_key, key) != int(i == j):
                return unless(f"needs <u * k_i, k_j> = {int(i == j)}, fails for tokens {i + 1} and {j + 1}")
    return unless("")


def start_interpolates(e: BoundEvidence) -> HypothesisVerdict:
    """<d_1, s_t> = 1 for every token, exactly, and d_1 in the box."""
    run = e.facts.exact_run
    for token, x in enumerate(run.features):
        if dot(run.preconditioners_start, x) != 1:
            return unless(f"needs <d_1, s_t> = 1, fails at token {token + 1}")
    outside = h.leaves_box(BoundEvidence(e.problem, e.facts, run), run.preconditioners_start)
    return unless("d_1 leaves the box" if outside else "")


@bound(
    "T24",
    "Blind to overlap",
    r"d_t = d_1,\quad S^u_T k_t = v_t",
    hypotheses=(
        h.has_tokens, h.ungated, h.no_forgetting, plain_writes, h.comparator_known, h.comparator_fixed,
        written_once, start_interpolates,
    ),
)  # fmt: skip
def blind_to_overlap(e: BoundEvidence) -> list[Sides]:
    """OSDN stays where it starts, whatever it misses; the static comparator recalls every pair."""
    assert e.facts.comparator is not None
    run, zero, tokens = e.facts.exact_run, EXACT.of(0.0), range(e.problem.length)
    static = [vector(EXACT, e.facts.comparator)] * e.problem.length
    scope = f"OSDN misses {float(total(recalled(e.problem, run.preconditioners[:-1], tokens))):.4g}"
    moved = [run.distance_sq(token, e.problem.initial) for token in range(1, e.problem.length + 1)]
    known = np.array_equal(e.facts.comparator, e.problem.initial)
    missed = recalled(e.problem, static, tokens)
    return [
        Sides(value, zero, identity=True, vacuous=known, scope=scope, method=EXACT.label)
        for value in (*moved, *missed)
    ]
