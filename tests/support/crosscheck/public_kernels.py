"""Public kernels of the delta rule's kind, found in the packages that have them."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

FLA = {
    "fla.ops.delta_rule.naive:delta_rule_recurrence": ("delta_net", "head first", 1),
    "fla.ops.delta_rule.naive:delta_rule_chunkwise": ("delta_net", "head first", 32),
    "fla.ops.delta_rule.naive:delta_rule_parallel": ("delta_net", "head first", 128),
    "fla.ops.gated_delta_rule.naive:naive_recurrent_gated_delta_rule": ("gated_delta_net", "time first", 1),
    "fla.ops.gated_delta_rule.naive:naive_chunk_gated_delta_rule": ("gated_delta_net", "time first", 1),
    "fla.ops.gated_delta_product.naive:naive_recurrent_gated_delta_product": (
        "gated_delta_net",
        "time first",
        1,
    ),
    "fla.ops.comba.naive:naive_recurrent_comba": ("gated_delta_net", "time first", 1),
    "fla.ops.kda.naive:naive_recurrent_kda": ("kda", "time first", 1),
    "fla.ops.kda.naive:naive_chunk_kda": ("kda", "time first", 64),
    "fla.ops.precond_gated_delta_rule.naive:naive_recurrent_precond_gated_delta_rule": (
        "preconditioned_delta_net",
        "time first",
        1,
    ),
    "fla.ops.precond_kda.naive:naive_recurrent_precond_kda": ("preconditioned_delta_net", "time first", 1),
}
"""Function -> recurrence, layout, and of how many tokens a sequence must be a multiple."""


OTHER_RECURRENCES = {
    "fla.ops.comba.naive:naive_chunk_comba": "decays the memory after the residual, unlike naive_recurrent_comba",
    "fla.ops.delta_rule.parallel:naive_delta_rule_parallel": "its module imports what fla-core 0.6.0 lacks",
}
"""Functions that take the same arguments and are left out, with the reason."""


def functions_of(package: str, pattern: str) -> list[str]:
    """``module:function`` of every function of a package that takes queries, keys, values and beta, unimported."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return []
    root = Path(spec.origin).parent
    found = []
    for path in sorted(root.glob(pattern)):
        module = ".".join((package, *path.relative_to(root).with_suffix("").parts))
        text = path.read_text()
        # Most files have no beta, and parsing all of them takes seconds.
        for node in ast.parse(text).body if "beta" in text else ():
            if isinstance(node, ast.FunctionDef) and _of_the_kind(node):
                found.append(f"{module}:{node.name}")
    return found


def _of_the_kind(node: ast.FunctionDef) -> bool:
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    required = set(names[: len(names) - len(node.args.defaults)])
    known = {
        "q",
        "k",
        "v",
        "query",
        "key",
        "value",
        "beta",
        "g",
        "scale",
        "initial_state",
        "output_final_state",
    }
    mine = required <= known | {"g_atk", "beta_atk", "p"}
    return mine and {"beta"} <= required and bool({"k", "key"} & required) and bool({"v", "value"} & required)


TRANSFORMERS = functions_of("transformers", "models/*/modeling_*.py")

needs_fla = pytest.mark.skipif(find_spec("fla") is None, reason="flash-linear-attention is not installed")
