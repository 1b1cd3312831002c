"""Rows of the table: the preconditioner computed otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from osdn_theory.crosscheck.alternatives.alternative import CALIBRATING, OSDN, Alternative
from osdn_theory.crosscheck.alternatives.fault import Fault
from osdn_theory.crosscheck.alternatives.rows.changing import on
from osdn_theory.crosscheck.alternatives.rows.switching import BETA, G, per_chunk, row
from osdn_theory.rounding import BFLOAT16, FLOAT16


def rows() -> Iterator[Alternative]:
    """All faults of the preconditioner."""
    yield from _calibrate_step()
    yield from _feedback()
    yield from _clip()
    yield from _forgetting()
    yield from _chunks()
    yield from _sums()


def _calibrate_step() -> Iterator[Alternative]:
    yield row(
        "d stays at d_1",
        "the calibrate step is missing",
        "d_{t+1} = clip[c + gamma_t (d_t - c)]",
        CALIBRATING,
        calibrates=False,
    )
    yield row(
        "step reversed",
        "the calibrate step goes the wrong way",
        "... - eta (1 - a_t) s_t",
        CALIBRATING,
        gain=-1.0,
    )
    yield row(
        "step doubled", "the gradient keeps a factor of 2", "... + 2 eta (1 - a_t) s_t", CALIBRATING, gain=2.0
    )
    yield row(
        "step along k",
        "the calibrate step goes along k, not k^2",
        "... + eta (1 - a_t) k_t",
        CALIBRATING,
        feature="key",
    )
    yield row(
        "step along |k|",
        "the calibrate step goes along |k|, not k^2",
        "... + eta (1 - a_t) |k_t|",
        CALIBRATING,
        feature="absolute",
    )


def _feedback() -> Iterator[Alternative]:
    flag = frozenset({"normalize_feedback"})
    yield row(
        "always normalised",
        "feedback is normalised where nobody asked",
        "w_t = 1 / (||k_t||^2 + epsilon)",
        CALIBRATING,
        weighing="always",
    )
    yield row(
        "normalised by the norm",
        "normalised feedback forgets to square the norm",
        "w_t = 1 / (||k_t|| + epsilon)",
        CALIBRATING,
        flag,
        weighing="norm",
    )
    yield row(
        "normalised by the fourth power",
        "normalised feedback squares the norm twice",
        "w_t = 1 / (||k_t||^4 + epsilon)",
        CALIBRATING,
        flag,
        weighing="fourth power",
    )
    yield row(
        "beta-aware feedback",
        "feedback takes beta into account where nobody asked",
        "... + eta beta_t (1 - beta_t a_t) s_t",
        CALIBRATING,
        BETA,
        awareness="always",
    )
    yield row(
        "step times beta",
        "the calibrate step is multiplied by beta",
        "... + eta beta_t (1 - a_t) s_t",
        CALIBRATING,
        BETA,
        awareness="half",
    )


def _clip() -> Iterator[Alternative]:
    low = Fault(inputs=(on(("d_min",), lambda side: -float("inf")),))  # type: ignore[arg-type,return-value]
    high = Fault(inputs=(on(("d_max",), lambda side: float("inf")),))  # type: ignore[arg-type,return-value]
    sides = {
        "never clips": ("d is not clipped to the box", "d_{t+1} = c + ...", low & high),
        "clips from above only": ("d is not held above d_min", "d_{t+1} = min(..., d_max)", low),
        "clips from below only": ("d is not held below d_max", "d_{t+1} = max(..., d_min)", high),
    }
    for key, (sentence, formula, fault) in sides.items():
        yield Alternative(key, sentence, formula, {"": fault}, CALIBRATING)
    yield per_chunk(
        "clips once per chunk",
        "d is clipped once per chunk instead of after every token",
        "d_{nC+1} = clip[...], no other",
        CALIBRATING,
        {},
        "clip_every",
    )
    yield per_chunk(
        "clips what chunks hand on once",
        "inside a chunk d is clipped after every token, but what chunks hand on is clipped once per chunk",
        "d_{nC+1} = clip[step(... step(d_{(n-1)C+1}))], inside the chunk d_{t+1} = clip[step(d_t)]",
        CALIBRATING,
        {"carried_apart": True},
    )
    yield row(
        "clips at the end only",
        "only the d handed on is clipped",
        "d_{T+1} = clip[...], no other",
        CALIBRATING,
        clip_every=0,
    )


def _forgetting() -> Iterator[Alternative]:
    yield row(
        "forgets before the step",
        "d forgets before the calibrate step looks at it",
        "a_t formed with c + gamma_t (d_t - c)",
        CALIBRATING,
        G,
        forget="first",
    )
    yield row(
        "forgets the step too",
        "d forgets after the calibrate step, and the step with it",
        "d_{t+1} = clip[c + gamma_t (d_t + eta w_t (1 - a_t) s_t - c)]",
        CALIBRATING,
        G,
        forget="last",
    )
    yield row(
        "forgets after the clip",
        "d is clipped first and forgets then",
        "d_{t+1} = c + gamma_t (clip[d_t + eta w_t (1 - a_t) s_t] - c)",
        CALIBRATING,
        G,
        forget="after clip",
    )


def _chunks() -> Iterator[Alternative]:
    yield per_chunk(
        "resets d between chunks",
        "d starts at d_1 in every chunk",
        "d_{nC+1} = d_1",
        CALIBRATING,
        {},
        "reset_preconditioner_every",
    )
    yield per_chunk(
        "d of the chunk's start in its writes",
        "all write keys of a chunk use the d at its start",
        "k~_t = d_{nC+1} * k_t",
        OSDN,
        {"frozen": "writes"},
    )
    yield per_chunk(
        "d moves once per chunk",
        "all gains of a chunk use the d at its start, and d moves at its end",
        "d_{(n+1)C+1} = d_{nC+1} + eta sum_t (1 - <d_{nC+1}, s_t>) s_t",
        CALIBRATING,
        {"frozen": "gains"},
    )


def _sums() -> Iterator[Alternative]:
    yield row(
        "a loses a feature",
        "a_t leaves out the last feature",
        "a_t = sum_{i < K} d_i k_i^2",
        CALIBRATING,
        loses_feature="alignment",
    )
    for stored in (BFLOAT16, FLOAT16):
        yield row(
            f"stores d in {stored.name}",
            f"d is stored in {stored.name}",
            f"d_t <- {stored.name}(d_t)",
            CALIBRATING,
            approximate=True,
            preconditioner_format=stored,
        )
