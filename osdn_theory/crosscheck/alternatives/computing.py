"""Rows of the table: memory and preconditioner computed otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from osdn_theory.crosscheck.alternatives.alternative import (
    CALIBRATING,
    CHUNKS,
    DECAYING,
    OSDN,
    READING,
    Alternative,
)
from osdn_theory.crosscheck.alternatives.fault import Fault
from osdn_theory.crosscheck.alternatives.mechanism import Mechanism
from osdn_theory.crosscheck.alternatives.reading import on
from osdn_theory.rounding import BFLOAT16, FLOAT16

G, BETA = frozenset({"g"}), frozenset({"beta"})
PRECONDITIONED = OSDN | {"preconditioned_delta_net"}


def rows() -> Iterator[Alternative]:
    """All faults of what is computed."""
    yield from _gate_of_the_write()
    yield from _keys()
    yield from _order()
    yield from _decay()
    yield from _calibrate_step()
    yield from _feedback()
    yield from _clip()
    yield from _forgetting()
    yield from _chunks()
    yield from _lost_features()
    yield from _precision()


def _row(
    key: str,
    sentence: str,
    formula: str,
    of: frozenset[str] = READING,
    /,
    needs: frozenset[str] = frozenset(),
    approximate: bool = False,
    **switches: Any,
) -> Alternative:
    return Alternative(key, sentence, formula, {"": switched(**switches)}, of, needs, approximate)


def _per_chunk(
    key: str,
    sentence: str,
    formula: str,
    of: frozenset[str],
    switches: Mapping[str, Any],
    size: str = "chunk",
) -> Alternative:
    variants = {f"C = {c}": switched(**switches, **{size: c}) for c in CHUNKS}
    return Alternative(key, sentence, formula, variants, of)


def switched(**switches: Any) -> Fault:
    """The fault of a mechanism; unknown switches raise."""
    Mechanism(**switches)
    return Fault(mechanism=switches)


def _gate_of_the_write() -> Iterator[Alternative]:
    yield _row(
        "beta on the erase only",
        "v is not multiplied by beta",
        "x_t = v_t - beta_t S_{t-1} k_t",
        READING,
        BETA,
        gate="erase",
    )
    yield _row(
        "beta on the value only",
        "only v is multiplied by beta",
        "x_t = beta_t v_t - S_{t-1} k_t",
        READING,
        BETA,
        gate="value",
    )
    yield _row(
        "beta twice on the value",
        "v is multiplied by beta twice",
        "x_t = beta_t^2 v_t - beta_t S_{t-1} k_t",
        READING,
        BETA,
        gate="value twice",
    )
    yield _row(
        "diagonal in the mask",
        "the mask of the triangular system keeps its diagonal",
        "A = tril(diag(beta) K K~^T, 0), X = (I + A)^{-1} ...: beta_t / (1 + beta_t a_t)",
        READING,
        gate="implicit",
    )


def _keys() -> Iterator[Alternative]:
    pairs: dict[str, tuple[str, str, Any, Any]] = {
        "write key to erase": (
            "erases with the write key as well",
            "S (d * k) (d * k)^T",
            "write key",
            "write key",
        ),
        "key to write": ("writes with the key", "S k k^T: d is not used", "key", "key"),
        "keys exchanged": (
            "erases with the write key and writes with the key",
            "S (d * k) k^T",
            "write key",
            "key",
        ),
        "root of d on both": ("erases and writes with sqrt(d) * k", "d^{1/2} on both sides", "root", "root"),
        "d squared": ("writes with d^2 * k", "S k (d^2 * k)^T", "key", "squared"),
    }
    for key, (what, formula, erase, write) in pairs.items():
        sentence = f"read and write keys are mixed up: the memory {what}"
        yield _row(key, sentence, formula, PRECONDITIONED, erase=erase, write=write)
    yield _row(
        "d on q",
        "the output reads with d * q",
        "o_t = scale S_t (d_t * q_t)",
        PRECONDITIONED,
        query="preconditioned",
    )


def _order() -> Iterator[Alternative]:
    yield _row(
        "reads before the write",
        "o_t is read before token t is written; in a chunk: the mask of Q K^T leaves out its diagonal",
        "o_t = scale alpha_t S_{t-1} q_t",
        read="before",
    )
    yield _row(
        "reads before the decay",
        "o_t is read before token t decays and is written",
        "o_t = scale S_{t-1} q_t",
        DECAYING,
        G,
        read="undecayed",
    )
    yield _row(
        "calibrates too early",
        "token t is written with d_{t+1}: the calibrate step comes before the write",
        "S_t = S_{t-1} + beta_t r_t (d_{t+1} * k_t)^T",
        OSDN,
        calibrate_first=True,
    )


def _decay() -> Iterator[Alternative]:
    yield _row(
        "decays after the residual",
        "the memory decays after the residual is formed, not before",
        "S_t = alpha_t S_{t-1} + beta_t (v_t - S_{t-1} k_t) k_t^T",
        DECAYING,
        G,
        source="undecayed",
    )
    yield _row(
        "decays after the write",
        "the memory decays after the write, and the write with it",
        "S_t = alpha_t (S_{t-1} + beta_t (v_t - S_{t-1} k_t) k_t^T)",
        DECAYING,
        G,
        decay="after write",
    )
    yield _row(
        "decays in the residual only",
        "what is kept does not decay",
        "S_t = S_{t-1} + beta_t (v_t - alpha_t S_{t-1} k_t) k_t^T",
        DECAYING,
        G,
        decay="residual only",
    )


def _calibrate_step() -> Iterator[Alternative]:
    yield _row(
        "d stays at d_1",
        "the calibrate step is missing",
        "d_{t+1} = clip[c + gamma_t (d_t - c)]",
        CALIBRATING,
        calibrates=False,
    )
    yield _row(
        "step reversed",
        "the calibrate step goes the wrong way",
        "... - eta (1 - a_t) s_t",
        CALIBRATING,
        gain=-1.0,
    )
    yield _row(
        "step doubled", "the gradient keeps a factor of 2", "... + 2 eta (1 - a_t) s_t", CALIBRATING, gain=2.0
    )
    yield _row(
        "step along k",
        "the calibrate step goes along k, not k^2",
        "... + eta (1 - a_t) k_t",
        CALIBRATING,
        feature="key",
    )
    yield _row(
        "step along |k|",
        "the calibrate step goes along |k|, not k^2",
        "... + eta (1 - a_t) |k_t|",
        CALIBRATING,
        feature="absolute",
    )


def _feedback() -> Iterator[Alternative]:
    flag = frozenset({"normalize_feedback"})
    yield _row(
        "always normalised",
        "feedback is normalised where nobody asked",
        "w_t = 1 / (||k_t||^2 + epsilon)",
        CALIBRATING,
        weighing="always",
    )
    yield _row(
        "normalised by the norm",
        "normalised feedback forgets to square the norm",
        "w_t = 1 / (||k_t|| + epsilon)",
        CALIBRATING,
        flag,
        weighing="norm",
    )
    yield _row(
        "normalised by the fourth power",
        "normalised feedback squares the norm twice",
        "w_t = 1 / (||k_t||^4 + epsilon)",
        CALIBRATING,
        flag,
        weighing="fourth power",
    )
    yield _row(
        "beta-aware feedback",
        "feedback takes beta into account where nobody asked",
        "... + eta beta_t (1 - beta_t a_t) s_t",
        CALIBRATING,
        BETA,
        awareness="always",
    )
    yield _row(
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
    yield _per_chunk(
        "clips once per chunk",
        "d is clipped once per chunk instead of after every token",
        "d_{nC+1} = clip[...], no other",
        CALIBRATING,
        {},
        "clip_every",
    )
    yield _row(
        "clips at the end only",
        "only the d handed on is clipped",
        "d_{T+1} = clip[...], no other",
        CALIBRATING,
        clip_every=0,
    )


def _forgetting() -> Iterator[Alternative]:
    yield _row(
        "forgets before the step",
        "d forgets before the calibrate step looks at it",
        "a_t formed with c + gamma_t (d_t - c)",
        CALIBRATING,
        G,
        forget="first",
    )
    yield _row(
        "forgets the step too",
        "d forgets after the calibrate step, and the step with it",
        "d_{t+1} = clip[c + gamma_t (d_t + eta w_t (1 - a_t) s_t - c)]",
        CALIBRATING,
        G,
        forget="last",
    )
    yield _row(
        "forgets after the clip",
        "d is clipped first and forgets then",
        "d_{t+1} = c + gamma_t (clip[d_t + eta w_t (1 - a_t) s_t] - c)",
        CALIBRATING,
        G,
        forget="after clip",
    )


def _chunks() -> Iterator[Alternative]:
    yield _per_chunk(
        "loses the memory between chunks",
        "the memory is not carried from chunk to chunk",
        "S_{nC} = 0",
        READING,
        {},
        "reset_every",
    )
    yield _per_chunk(
        "resets d between chunks",
        "d starts at d_1 in every chunk",
        "d_{nC+1} = d_1",
        CALIBRATING,
        {},
        "reset_preconditioner_every",
    )
    memory: dict[str, tuple[str, str, dict[str, Any]]] = {
        "no solve": (
            "writes of one chunk do not see each other",
            "X = diag(beta) (V - K H)",
            {"source": "chunk start"},
        ),
        "inverse to first order": (
            "the inverse of the triangular system is cut off",
            "(I - A) for (I + A)^{-1}",
            {"source": "first order"},
        ),
        "sign in the solve": (
            "the triangular system has the wrong sign",
            "(I - A)^{-1} for (I + A)^{-1}",
            {"source": "opposite"},
        ),
        "mask one token short": (
            "the mask of the triangular system leaves out the token before",
            "A = tril(diag(beta) K K~^T, -2)",
            {"source": "lagging"},
        ),
        "output without its chunk": (
            "the output misses the writes of its own chunk",
            "o_t = scale H q_t",
            {"read": "chunk start"},
        ),
        "output of its chunk alone": (
            "the output misses the state before its chunk",
            "o_t = scale (S_t - H) q_t",
            {"read": "chunk alone"},
        ),
    }
    for key, (sentence, formula, switches) in memory.items():
        yield _per_chunk(key, sentence, formula, READING, switches)
    yield _per_chunk(
        "output not causal",
        "the output sees the whole chunk: the mask of Q K^T is missing",
        "O = scale (Q H + Q K~^T X)",
        READING - DECAYING,
        {"read": "chunk end"},
    )
    yield _per_chunk(
        "carry without decay",
        "what a chunk writes is handed on undecayed",
        "S_{nC} = e^{G_C} H + sum_t x_t k_t^T",
        DECAYING,
        {"undecayed_carry": True},
    )
    yield _per_chunk(
        "d of the chunk's start in its writes",
        "all write keys of a chunk use the d at its start",
        "k~_t = d_{nC+1} * k_t",
        OSDN,
        {"frozen": "writes"},
    )
    yield _per_chunk(
        "d moves once per chunk",
        "all gains of a chunk use the d at its start, and d moves at its end",
        "d_{(n+1)C+1} = d_{nC+1} + eta sum_t (1 - <d_{nC+1}, s_t>) s_t",
        CALIBRATING,
        {"frozen": "gains"},
    )


def _lost_features() -> Iterator[Alternative]:
    sums: dict[str, tuple[str, str, Any, frozenset[str]]] = {
        "residual loses a feature": (
            "the read of the residual",
            "S k over k_1 ... k_{K-1}",
            "residual",
            READING,
        ),
        "output loses a feature": ("the read of the output", "S q over q_1 ... q_{K-1}", "output", READING),
        "a loses a feature": ("a_t", "a_t = sum_{i < K} d_i k_i^2", "alignment", CALIBRATING),
    }
    for key, (what, formula, which, of) in sums.items():
        yield _row(key, f"{what} leaves out the last feature", formula, of, loses_feature=which)


def _precision() -> Iterator[Alternative]:
    stored: dict[str, tuple[str, str, dict[str, Any], frozenset[str]]] = {
        "stores d in bfloat16": ("d", "bfloat16", {"preconditioner_format": BFLOAT16}, CALIBRATING),
        "stores d in float16": ("d", "float16", {"preconditioner_format": FLOAT16}, CALIBRATING),
        "stores S in bfloat16": ("the memory", "bfloat16", {"state_format": BFLOAT16}, READING),
        "stores S in float16": ("the memory", "float16", {"state_format": FLOAT16}, READING),
    }
    for key, (what, kind, switches, of) in stored.items():
        yield _row(
            key,
            f"{what} is stored in {kind}",
            f"rounded to {kind} after every token",
            of,
            approximate=True,
            **switches,
        )
    yield _row(
        "write keys in bfloat16",
        "the write key is rounded to bfloat16",
        "k~_t = bfloat16(d_t * k_t)",
        READING,
        approximate=True,
        write_key_format=BFLOAT16,
    )
