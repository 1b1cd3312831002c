"""Claims are judged by paired tests written down beforehand: an effect, a null result and a contradiction."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.language_cases import write_experiment

from osdn_theory.language.claims import LANGUAGE_CLAIMS, ClaimOutcome, judge_claims
from osdn_theory.language.measures import Q
from osdn_theory.language.summary import summarise_language
from osdn_theory.language.tables import claim_sentence, claim_table
from osdn_theory.recall.statistics import holm_adjusted, paired_test

NOISE = (0.0, 0.11, -0.07, 0.04, -0.02)
WIGGLE = (0.0, 0.004, -0.003, 0.001, -0.002)
MODELS = (
    "deltanet", "osdn_historic", "osdn_bounded", "apf_historic", "apf_bounded", "gated_deltanet", "os_gdn",
)  # fmt: skip
PASSAGES = ("16 tokens, read 2 times before", "32 tokens, read 2 times before")


def judged(folder: Path, *, effects: dict[tuple[str, str], float], seeds: int = 5) -> dict[str, ClaimOutcome]:
    """Outcomes where a model's measure differs from the others' by `effects`."""

    def values(model: str, seed: int) -> dict[tuple[str, str], float]:
        wiggle = WIGGLE[(seed + MODELS.index(model)) % 5]
        base = {
            ("loss", ""): 2.0, ("loss growth", ""): -0.1, (Q, "all layers"): 0.3,
            ("line loss", "8 pairs, read 1 times"): 3.0,
            ("passage loss", PASSAGES[0]): 2.0, ("passage loss", PASSAGES[1]): 1.5,
        }  # fmt: skip
        return {
            (measure, place): value + NOISE[seed] + wiggle + effects.get((model, measure), 0.0)
            for (measure, place), value in base.items()
        }

    write_experiment(folder, values, seeds=seeds, models={name: name for name in MODELS}, ratio=False)
    return {outcome.id: outcome for outcome in judge_claims(summarise_language(folder))}


def test_nothing_is_seen_where_there_is_nothing_but_parity(tmp_path: Path) -> None:
    found = judged(tmp_path / "train", effects={})
    assert {name: each.standing for name, each in found.items()} == {
        "C1c": "not seen at this scale",
        "C3b": "not seen at this scale",
        "C4": "reproduced at this scale",
        "APF": "not seen at this scale",
        "PG19": "not seen at this scale",
        "OS-GDN": "not seen at this scale",
    }


def test_an_effect_is_reproduced_and_its_opposite_contradicts(tmp_path: Path) -> None:
    models = MODELS[1:]
    found = judged(tmp_path / "lower", effects={(model, Q): -0.1 for model in models})
    assert found["C1c"].standing == "reproduced at this scale"
    found = judged(tmp_path / "one", effects={("apf_historic", Q): -0.1})
    assert found["C1c"].standing == "reproduced in part at this scale"
    assert [test.finding for test in found["C1c"].tests] == [
        "no difference seen", "no difference seen", "as claimed", "no difference seen",
    ]  # fmt: skip
    found = judged(tmp_path / "other", effects={("osdn_bounded", Q): 0.1})
    assert found["C1c"].standing == "contradicted at this scale"
    found = judged(
        tmp_path / "both", effects={("osdn_bounded", "passage loss"): 0.1, ("apf_bounded", "line loss"): -0.1}
    )
    assert found["C3b"].standing == "mixed at this scale"


def test_growth_is_held_against_what_the_claim_names(tmp_path: Path) -> None:
    grown = {("osdn_historic", "loss growth"): 0.2}
    found = judged(tmp_path / "train", effects=grown)
    assert found["PG19"].standing == "reproduced in part at this scale"
    # Forgetting in the historic setting is held against that setting without, not against DeltaNet.
    (first, second) = found["APF"].tests
    assert (first.model, first.other, first.finding) == ("apf_historic", "osdn_historic", "as claimed")
    assert (second.other, second.finding) == ("osdn_bounded", "no difference seen")


def test_a_memory_with_gates_is_held_against_the_same_gates(tmp_path: Path) -> None:
    """Both better than DeltaNet is no gain of calibration; better than Gated DeltaNet is, one test among six."""
    found = judged(tmp_path / "both", effects={(model, "loss"): -0.3 for model in MODELS[5:]})
    assert found["OS-GDN"].standing == "not seen at this scale"
    found = judged(tmp_path / "one", effects={("os_gdn", "loss"): -0.3})
    assert found["OS-GDN"].standing == "reproduced in part at this scale"
    assert {(test.model, test.other) for test in found["OS-GDN"].tests} == {("os_gdn", "gated_deltanet")}


@pytest.mark.parametrize(
    ("worse", "finding"), [(0.0, "as claimed"), (0.02, "no difference seen"), (0.1, "opposite")]
)
def test_parity_is_a_loss_that_is_surely_within_the_margin(
    tmp_path: Path, worse: float, finding: str
) -> None:
    """One percent of a loss of 2 is 0.02: there, neither within nor beyond is shown."""
    found = judged(tmp_path / "train", effects={("osdn_historic", "loss"): worse})
    test = found["C4"].tests[0]
    assert (test.model, test.finding) == ("osdn_historic", finding)
    assert test.mean - test.reference == pytest.approx(worse, abs=0.005)


def test_p_values_are_adjusted_over_all_tests_of_a_claim_and_of_no_other(tmp_path: Path) -> None:
    found = judged(tmp_path / "train", effects={("osdn_historic", "passage loss"): -0.004})
    summary = summarise_language(tmp_path / "train")
    rows = {(row.model, row.measure, row.place): row.series for row in summary.rows}
    tests = found["C3b"].tests
    assert len(tests) == 8  # two measures of three, as names were not met, of four models
    expected = []
    for test in tests:
        one, two = (rows[name, test.change.measure, test.place] for name in (test.model, test.other))
        expected.append(paired_test([one[seed] for seed in one], [two[seed] for seed in one]).p)
    assert [test.difference.p_adjusted for test in tests] == pytest.approx(holm_adjusted(expected))
    assert {test.place for test in tests if test.change.measure == "passage loss"} == {PASSAGES[1]}


def test_two_seeds_test_nothing(tmp_path: Path) -> None:
    found = judged(tmp_path / "train", effects={(model, Q): -0.1 for model in MODELS[1:]}, seeds=2)
    assert {each.standing for each in found.values()} == {"not tested"}


def test_the_table_and_the_sentence_say_the_same(tmp_path: Path) -> None:
    found = judged(tmp_path / "train", effects={("apf_historic", Q): -0.1})
    summary = summarise_language(tmp_path / "train")
    header, rows = claim_table(summary)
    assert all(len(row) == len(header) for row in rows)
    assert rows[0][0].endswith("Reproduced in part at this scale.")
    (row,) = (row for row in rows if row[1].startswith(Q) and row[2] == "apf_historic")
    assert row[3:5] == ("deltanet", "0.212, 0.312")
    assert row[5].startswith("−32.1 %, adjusted p ")
    assert row[6] == "as claimed"
    sentence = claim_sentence(summary, found["C1c"])
    assert f"apf_historic 0.212 ({row[5]}, as claimed)" in sentence
    assert "reproduced in part at this scale (0.001 M parameters, preset gpu, 5 seeds)" in sentence


def test_claims_are_of_models_and_measures_that_there_are() -> None:
    from osdn_kernels.experiments.language.plan import MODELS as known

    from osdn_theory.language.sentences import CLAIMS

    for claim in LANGUAGE_CLAIMS.values():
        assert {name for pair in claim.pairs for name in pair} <= set(known)
        assert {test.measure for test in claim.tests} <= {*CLAIMS, "line loss"}
