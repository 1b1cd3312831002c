"""Streams and rules of the rounding tests, and the errors of kernels and emulations beside their bounds.

Kernels run in Triton's interpreter. ``PYTHONPATH=tests python -m support.rounding_cases`` prints how far the bounds lie
above the errors, for every kernel and precision; the tests assert on smaller runs.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np

from osdn_theory import rounding
from osdn_theory.recurrence.rules import BOUNDED, HISTORIC, CalibrationRule
from osdn_theory.rounding import ErrorBounds, KernelModel, error_bounds, in_interpreter
from osdn_theory.streams import synthetic
from osdn_theory.streams.activations import load_activations
from osdn_theory.streams.stream import Stream

RULES = {
    "bounded": BOUNDED,
    "fast": CalibrationRule(eta=0.5),
    "historic": HISTORIC,
    "normalised": CalibrationRule(eta=0.5, normalize_feedback=True),
    "narrow box": CalibrationRule(eta=1.0, d_min=1.0, d_max=1.03),
    "anchored": CalibrationRule(eta=0.5, d_min=0.0, d_max=4.0, forgetting=0.98, anchor="initial"),
    "forgetting into the box": CalibrationRule(eta=0.5, forgetting=0.9, anchor=0.0),
}

STREAMS = ("isotropic", "interpolating", "non_stationary", "constant_key", "layer0")


def stream(name: str, length: int, dim: int = 8) -> Stream:
    """A stream with two leading entries; ``layer0`` has MiniLM's keys of 32 features."""
    rng = np.random.default_rng(5)
    if name == "layer0":
        whole = load_activations(layers=["layer0"], beta="random", rng=rng).pop().tokens(0, length)
        two = {k: np.asarray(getattr(whole, k))[0, :2] for k in ("keys", "values", "queries", "beta")}
        return Stream(**two, name=name)
    sizes: dict[str, Any] = {"lead": (2,), "length": length, "key_dim": dim, "value_dim": dim}
    if name != "interpolating":
        sizes |= {"beta": "random", "noise": 0.1}
    made: Stream = getattr(synthetic, name)(rng, **sizes)
    return made


def beside(*names: str, length: int) -> Stream:
    """Streams of one size, one after the other along their leading axis: bounded and emulated in one go."""
    made = [stream(name, length) for name in names]
    fields = ("keys", "values", "queries", "beta")
    return Stream(
        **{field: np.concatenate([np.asarray(getattr(each, field)) for each in made]) for field in fields}
    )


def start(tokens: Stream, rule: CalibrationRule) -> np.ndarray:
    """d_1 inside the box and off its usual place, float32 numbers."""
    box = np.float32(rule.d_min), np.float32(rule.d_max)
    d = np.random.default_rng(3).uniform(0.97, 1.03, size=(*tokens.lead, tokens.key_dim))
    return np.clip(d.astype(np.float32), *box).astype(np.float64)


def bounded(tokens: Stream, rule: CalibrationRule, model: KernelModel, chunk_size: int = 16) -> ErrorBounds:
    """Bounds with a scale, a start and an initial state that float32 holds."""
    shape = (*tokens.lead, tokens.value_dim, tokens.key_dim)
    state = np.random.default_rng(4).normal(size=shape).astype(np.float32)
    return error_bounds(
        tokens, rule, model, chunk_size=chunk_size, scale=0.7,
        initial_state=state, initial_preconditioner=start(tokens, rule),
    )  # fmt: skip


def errors(bounds: ErrorBounds, found: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(error, bound) of every quantity that `found`, with the fields of `Emulated`, has."""
    exact = bounds.trajectory
    d = np.abs(found.preconditioner - exact.preconditioner)
    last = np.abs(found.final_preconditioner - exact.final_preconditioner)
    outputs = np.abs(found.outputs - exact.outputs)
    state = np.linalg.norm(found.final_state - exact.final_state, axis=(-2, -1))
    return {
        "d": (np.linalg.norm(d, axis=-1), bounds.preconditioner_norm),
        "d by entry": (d, bounds.preconditioner),
        "final d": (np.linalg.norm(last, axis=-1), bounds.final_preconditioner_norm),
        "final d by entry": (last, bounds.final_preconditioner),
        "o": (np.linalg.norm(outputs, axis=-1), bounds.outputs_norm),
        "o by entry": (outputs, bounds.outputs),
        "final state": (state, bounds.final_state),
    }


def ratios(error: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """bound / error where there is an error."""
    some = error > 0
    return (bound[some] / error[some]).ravel()


def exceeded(pairs: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[str]:
    """The quantities that leave their bound somewhere, NaN included."""
    return [name for name, (error, bound) in pairs.items() if not np.all(error <= bound)]


def run_kernel(bounds: ErrorBounds) -> Any:
    """The project's kernel of `bounds.model` on the inputs of `bounds`, in the interpreter."""
    os.environ.setdefault("TRITON_INTERPRET", "1")
    import torch
    from osdn_kernels import chunk_osdn, chunk_osgdn, chunk_oskda, osdn_preconditioner
    from osdn_kernels.boundary.gated import feedback_terms
    from osdn_kernels.boundary.rule import Rule
    from osdn_kernels.launch.recurrence import Inputs
    from osdn_kernels.recurrent.forward import RecurrentOptions, recurrent_forward

    exact, model, rule, tokens = bounds.trajectory, bounds.model, bounds.rule, bounds.stream
    dtype = getattr(torch, model.inputs.name)

    def heads_last(x: Any, to: torch.dtype) -> torch.Tensor:
        """(H, T, ...) as [1, T, H, ...]."""
        return torch.from_numpy(np.array(x))[None].transpose(1, 2).to(to).contiguous()

    def single(x: Any) -> torch.Tensor:
        return torch.from_numpy(np.array(x))[None].float()

    def back(x: torch.Tensor) -> np.ndarray:
        return x.double().numpy()[0]

    q, k, v = (heads_last(x, dtype) for x in (tokens.queries, tokens.keys, tokens.values))
    beta = heads_last(tokens.beta, torch.float32)
    gate, fading = (
        None if x is None else heads_last(np.log(x), torch.float32)
        for x in (tokens.forget_gate, tokens.state_gate)
    )
    anchor, d, state = (
        single(exact.anchor),
        single(exact.initial_preconditioner),
        single(exact.initial_state).mT,
    )
    options = {
        "g": gate, "eta": rule.eta, "d_min": rule.d_min, "d_max": rule.d_max, "anchor": anchor,
        "normalize_feedback": rule.normalize_feedback, "initial_preconditioner": d, "chunk_size": bounds.chunk_size,
    }  # fmt: skip
    if model.order == "chunk":
        given = {
            "scale": exact.scale,
            "initial_state": state,
            "output_final_state": True,
            "return_trajectory": True,
        }
        given |= {"beta_aware": rule.beta_aware, **options}
        if fading is None:
            o, final, trajectory = chunk_osdn(q, k, v, beta, **given)
        else:
            given["g_d"] = given.pop("g")
            operator = chunk_oskda if fading.dim() == q.dim() else chunk_osgdn
            o, final, trajectory = operator(q, k, v, fading, beta, **given)
        path, last, memory = trajectory.preconditioner, final.preconditioner, final.state
        if fading is None and not rule.beta_aware:
            path = osdn_preconditioner(k, **options)[0]
    else:
        constants = Rule(rule.eta, rule.d_min, rule.d_max, rule.normalize_feedback, rule.beta_aware)
        feedback = feedback_terms(beta, k.shape[2]) if rule.beta_aware else None
        inputs = Inputs(q, k, v, beta, gate, anchor, state.contiguous(), d, fading, feedback)
        run = recurrent_forward(inputs, RecurrentOptions(exact.scale, constants, save=True))
        o, path, last, memory = run.o, run.path, run.preconditioner, run.state
    return rounding.Emulated(
        preconditioner=back(path).swapaxes(0, 1),
        outputs=back(o).swapaxes(0, 1),
        final_state=back(memory).swapaxes(-1, -2),
        final_preconditioner=back(last),
    )


KERNELS = {
    name: in_interpreter(rounding.MODELS[name])
    for name in (
        "recurrent_fp32",
        "recurrent_bf16",
        "recurrent_fp16",
        "chunk_fp32",
        "chunk_bf16",
        "chunk_fp16",
    )
}
"""The project's kernels that the interpreter can run; TF32 products it computes in float32."""


def distribution(length: int, dim: int, chunk_size: int) -> None:
    """Print quantiles of bound/error over streams, rules, heads and tokens."""
    for name, model in KERNELS.items():
        pooled: dict[str, list[np.ndarray]] = {}
        for source in STREAMS:
            for rule in RULES.values():
                bounds = bounded(stream(source, length, dim), rule, model, chunk_size)
                pairs = errors(bounds, run_kernel(bounds))
                assert not exceeded(pairs), (name, source, rule, exceeded(pairs))
                for quantity, pair in pairs.items():
                    pooled.setdefault(quantity, []).append(ratios(*pair))
        for quantity, parts in pooled.items():
            low, middle, high = np.quantile(np.concatenate(parts), (0.05, 0.5, 0.95))
            least = min(p.min(initial=np.inf) for p in parts)
            print(
                f"{name:15s} {quantity:17s} least {least:6.2f}  5% {low:7.1f}  median {middle:7.1f}  95% {high:9.1f}"
            )


def shifted(bounds: ErrorBounds, factor: float) -> ErrorBounds:
    """The bounds times a factor."""
    names = ("preconditioner", "preconditioner_norm", "final_preconditioner", "final_preconditioner_norm",
             "outputs", "outputs_norm", "final_state")  # fmt: skip
    return replace(bounds, **{name: factor * getattr(bounds, name) for name in names})


if __name__ == "__main__":
    distribution(length=64, dim=8, chunk_size=32)
