"""Every decision on exact answers that are moved by a known part of what is allowed: less than it, and more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.crosscheck.cases import FAST, interpolating
from support.crosscheck.exercises import adapter, exercise

from osdn_theory.bounds import BOUNDS, BoundCheck
from osdn_theory.crosscheck.cases.case import Case, pose
from osdn_theory.crosscheck.check import Truth, judge, truth
from osdn_theory.crosscheck.evidence.comparison import (
    _spread,
    compare,
    comparisons,
    excess,
    per_token,
    ulp_histogram,
)
from osdn_theory.crosscheck.evidence.limits import Limit, models_of
from osdn_theory.crosscheck.evidence.observation import Observation, observe_answer
from osdn_theory.crosscheck.evidence.residuals import Residuals, _smallest, residuals
from osdn_theory.crosscheck.kernel.calling import Returned
from osdn_theory.crosscheck.results import Comparison, CrossCheck, Verdict
from osdn_theory.crosscheck.verdicts import theorems as rules
from osdn_theory.crosscheck.verdicts.symptoms import EXPLAINED, _left
from osdn_theory.recurrence.rules import BOUNDED
from osdn_theory.streams import synthetic


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)[None, None]


# Comparisons


def test_the_larger_of_norm_and_entries_decides() -> None:
    exact, found = np.zeros((1, 1, 1, 2)), np.array([[[[3.0, 4.0]]]])

    def measured(norm: float, entries: float | None) -> float:
        each = None if entries is None else np.full(exact.shape, entries)
        return float(excess(found, exact, Limit(np.full((1, 1, 1), norm), each, ""))[0, 0, 0])

    assert measured(10.0, None) == pytest.approx(0.5)
    assert measured(10.0, 5.0) == pytest.approx(0.8)
    assert measured(4.0, 5.0) == pytest.approx(1.25)


@pytest.mark.parametrize(("apart", "bound", "expected"), [
    (0.0, 0.0, 0.0), (1e-100, 0.0, np.inf), (1.0, np.inf, 0.0), (np.inf, np.inf, 0.0), (np.nan, np.inf, 0.0),
    (np.nan, 1.0, np.inf), (np.inf, 1.0, np.inf), (1.0, np.nan, np.inf), (0.0, np.nan, 0.0),
])  # fmt: skip
def test_the_ratio_of_what_vanishes_or_is_infinite(apart: float, bound: float, expected: float) -> None:
    for entries in (None, array(bound)[..., None]):
        limit = Limit(array(bound), entries, "")
        assert excess(array(apart)[..., None], np.zeros((1, 1, 1, 1)), limit)[0, 0, 0] == expected


def test_a_norm_of_infinities_is_infinite_and_one_of_nothing_zero() -> None:
    with np.errstate(invalid="ignore"):
        assert per_token(np.array([[[[np.inf, -np.inf]]]]))[0, 0, 0] == np.inf
    assert per_token(np.zeros((1, 1, 2, 0))).tolist() == [[[0.0, 0.0]]]


def test_edges_of_ulps_belong_to_the_smaller_side() -> None:
    edges = (0.5, 1.0, 2.0, 4.0, 16.0, 256.0, 65536.0)
    labels = ("<= 1/2", "<= 1", "<= 2", "<= 4", "<= 16", "<= 256", "<= 65536", "more")
    ulp = 2.0**-23
    for edge, inside, outside in zip(edges, labels, labels[1:], strict=False):
        for steps, label in ((edge, inside), (np.nextafter(edge, np.inf), outside)):
            counts = ulp_histogram(np.array([steps * ulp]), np.array([1.0]), "float32")
            assert {name for name, count in counts.items() if count} == {label}


def compared(found: np.ndarray, exact: np.ndarray, bound: float, **options: Any) -> Comparison:
    return compare(
        "o", "test", found[..., None], exact[..., None], tokens=np.arange(1, found.shape[-1] + 1), dtype="float32",
        limit=Limit(np.full(found.shape, bound), None, ""), **options,
    )  # fmt: skip


def test_one_bound_away_is_inside_and_anything_more_is_not() -> None:
    assert compared(array(1.0, 1.125), array(1.0, 1.0), 0.125).within
    beyond = compared(array(1.0, np.nextafter(1.125, 2)), array(1.0, 1.0), 0.125)
    assert not beyond.within
    assert beyond.first_outside == 2


def test_errors_are_relative_to_the_token_or_to_the_largest_of_the_head() -> None:
    found, exact = array(2.2, 4.4, 0.1), array(2.0, 4.0, 0.0)
    np.testing.assert_allclose(compared(found, exact, 1.0).error, array(0.1, 0.1, 0.1))
    largest = compared(found, exact, 1.0, to_largest=True)
    np.testing.assert_allclose(largest.error, array(0.05, 0.1, 0.025))
    assert largest.bound is not None
    np.testing.assert_allclose(largest.bound, array(0.25, 0.25, 0.25))


# What a kernel hands on


@pytest.mark.parametrize(("part", "within"), [(0.0, True), (0.95, True), (1.05, False)])
def test_without_tokens_a_state_that_no_bound_is_proved_of_may_be_stored_otherwise(
    part: float, within: bool
) -> None:
    case, kind = exercise("everything at once", "gated_delta_net").piece(0, 0), adapter("gated_delta_net")
    case = replace(case, key_norm="exact")
    known = truth(kind, case, models_of(kind, "float32"), theorems=False)
    state = case.initial_state.copy()
    state[1, 2, 3, 4] += part * 1e-4 * np.linalg.norm(state[1, 2])
    assert judge(kind, known, observe_answer(Returned(np.zeros((2, 3, 0, 12)), state), 0)).within == within


def empty() -> Case:
    return exercise("everything at once").piece(0, 0)


@pytest.mark.parametrize("field", ["state", "handed_on"])
def test_without_tokens_the_state_comes_back_bit_for_bit(field: str) -> None:
    case, kind = empty(), adapter("osdn")
    right = Returned(np.zeros((2, 3, 0, 12)), case.initial_state, case.initial_preconditioner)
    known = truth(kind, case, models_of(kind, "float32"), theorems=False)
    assert judge(kind, known, observe_answer(right, 0)).within
    start = getattr(right, field)
    moved = start.copy()
    moved[1, 2].flat[3] = np.nextafter(np.float32(moved[1, 2].flat[3]), np.float32(9))
    wrong = judge(kind, known, observe_answer(replace(right, **{field: moved}), 0))
    assert [found.name for found in wrong.comparisons if not found.within] == [
        "S" if field == "state" else "d handed on"
    ]


@pytest.mark.parametrize("recurrence", ["osdn", "gated_delta_net"])
def test_every_quantity_is_held_to_its_own_limit_at_its_own_token(recurrence: str) -> None:
    case, kind = exercise("everything at once", recurrence), adapter(recurrence)
    exact = case.exact()
    tokens = np.array([3, 16, case.stream.length])
    known = truth(kind, case, models_of(kind, "float32"), prefixes=tokens.tolist())
    bounds = known.limits
    assert exact.states is not None
    right = Observation(
        outputs=exact.outputs, tokens=tokens, states=exact.states[:, :, tokens - 1],
        handed_on=case.following(exact)[:, :, tokens - 1], preconditioner=exact.preconditioner,
        alignment=exact.alignment,
    )  # fmt: skip
    norms = {
        "outputs": bounds.outputs, "states": bounds.states.at(tokens), "preconditioner": bounds.preconditioner,
        "handed_on": bounds.handed_on.at(tokens), "alignment": bounds.alignment,
    }  # fmt: skip
    assert judge(kind, known, right).within
    for name, limit in norms.items():
        values = getattr(right, name)
        for place in ((0, 1, 0), (1, 2, values.shape[2] - 1)):
            for part, within in ((0.99, True), (1.01, False)):
                moved = values.copy()
                one = moved[place].reshape(-1)
                if limit.entries is None or one.size == 1:
                    one[0] += part * limit.norm[place]
                    moved[place] = one.reshape(moved[place].shape)
                else:
                    moved[place][0] += part * min(limit.entries[place][0], limit.norm[place])
                found = list(comparisons(case, exact, replace(right, **{name: moved}), bounds, None))
                if limit.norm[place] > 0:
                    assert all(each.within for each in found) == within, (name, place, part)


# Residuals


def reads(
    before: Any, after: Any, *, before_error: float = 0.0, after_error: float = 0.0, **exact: Any
) -> Residuals:
    """Of one feature, (1, 1, T, 1)."""
    right = {name: array(*exact.get(name, given)) for name, given in (("before", before), ("after", after))}
    given = {name: array(*values)[..., None] for name, values in (("before", before), ("after", after))}
    errors = {"before_error": before_error, "after_error": after_error}
    return Residuals(
        **given, exact_before=right["before"][..., None], exact_after=right["after"][..., None],
        **{name: np.full(right["before"].shape, error) for name, error in errors.items()},
    )  # fmt: skip


def test_a_ratio_is_known_as_far_as_both_reads_are() -> None:
    found = reads([4.0], [2.0], before_error=1.0, after_error=0.5)
    assert found.ratio == 0.25
    assert found.least_ratio == pytest.approx((1.5 / 5.0) ** 2)
    assert found.largest_ratio == pytest.approx((2.5 / 3.0) ** 2)
    hidden = reads([1.0], [0.25], before_error=1.0, after_error=0.5)
    assert hidden.least_ratio.item() == 0.0
    assert hidden.largest_ratio.item() == np.inf


@pytest.mark.parametrize(
    ("before", "after", "seen"), [(2.0, 2.0, True), (1.0, 2.0, False), (2.0, 0.5, False)]
)
def test_both_sides_of_a_write_must_stand_out(before: float, after: float, seen: bool) -> None:
    assert reads([before], [after], before_error=1.0, after_error=0.5).observable.item() == seen


def test_what_reads_imply_is_as_wrong_as_both_of_them() -> None:
    found = reads([4.0], [2.0], before_error=1.0, after_error=0.5)
    assert found.alignment == pytest.approx(0.5)
    assert found.alignment_error(np.array([[[-0.25]]])) == pytest.approx((0.5 + 0.25 * 1.0) / 4)


def run(stream: Any = None, rule: Any = FAST, dtype: Any = "float32") -> tuple[Any, Truth, Observation]:
    """An exact answer, seen as a kernel's is: with its own reads."""
    kind = adapter("osdn")
    case = pose(kind, interpolating(40) if stream is None else stream, rule, dtype)
    exact = case.exact()
    known = truth(kind, case, models_of(kind, dtype))
    assert exact.states is not None
    keys, values = case.stream.keys, case.stream.values
    after = np.matmul(exact.states, keys[..., None])[..., 0]
    return kind, known, Observation(
        outputs=exact.outputs, reads_after=after, reads_before=values - exact.residuals,
        tokens=np.array([case.stream.length]), states=exact.states[:, :, -1:],
        handed_on=exact.final_preconditioner[:, :, None], preconditioner=exact.preconditioner,
        alignment=exact.alignment,
    )  # fmt: skip


def test_float64_is_exact_to_a_few_roundings_of_its_own() -> None:
    _, known, seen = run()
    found = residuals(known.case, known.exact, seen, known.limits)
    assert found is not None
    assert known.limits.reads_after is not None
    assert known.exact.states is not None
    beside = found.after_error - known.limits.reads_after.norm
    size = np.linalg.norm(known.exact.states, axis=(-2, -1)) * np.linalg.norm(known.case.stream.keys, axis=-1)
    wanted = 2.0**-52 * 40 * (size + np.linalg.norm(known.case.stream.values, axis=-1))
    np.testing.assert_allclose(beside, wanted, rtol=1e-2)


def outcomes(kind: Any, known: Truth, seen: Observation) -> dict[str, str]:
    return {verdict.theorem: verdict.outcome for verdict in judge(kind, known, seen).verdicts}


def test_an_exact_answer_confirms_everything() -> None:
    found = outcomes(*run())
    assert {found[name] for name in ("T3", "T4", "T5", "T6", "T7", "T8", "T18")} == {"confirmed"}


def test_residual_ratios_are_held_to_their_spread() -> None:
    """Of a read that is moved, q and beta a leave their bounds where the reads' own bound is left, and not before."""
    kind, known, seen = run()
    assert seen.reads_after is not None
    assert known.limits.reads_after is not None
    token = (0, 1, 5)
    residual = known.exact.residuals[token]
    along = residual / np.linalg.norm(residual)
    for part, within in ((0.9, True), (2.5, False)):
        moved = seen.reads_after.copy()
        moved[token] += part * known.limits.reads_after.norm[token] * along
        found = judge(kind, known, replace(seen, reads_after=moved))
        assert (found["q"].within, found["beta a"].within) == (within, within)


def test_a_residual_of_zero_tells_nothing() -> None:
    kind, known, seen = run()
    assert seen.reads_before is not None
    silent = seen.reads_before.copy()
    silent[0, 0, 4] = known.case.stream.values[0, 0, 4]
    found = judge(kind, known, replace(seen, reads_before=silent))
    assert found["q"].within
    assert found["beta a"].within


# Verdicts


def test_the_gravest_head_speaks_for_all_and_of_those_the_one_with_the_least_room() -> None:
    def verdict(outcome: Any, lhs: float = 0.0) -> Verdict:
        return Verdict("T5", "", outcome, "", lhs, 1.0)

    order = ("contradicted", "not observable", "confirmed", "not applicable")
    for at, outcome in enumerate(order):
        assert rules.gravest([verdict(each) for each in order[at:][::-1]]).outcome == outcome
    assert rules.gravest([verdict("confirmed", lhs) for lhs in (0.2, 0.9, 0.5)]).lhs == 0.9


def check_of(rhs: float | None, theorem: str = "T5") -> BoundCheck:
    _, known, _ = run()
    first = next(check for check in known.checks if check.theorem == theorem and check.rhs is not None)
    return replace(first, rhs=rhs, is_log=False, outcome="not applicable" if rhs is None else first.outcome)


@pytest.mark.parametrize(("sides", "outcome"), [
    ((0.5, 1.0, 0.8), "confirmed"), ((0.5, 1.001, 0.8), "not observable"), ((1.0, 1.2, 1.1), "not observable"),
    ((1.001, 1.2, 1.1), "contradicted"),
])  # fmt: skip
def test_a_side_must_be_beyond_the_other_with_all_that_rounding_leaves(sides: Any, outcome: str) -> None:
    verdict = rules._held_against(None, check_of(1.0), lambda e, i: sides)  # type: ignore[arg-type]
    assert verdict is not None
    assert verdict.outcome == outcome


def test_a_hypothesis_that_fails_is_not_applicable() -> None:
    verdict = rules._held_against(None, check_of(None), lambda e, i: (0.0, 0.0, 0.0))  # type: ignore[arg-type]
    assert verdict is not None
    assert verdict.outcome == "not applicable"


def evidence(**changes: Any) -> rules.Evidence:
    kind, known, seen = run()
    seen = replace(seen, **changes)
    reads_of = residuals(known.case, known.exact, seen, known.limits)
    compared_all = tuple(comparisons(known.case, known.exact, seen, known.limits, reads_of))
    return rules.Evidence(
        kind, known.case, known.exact, seen, known.limits, compared_all, reads_of, known.checks
    )


def test_verdicts_are_joined_to_bounds_by_key() -> None:
    assert len({bound.key for bound in BOUNDS}) == len(BOUNDS)
    found = evidence()
    bounded = {"T5", "T6", "T7", "T8", "T14", "T15"}
    told = {verdict.theorem: verdict.outcome for verdict in rules.verdicts(found)}
    assert bounded <= told.keys()
    renamed = replace(found, checks=tuple(replace(check, title="?") for check in found.checks))
    assert {verdict.theorem: verdict.outcome for verdict in rules.verdicts(renamed)} == told
    lost = replace(found, checks=tuple(replace(check, key="") for check in found.checks))
    assert {verdict.theorem for verdict in rules.verdicts(lost)} == told.keys() - bounded


def test_a_regret_is_known_as_far_as_the_alignment_is() -> None:
    found = evidence()
    index = (0, 0)
    least, most, shown = rules._regret(found, index, 0.5) or (0, 0, 0)
    gap, error = np.abs(1 - found.exact.alignment[index]), found.limits.alignment.norm[index]
    assert least == pytest.approx(0.5 * np.sum(np.maximum(gap - error, 0) ** 2), rel=1e-12)
    assert most == pytest.approx(0.5 * np.sum((gap + error) ** 2), rel=1e-12)
    assert least < shown < most


def test_the_alignment_is_the_one_returned_or_that_of_d_or_what_reads_imply() -> None:
    returned, by_path, by_reads = (
        rules._alignment(evidence(**changes))
        for changes in ({}, {"alignment": None}, {"alignment": None, "preconditioner": None})
    )
    assert returned is not None
    assert by_path is not None
    assert by_reads is not None
    found = evidence()
    np.testing.assert_array_equal(returned[1], found.limits.alignment.norm)
    squared = np.linalg.norm(found.case.stream.keys**2, axis=-1)
    np.testing.assert_allclose(by_path[1], found.limits.preconditioner.norm * squared)
    np.testing.assert_allclose(by_reads[0], found.exact.alignment, atol=1e-6)
    still = replace(
        found.case, stream=replace(found.case.stream, beta=0 * np.asarray(found.case.stream.beta))
    )
    hidden = replace(found, case=still, seen=replace(found.seen, alignment=None, preconditioner=None))
    known = rules._alignment(hidden)
    assert known is not None
    assert np.all(np.isinf(known[1]))


def test_a_prefix_contradicts_where_even_the_least_product_is_above() -> None:
    check = next(check for check in run()[1].checks if check.theorem == "T6" and check.rhs is not None)
    # Two tokens of one head, C = 1: bounds of log10 1 and of 2 log10(1/2).
    short = replace(check, rhs=2 * np.log(0.5), index=(0, 0))

    def outcome(after: list[float], error: float) -> str:
        return rules._prefixes(reads([1.0, 1.0], after, after_error=error), short).outcome

    # q = 1 for both: a product of one, above 1/4 and no more than the bound of the first token.
    assert outcome([1.0, 1.0], 0.0) == "contradicted"
    assert outcome([1.0, 1.0], 0.6) == "not observable"
    assert outcome([0.5, 0.4], 0.0) == "confirmed"
    assert outcome([0.5, 0.4], 0.3) == "not observable"
    # Below a bound that is not below 1 nothing is shown.
    one = replace(check, rhs=np.log(1.0), index=(0, 0))
    assert rules._prefixes(reads([1.0], [0.5]), one).outcome == "not observable"


def test_a_mean_ratio_lies_between_what_reads_and_what_d_leave() -> None:
    found = evidence()
    least, most, shown = rules._mean_contraction(found, (0, 0)) or (0, 0, 0)
    assert least <= shown <= most
    blind = replace(found, residuals=None)
    assert rules._mean_contraction(blind, (0, 0)) is None
    wide = evidence(alignment=None, preconditioner=None)
    assert (rules._mean_contraction(wide, (0, 0)) or (0, 0, 0))[1] > most
    # Where the reads tell little, what d says is the narrower.
    beta = np.abs(np.asarray(found.case.stream.beta)[0, 0])
    gap = np.abs(1 - beta * found.exact.alignment[0, 0])
    error = beta * found.limits.alignment.norm[0, 0]
    r = found.residuals
    assert r is not None
    expected = np.mean(np.minimum(np.sqrt(r.largest_ratio[0, 0]), gap + error))
    assert most == pytest.approx(expected, rel=1e-12)
    assert least == pytest.approx(np.mean(np.maximum(np.sqrt(r.least_ratio[0, 0]), gap - error)), rel=1e-12)


def test_the_identity_is_contradicted_beyond_what_its_parts_allow() -> None:
    kind, known, seen = run()
    r = residuals(known.case, known.exact, seen, known.limits)
    assert r is not None
    assert seen.reads_after is not None
    token = (0, 1, 5)
    gap = np.abs(1.0 - np.asarray(known.case.stream.beta) * known.exact.alignment)
    size = np.linalg.norm(r.before, axis=-1)
    own = (
        r.after_error
        + gap * r.before_error
        + np.asarray(known.case.stream.beta) * known.limits.alignment.norm * size
    )
    blind = r.after_error + gap * r.before_error
    for alignment, allowed in ((seen.alignment, own), (None, blind)):
        for part, outcome in ((0.95, "confirmed"), (1.05, "contradicted")):
            moved = seen.reads_after.copy()
            moved[(*token, 0)] += part * allowed[token]
            found = outcomes(kind, known, replace(seen, reads_after=moved, alignment=alignment))
            assert found["T3"] == outcome


def test_a_step_is_contradicted_beyond_what_both_ends_allow() -> None:
    kind, known, seen = run()
    assert seen.preconditioner is not None
    norm, weight = known.limits.preconditioner.norm, np.sum(known.case.stream.keys**4, axis=-1)
    expands = np.maximum(1.0, np.abs(1.0 - 1.0 * weight))
    token = (0, 1, known.case.stream.length - 1)
    allowed = norm[token] + expands[0, 1, token[2] - 1] * norm[0, 1, token[2] - 1]
    for part, outcome in ((0.95, "confirmed"), (1.05, "contradicted")):
        moved = seen.preconditioner.copy()
        moved[(*token, 3)] += part * allowed
        assert outcomes(kind, known, replace(seen, preconditioner=moved))["T4"] == outcome


def test_the_fixed_point_is_left_beyond_the_bound() -> None:
    stream = synthetic.isotropic(np.random.default_rng(0), length=40, key_dim=8, value_dim=6)
    kind, known, seen = run(stream=stream, rule=BOUNDED)
    assert seen.preconditioner is not None
    allowed = known.limits.preconditioner.norm[0, 0, -1]
    for part, outcome in ((0.95, "confirmed"), (1.05, "contradicted")):
        moved = 1.0 + 0 * seen.preconditioner
        moved[0, 0, -1, 0] += part * allowed
        assert outcomes(kind, known, replace(seen, preconditioner=moved))["T15"] == outcome


def told(*compared_all: Comparison) -> Verdict:
    return rules._rounding(replace(evidence(), comparisons=compared_all))


def test_half_of_the_value_is_observable_and_more_is_not() -> None:
    exact = array(1.0, 1.0, 1.0)
    assert told(compared(exact, exact, 0.5)).outcome == "confirmed"
    assert told(compared(exact, exact, 0.51)).outcome == "not observable"
    assert told(compared(exact + 0.52, exact, 0.51)).outcome == "contradicted"


def result(check: CrossCheck) -> str:
    return check.verdict("T18").outcome


def test_an_overflow_is_a_hypothesis_that_fails_unless_something_is_outside_before_it() -> None:
    stream = interpolating(24)
    assert stream.queries is not None
    queries = stream.queries.copy()
    queries[..., 12:, :] *= 1e3
    kind, known, seen = run(
        stream=replace(stream, queries=queries, values=1e3 * stream.values), dtype="float16"
    )
    assert known.limits.overflow is not None
    assert known.limits.overflow.token == 13
    assert result(judge(kind, known, seen)) == "not applicable"
    assert seen.outputs is not None
    quiet = known.limits.outputs.norm[..., 0]
    assert np.isfinite(quiet).all()
    wrong = seen.outputs.copy()
    wrong[..., 0, :] += 2 * quiet[..., None]
    assert result(judge(kind, known, replace(seen, outputs=wrong))) == "contradicted"


def test_a_ratio_may_be_off_as_far_as_its_farther_end() -> None:
    found = reads([4.0], [2.0], before_error=1.0, after_error=0.5)
    above, below = (2.5 / 3.0) ** 2 - 0.25, 0.25 - (1.5 / 5.0) ** 2
    assert above > below
    assert _spread(found).item() == pytest.approx(above)
    # Of a large error after the write the lower end is the farther one.
    low = reads([4.0], [2.0], before_error=0.0, after_error=0.5)
    one_sided = replace(low, before_error=array(-0.5))
    assert _spread(one_sided).item() == pytest.approx(max((2.5 / 4.5) ** 2 - 0.25, 0.25 - (1.5 / 3.5) ** 2))
    assert _spread(reads([np.nan], [2.0])).item() == 0.0


def test_only_what_is_observed_and_not_contradicted_exits_with_zero() -> None:
    kind, known, seen = run()
    check = judge(kind, known, seen)
    codes = {"confirmed": 0, "not applicable": 0, "contradicted": 1, "not observable": 3}
    for outcome, code in codes.items():
        one = Verdict("T5", "", outcome, "")  # type: ignore[arg-type]
        assert replace(check, verdicts=(one,)).exit_code == code
        assert replace(check, verdicts=(Verdict("T5", "", "contradicted", ""), one)).exit_code == 1


def test_an_exact_residual_of_zero_tells_nothing_either() -> None:
    stream = interpolating(8)
    kind, known, seen = run(stream=replace(stream, values=0 * stream.values))
    assert seen.reads_before is not None
    found = judge(kind, known, replace(seen, reads_before=seen.reads_before + 1e-30))
    assert found["q"].within
    assert found["beta a"].within


@pytest.mark.parametrize(("unexplained", "told"), [(0, True), (1, True), (4, False)])
def test_a_factor_explains_most_tokens(unexplained: int, told: bool) -> None:
    exact = np.ones((1, 1, 20, 3))
    found = 0.5 * exact
    found[0, 0, :unexplained] += 0.3
    assert (_left(found, exact, 0.5 * exact) <= EXPLAINED) == told


@pytest.mark.parametrize(("left", "told"), [(0.09, True), (0.11, False)])
def test_a_factor_leaves_a_tenth_of_the_error(left: float, told: bool) -> None:
    """Moved at right angles, so that the error stays as large."""
    exact = np.ones((1, 1, 20, 2))
    aside = left * 0.5 * np.array([1.0, -1.0])
    assert (_left(0.5 * exact + aside, exact, 0.5 * exact) <= EXPLAINED) == told


def test_what_is_out_of_bound_exits_with_one_whatever_the_verdicts_say() -> None:
    kind, known, seen = run()
    outside = compared(array(2.0), array(1.0), 0.5)
    assert replace(judge(kind, known, seen), comparisons=(outside,), verdicts=()).exit_code == 1


def test_the_curve_is_that_of_the_smallest_finite_product() -> None:
    assert _smallest(np.array([[1.0, -5.0], [-np.inf, 3.0]])) == (0, 1)
