"""Calls of delta rules while a model runs: what each layer's operator is given, in the order of the layers."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...boundary.checks import refuse
from ...layers.layer import OnlineScaledDeltaNet
from ...layers.operator import TOKENWISE, Form, choose

Layer = dict[str, Tensor]
"""q, k, v, beta and what else a layer has, under the names that `osdn_theory.streams.activations` reads."""

RULE = re.compile(r"\w*(chunk|recurrent)\w*_(gated_delta_rule|delta_rule|kda|kimi_delta_attention)")
"""Names of the functions of transformers' modelling modules that run a delta rule."""

SHORT = {"query": "q", "key": "k", "value": "v"}


@contextmanager
def watch_own(model: nn.Module) -> Iterator[list[Layer]]:
    """Layers of ours: their operators run as they do, and what they are given is noted."""
    layers = [module for module in model.modules() if isinstance(module, OnlineScaledDeltaNet)]
    found: list[Layer] = []
    for layer in layers:
        layer.operator = partial(_noting, layer, found)  # type: ignore[method-assign]
    try:
        yield found
    finally:
        for layer in layers:
            del layer.operator


def _noting(layer: OnlineScaledDeltaNet, found: list[Layer], q: Tensor) -> Callable[..., Any]:
    plain = choose(layer.mode, q, layer.form)

    def noted(q: Tensor, k: Tensor, v: Tensor, *gates: Tensor, **options: Any) -> Any:
        state, beta = gates if len(gates) == 2 else (None, *gates)
        start = options["initial_preconditioner"]
        parts = {"q": q, "k": k, "v": v, "beta": beta, "state_gate": state, "d0": start}
        parts["g"] = options["g" if state is None else "g_d"]
        if start is not None and layer.rule.pinned:
            del parts["d0"]
        found.append({name: x for name, x in parts.items() if isinstance(x, Tensor)})
        return plain(q, k, v, *gates, **options)

    return noted


@contextmanager
def watch_theirs(model: nn.Module) -> Iterator[list[Layer]]:
    """Layers of transformers' models: the functions of their modules that run a delta rule give way to our references.

    So no kernel of another package is needed, and what is noted is what was computed with.
    """
    found: list[Layer] = []
    modules = {sys.modules[type(module).__module__] for module in model.modules()}
    known = [(module, name) for module in modules for name in vars(module) if RULE.fullmatch(name)]
    before = [(module, name, getattr(module, name)) for module, name in known]
    for module, name, function in before:
        setattr(module, name, partial(_run_noted, found, inspect.signature(function)))
    try:
        yield found
    finally:
        for module, name, function in before:
            setattr(module, name, function)


def _run_noted(found: list[Layer], signature: inspect.Signature, *given: Any, **named: Any) -> Any:
    call = signature.bind(*given, **named).arguments
    arguments: dict[str, Any] = {SHORT.get(name, name): value for name, value in call.items()}
    arguments |= arguments.pop("kwargs", {})
    if not arguments.get("use_qk_l2norm_in_kernel"):
        refuse("checkpoint", "layers that normalise queries and keys where the delta rule runs", "others")
    if arguments.get("use_gate_in_kernel") or arguments.get("initial_state") is not None:
        refuse("checkpoint", "gates as they are, and memories that begin empty", "others")
    tensors = {name: arguments[name] for name in ("q", "k", "v", "beta")}
    gate = arguments.get("g")
    form: Form = "osdn" if gate is None else "osgdn" if gate.dim() == 3 else "oskda"
    found.append(tensors if gate is None else {**tensors, "state_gate": gate})
    wide = {name: x.float() for name, x in found[-1].items()}
    gates = (wide["beta"],) if gate is None else (wide["state_gate"], wide["beta"])
    o, _ = TOKENWISE[form](
        wide["q"], wide["k"], wide["v"], *gates, scale=arguments.get("scale"), d_min=1.0, d_max=1.0,
        use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    return o.to(tensors["v"].dtype), None


def own_rule(layer: OnlineScaledDeltaNet) -> Mapping[str, Any] | None:
    """The rule of a layer as `osdn_theory.CalibrationRule` takes it; None where d is pinned, and it has none."""
    if layer.rule.pinned:
        return None
    forgets = layer.forget_gate is not None or getattr(layer, "forgetting", "none") == "state"
    return {
        **layer.rule._asdict(),
        "forgetting": "token" if forgets else 1.0,
        "anchor": "initial" if layer.anchored else 0.0,
    }


@torch.no_grad()
def run_watched(model: nn.Module, ids: Tensor) -> list[Layer]:
    """What each delta-rule layer of a causal language model is given for tokens [1, T]."""
    own = any(isinstance(module, OnlineScaledDeltaNet) for module in model.modules())
    with (watch_own if own else watch_theirs)(model) as found:
        model.eval()(input_ids=ids, use_cache=False)
    return [_spread(layer) for layer in found]


def _spread(layer: Layer) -> Layer:
    """Key heads repeated for the value heads that they serve: activations have as many of each."""
    groups = layer["v"].shape[2] // layer["k"].shape[2]
    shared = {"q": 2, "k": 2, "g": 2, "d0": 1}
    return {
        name: x.repeat_interleave(groups, shared[name]) if name in shared else x for name, x in layer.items()
    }
