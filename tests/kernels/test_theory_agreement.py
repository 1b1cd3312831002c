"""The references against `osdn_theory`, on synthetic streams and on MiniLM activations.

Layouts differ: the theory has tokens before features and heads first, (B, H, T, K), and states (B, H, V, K).
"""

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from osdn_kernels import (
    chunk_osdn,
    chunk_osgdn,
    chunk_oskda,
    fused_recurrent_osdn,
    fused_recurrent_osgdn,
    fused_recurrent_oskda,
)
from osdn_kernels.boundary import rule as kernel_rules
from osdn_kernels.reference.chunkwise import chunk_osdn_reference
from osdn_kernels.reference.tokenwise import osdn_reference
from support.kernels.reference_cases import relative_error
from torch import Tensor

from osdn_theory.recurrence.rules import SETTINGS, CalibrationRule
from osdn_theory.recurrence.solve import gated_delta_net, kda, osdn
from osdn_theory.streams import synthetic
from osdn_theory.streams.activations import load_activations
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.transforms import with_gates

RULES = {
    **SETTINGS,
    "fast": CalibrationRule(eta=0.5),
    "normalised": CalibrationRule(eta=0.5, normalize_feedback=True),
    "narrow box": CalibrationRule(eta=1.0, d_min=1.0, d_max=1.03),
    "open box": CalibrationRule(eta=0.5, d_min=-math.inf, d_max=math.inf),
    "forgetting to zero": CalibrationRule(eta=0.5, d_min=0.0, d_max=4.0, forgetting="token", anchor=0.0),
    "forgetting to the start": CalibrationRule(
        eta=0.5, d_min=0.0, d_max=4.0, forgetting="token", anchor="initial"
    ),
    "forgetting into the box": CalibrationRule(eta=0.5, forgetting="token", anchor=0.0),
    "forgetting, normalised": CalibrationRule(
        eta=0.5, forgetting="token", anchor=1.25, normalize_feedback=True
    ),
}


def test_settings_of_both_packages_are_the_same() -> None:
    kernels = {name: (rule.eta, rule.d_min, rule.d_max) for name, rule in kernel_rules.SETTINGS.items()}
    assert kernels == {name: (rule.eta, rule.d_min, rule.d_max) for name, rule in SETTINGS.items()}


SIZES = {"lead": (2, 3), "length": 50, "key_dim": 8, "value_dim": 6, "beta": "random", "noise": 0.1}


@cache
def stream(name: str) -> Stream:
    rng = np.random.default_rng(7)
    if name.startswith("layer"):
        made = load_activations(layers=[name], beta="random", rng=rng).pop().tokens(0, 150)
    elif name == "long keys":
        base = synthetic.isotropic(rng, **SIZES)
        made = Stream(keys=1.2 * base.keys, values=base.values, beta=base.beta)
    else:
        made = getattr(synthetic, name)(rng, **SIZES)
    return with_gates(made, rng, forget="random")


def tokens_first(x: Any) -> Tensor:
    """(B, H, T, ...) as [B, T, H, ...]."""
    return torch.from_numpy(np.array(x)).transpose(1, 2)


def entries(stream: Stream, rule: CalibrationRule) -> tuple[np.ndarray, np.ndarray]:
    """d_1 inside the box, and S_0."""
    rng = np.random.default_rng(3)
    start = rng.uniform(0.97, 1.03, size=(*stream.lead, stream.key_dim))
    return start.clip(rule.d_min, rule.d_max), rng.normal(
        size=(*stream.lead, stream.value_dim, stream.key_dim)
    )


def run(
    operator: Any, stream: Stream, rule: CalibrationRule, start: Tensor, state: Tensor
) -> dict[str, Tensor]:
    """Of a stream whose memory fades, its gates as `g` and those of d as `g_d`."""
    forgets = tokens_first(stream.forget_gate).log() if rule.forgetting == "token" else None
    gates = {"g": forgets}
    if stream.state_gate is not None:
        gates = {"g": tokens_first(stream.state_gate).log(), "g_d": forgets}
    o, final, trajectory = operator(
        *(tokens_first(x) for x in (stream.queries, stream.keys, stream.values)),
        beta=tokens_first(stream.beta),
        **gates,
        scale=0.7,
        eta=rule.eta,
        d_min=rule.d_min,
        d_max=rule.d_max,
        anchor=start if rule.anchor == "initial" else rule.anchor,
        normalize_feedback=rule.normalize_feedback,
        beta_aware=rule.beta_aware,
        initial_state=state,
        initial_preconditioner=start,
        output_final_state=True,
        chunk_size=32,
        return_trajectory=True,
    )
    found = {"o": o, "state": final.state, "final": final.preconditioner, **trajectory._asdict()}
    return {name: value for name, value in found.items() if name != "scan"}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["layer0", "layer5", "interpolating", "non_stationary", "long keys"])
def test_the_references_follow_the_exact_trajectory(name, rule):
    tokens, rule = stream(name), RULES[rule]
    start, state = entries(tokens, rule)
    exact = osdn(tokens, rule, scale=0.7, initial_state=state, initial_preconditioner=start)
    expected = {
        "o": tokens_first(exact.outputs),
        "state": torch.from_numpy(exact.final_state).mT,
        "final": torch.from_numpy(exact.final_preconditioner),
        "preconditioner": tokens_first(exact.preconditioner),
        "alignment": tokens_first(exact.alignment),
        "residual_ratio": tokens_first(exact.residual_ratio),
    }
    for operator in (osdn_reference, chunk_osdn_reference):
        found = run(operator, tokens, rule, torch.from_numpy(start), torch.from_numpy(state).mT)
        assert found.keys() == expected.keys()
        for quantity, value in expected.items():
            assert relative_error(found[quantity], value) < 1e-12, quantity


def two_heads(stream: Stream) -> Stream:
    """Enough for the interpreter."""
    names = ("queries", "keys", "values", "beta", "forget_gate")
    return replace(stream, **{name: getattr(stream, name)[:, :2] for name in names})


def in_float32(operator: Any) -> Any:
    def narrow(*args: Tensor, **options: Any) -> Any:
        options = {k: x.float() if isinstance(x, Tensor) else x for k, x in options.items()}
        return operator(*(x.float() for x in args), **options)

    return narrow


@pytest.mark.parametrize("rule", ["bounded", "narrow box", "forgetting to the start"])
@pytest.mark.parametrize("operator", [chunk_osdn, fused_recurrent_osdn])
def test_the_kernels_follow_the_exact_trajectory_on_minilm(operator, rule):
    """In float32, two heads of 32 features, 130 tokens; errors are those of float32 arithmetic and inputs."""
    tokens, rule = two_heads(stream("layer0").tokens(0, 130)), RULES[rule]
    start, state = entries(tokens, rule)
    exact = osdn(tokens, rule, scale=0.7, initial_state=state, initial_preconditioner=start)

    found = run(in_float32(operator), tokens, rule, torch.from_numpy(start), torch.from_numpy(state).mT)
    assert relative_error(found["o"], tokens_first(exact.outputs)) < 2e-6
    assert relative_error(found["state"], torch.from_numpy(exact.final_state).mT) < 2e-6
    assert relative_error(found["preconditioner"], tokens_first(exact.preconditioner)) < 2e-7
    assert relative_error(found["alignment"], tokens_first(exact.alignment)) < 1e-6


GATED = {
    chunk_osgdn: ("token", gated_delta_net), fused_recurrent_osgdn: ("token", gated_delta_net),
    chunk_oskda: ("feature", kda), fused_recurrent_oskda: ("feature", kda),
}  # fmt: skip
"""Operators whose memory fades: by what, and the theory's."""


@pytest.mark.parametrize("rule", ["narrow box", "forgetting to the start"])
@pytest.mark.parametrize("operator", GATED)
def test_the_gated_kernels_follow_the_exact_trajectory_on_minilm(operator, rule):
    """As above, under random gates of the memory and beta-aware feedback; the wrong kind of feedback is far off."""
    kind, solve = GATED[operator]
    tokens = two_heads(stream("layer0").tokens(0, 70))
    tokens = with_gates(tokens, np.random.default_rng(5), state=kind)
    rule = replace(RULES[rule], beta_aware=True)
    start, state = entries(tokens, rule)
    exact = solve(tokens, rule, scale=0.7, initial_state=state, initial_preconditioner=start)
    starts = torch.from_numpy(start), torch.from_numpy(state).mT
    found = run(in_float32(operator), tokens, rule, *starts)
    assert relative_error(found["o"], tokens_first(exact.outputs)) < 2e-6
    assert relative_error(found["state"], torch.from_numpy(exact.final_state).mT) < 2e-6
    assert relative_error(found["preconditioner"], tokens_first(exact.preconditioner)) < 2e-7
    plain = run(in_float32(operator), tokens, replace(rule, beta_aware=False), *starts)
    assert relative_error(plain["preconditioner"], tokens_first(exact.preconditioner)) > 1e-3


def test_the_rules_cover_clipping_and_no_clipping():
    def clipped(rule: CalibrationRule) -> float:
        tokens = stream("layer0")
        path = osdn(tokens, rule, initial_preconditioner=entries(tokens, rule)[0]).preconditioner
        return float(np.mean((path == rule.d_min) | (path == rule.d_max)))

    assert clipped(RULES["bounded"]) == 0
    assert 0.1 < clipped(RULES["narrow box"]) < 1
    assert clipped(RULES["forgetting into the box"]) > 0.5
    assert clipped(RULES["forgetting to the start"]) == 0
