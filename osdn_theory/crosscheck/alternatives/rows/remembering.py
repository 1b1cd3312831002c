"""Rows of the table: the memory computed otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from osdn_theory.crosscheck.alternatives.alternative import (
    DECAYING,
    OSDN,
    PRECONDITIONED,
    READING,
    Alternative,
)
from osdn_theory.crosscheck.alternatives.rows.switching import BETA, G, per_chunk, row
from osdn_theory.rounding import BFLOAT16, FLOAT16

WITH_D = OSDN | PRECONDITIONED


def rows() -> Iterator[Alternative]:
    """All faults of the memory."""
    yield from _gate_of_the_write()
    yield from _keys()
    yield from _order()
    yield from _gram_diagonal()
    yield from _decay()
    yield from _chunks()
    yield from _lost_features()
    yield from _precision()


def _gate_of_the_write() -> Iterator[Alternative]:
    yield row(
        "beta on the erase only",
        "v is not multiplied by beta",
        "x_t = v_t - beta_t S_{t-1} k_t",
        READING,
        BETA,
        gate="erase",
    )
    yield row(
        "beta on the value only",
        "only v is multiplied by beta",
        "x_t = beta_t v_t - S_{t-1} k_t",
        READING,
        BETA,
        gate="value",
    )
    yield row(
        "beta twice on the value",
        "v is multiplied by beta twice",
        "x_t = beta_t^2 v_t - beta_t S_{t-1} k_t",
        READING,
        BETA,
        gate="value twice",
    )
    yield row(
        "diagonal in the mask",
        "the mask of the triangular system keeps its diagonal",
        "A = tril(diag(beta) K K~^T, 0), X = (I + A)^{-1} ...: beta_t / (1 + beta_t a_t)",
        READING,
        gate="implicit",
    )


def _keys() -> Iterator[Alternative]:
    pairs: dict[str, tuple[str, str, Any, Any]] = {
        "erases with the write key as well": (
            "erases with the write key as well",
            "S (d * k) (d * k)^T",
            "write key",
            "write key",
        ),
        "writes with the key instead of the write key": (
            "writes with the key",
            "S k k^T: d is not used",
            "key",
            "key",
        ),
        "erases with the write key and writes with the key": (
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
        yield row(key, sentence, formula, WITH_D, erase=erase, write=write)
    yield row(
        "d on q",
        "the output reads with d * q",
        "o_t = scale S_t (d_t * q_t)",
        WITH_D,
        query="preconditioned",
    )


def _order() -> Iterator[Alternative]:
    yield row(
        "reads before the write",
        "o_t is read before token t is written",
        "o_t = scale alpha_t S_{t-1} q_t; in a chunk tril(Q K~^T, -1)",
        read="before",
    )
    yield row(
        "reads before the decay",
        "o_t is read before token t decays and is written",
        "o_t = scale S_{t-1} q_t",
        DECAYING,
        G,
        read="undecayed",
    )
    yield row(
        "calibrates too early",
        "token t is written with d_{t+1}: the calibrate step comes before the write",
        "S_t = S_{t-1} + beta_t r_t (d_{t+1} * k_t)^T",
        OSDN,
        calibrate_first=True,
    )


def _gram_diagonal() -> Iterator[Alternative]:
    yield row(
        "own key left out of A",
        "token t is written with a d that does not know its key",
        "d_t from A_{t-1}",
        PRECONDITIONED,
        own_key=False,
    )
    yield row(
        "squash without its centre",
        "the squash of the Gram diagonal is not centred",
        "d_t = 1.5^{-softsign(log(A_t + 1e-6))}",
        PRECONDITIONED,
        center=0.0,
    )


def _decay() -> Iterator[Alternative]:
    yield row(
        "decays after the residual",
        "the memory decays after the residual is formed, not before",
        "S_t = alpha_t S_{t-1} + beta_t (v_t - S_{t-1} k_t) k_t^T",
        DECAYING,
        G,
        source="undecayed",
    )
    yield row(
        "decays after the write",
        "the memory decays after the write, and the write with it",
        "S_t = alpha_t (S_{t-1} + beta_t (v_t - S_{t-1} k_t) k_t^T)",
        DECAYING,
        G,
        decay="after write",
    )
    yield row(
        "decays in the residual only",
        "what is kept does not decay",
        "S_t = S_{t-1} + beta_t (v_t - alpha_t S_{t-1} k_t) k_t^T",
        DECAYING,
        G,
        decay="residual only",
    )


def _chunks() -> Iterator[Alternative]:
    yield per_chunk(
        "loses the memory between chunks",
        "the memory is not carried from chunk to chunk",
        "S_{nC} = 0",
        READING,
        {},
        "reset_every",
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
        yield per_chunk(key, sentence, formula, READING, switches)
    yield per_chunk(
        "output not causal",
        "the output sees the whole chunk: the mask of Q K^T is missing",
        "O = scale (Q H + Q K~^T X)",
        READING - DECAYING,
        {"read": "chunk end"},
    )
    yield per_chunk(
        "carry without decay",
        "what a chunk writes is handed on undecayed",
        "S_{nC} = e^{G_C} H + sum_t x_t k_t^T",
        DECAYING,
        {"undecayed_carry": True},
    )


def _lost_features() -> Iterator[Alternative]:
    sums: dict[str, tuple[str, str, Any]] = {
        "residual loses a feature": ("residual", "S k over k_1 ... k_{K-1}", "residual"),
        "output loses a feature": ("output", "S q over q_1 ... q_{K-1}", "output"),
    }
    for key, (what, formula, which) in sums.items():
        yield row(key, f"the read of the {what} leaves out the last feature", formula, loses_feature=which)


def _precision() -> Iterator[Alternative]:
    for stored in (BFLOAT16, FLOAT16):
        yield row(
            f"stores S in {stored.name}",
            f"the memory is stored in {stored.name}",
            f"S_t <- {stored.name}(S_t)",
            approximate=True,
            state_format=stored,
        )
    yield row(
        "rounds d to bfloat16 for the write",
        "the write key uses d rounded to bfloat16",
        "k~_t = bfloat16(d_t) * k_t",
        WITH_D,
        approximate=True,
        written_preconditioner_format=BFLOAT16,
    )
    yield row(
        "write keys in bfloat16",
        "the write key is rounded to bfloat16",
        "k~_t = bfloat16(d_t * k_t)",
        approximate=True,
        write_key_format=BFLOAT16,
    )
