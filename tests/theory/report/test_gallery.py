"""The report's figures and tables: their captions state numbers that are true."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.report.fake_verification import FakeVerification, good

from osdn_theory.measures.calibration_times import calibration_times, isotropic_alignment
from osdn_theory.recurrence.rules import BOUNDED, SETTINGS
from osdn_theory.report import Exhibit, gallery, write_report
from osdn_theory.streams.stream import Stream
from osdn_theory.verification.suite import suite


@pytest.fixture(scope="module")
def shown() -> dict[str, Exhibit]:
    verification = FakeVerification(
        good().checks, streams={"isotropic #1": "", "isotropic #2": "", "minilm/layer0": ""}
    )
    searched_briefly = partial(gallery.tightness_exhibit, restarts=1, evaluations=40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "tightness_exhibit", searched_briefly)
        return {exhibit.name: exhibit for exhibit in gallery.exhibits(verification)}  # type: ignore[arg-type]


def test_every_exhibit_has_a_caption_and_all_but_the_tables_a_figure(shown: dict[str, Exhibit]) -> None:
    assert set(shown) == {
        "slack",
        "tightness",
        "identity-fixed-point",
        "calibration-times",
        "preconditioner",
        "regret",
        "convergence",
        "forgetting",
        "newton-approach",
        "reads",
        "blindness",
        "near-delta-net",
        "error-growth",
        "sweeps",
    }
    assert all(len(exhibit.caption) > 40 for exhibit in shown.values())
    assert [name for name, exhibit in shown.items() if exhibit.figure is None] == [
        "calibration-times",
        "tightness",
    ]


def test_tightness_table_names_every_inequality_and_none_below_one(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["tightness"]
    assert {row[0].split()[0] for row in exhibit.rows} == set(gallery.TIGHTENABLE)
    assert all(float(row[1]) >= 1 - 1e-6 for row in exhibit.rows)
    assert f"{[row[2] for row in exhibit.rows].count('yes')} of {len(exhibit.rows)}" in exhibit.caption


def test_exactly_normalised_keys_leave_d_at_one_and_bfloat16_keys_do_not(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["identity-fixed-point"]
    drift = exhibit.data["largest_drift"]
    assert drift["exactly normalised"] == 0
    assert drift["bfloat16"] > 1e-6
    assert drift["bfloat16, η = 1"] > 1e-4
    assert drift["bfloat16"] > 1e3 * drift["float32"] > 0
    assert f"{drift['bfloat16']:.2g}" in exhibit.caption
    assert "OSDN is DeltaNet" in exhibit.caption


def test_calibration_table_holds_times_against_lengths(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["calibration-times"]
    assert [row[0] for row in exhibit.rows] == ["isotropic", "minilm/layer0"]
    (entry,) = suite(["isotropic"], 7, 1)
    for name, rule in SETTINGS.items():
        times = calibration_times(entry.build(np.random.default_rng(0)), rule).times
        assert exhibit.data["isotropic"][name]["slowest"] == times.max()
    assert [column for column in exhibit.header if column.startswith("fastest")] == [
        "fastest, bounded",
        "fastest, historic",
    ]
    real = exhibit.data["minilm/layer0"]
    # The steps are 333 apart: the times are too, and at the historic one directions calibrate within the context.
    assert real["bounded"]["fastest"] == pytest.approx(real["historic"]["fastest"] / 0.003)
    assert real["bounded"]["calibrated_directions"] == 0 < real["historic"]["calibrated_directions"]
    assert exhibit.data["minilm/layer0"]["length"] == 384


def test_calibration_table_includes_a_given_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "mine.npz"
    np.savez(path, **{name: rng.normal(size=(1, 9, 2, 5)) for name in "qkv"})
    verification = FakeVerification(good().checks, streams={})
    exhibit = gallery.calibration_exhibit(verification, path)  # type: ignore[arg-type]
    assert [row[0] for row in exhibit.rows if not row[0].endswith("/unit")] == ["mine/layer0"]


def test_regret_caption_matches_a_bound_that_holds(shown: dict[str, Exhibit]) -> None:
    data = shown["regret"].data
    assert data["outcome"] == "holds"
    assert 0 < data["lhs"] < data["rhs"]
    assert f"{data['rhs']:.3g}" in shown["regret"].caption


def test_convergence_caption_says_where_the_bound_is_vacuous(shown: dict[str, Exhibit]) -> None:
    data = shown["convergence"].data
    assert f"until step {data['vacuous_until']}" in shown["convergence"].caption
    assert 1 < data["vacuous_until"] < 300


def test_sweeps_caption_counts_what_settles(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["sweeps"]
    counts = exhibit.data["counts"]
    bounded = [count.sweeps for count in counts if count.eta == BOUNDED.eta]
    assert None not in bounded
    assert f"{min(bounded)} to {max(bounded)} suffice" in exhibit.caption
    unsettled = [count for count in counts if count.sweeps is None]
    assert f"{len(unsettled)} of {len(counts)} scans" in exhibit.caption
    assert unsettled
    assert min(count.eta for count in unsettled) > 10 * BOUNDED.eta


def test_measured_alignment_is_the_formula() -> None:
    gammas = np.array([0.9, 0.99])
    measured = gallery.measured_alignment(np.random.default_rng(1), gammas, key_dim=16, eta=0.05)
    np.testing.assert_allclose(measured, isotropic_alignment(16, eta=0.05, gamma=gammas), rtol=0.1)


def test_identity_drift_is_the_largest_over_heads_and_features() -> None:
    keys = np.zeros((2, 3, 2))
    keys[1, 0] = [1.0, 0.5]
    stream = Stream(keys=keys, values=keys)
    drift = gallery.identity_drift(stream, BOUNDED)
    # s = (1, 1/4): one step of eta (1 - 5/4) s, from then on nothing.
    np.testing.assert_allclose(drift, [0, 0.003 * 0.25, 0.003 * 0.25], rtol=1e-12)


@pytest.mark.slow
def test_all_exhibits_fit_on_the_page(shown: dict[str, Exhibit], tmp_path: Path) -> None:
    page = write_report(good(), tmp_path, exhibits=list(shown.values())).read_text()  # type: ignore[arg-type]
    assert all(f'id="{name}"' in page for name in shown)
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert len([stem for stem in drawn if not stem.startswith(("recall", "summary"))]) == 12
