"""flash-linear-attention's operators replaced by ours: arguments, defaults, the diff of the page, and their numbers."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import osdn_kernels
import pytest
import torch
from support.crosscheck.public_kernels import needs_fla

pytestmark = [needs_fla, pytest.mark.filterwarnings("ignore")]

PAGE = Path(__file__).parents[3] / "notebooks" / "pages" / "kernels.md"

THEIRS = {
    "chunk_osdn": ("fla.ops.delta_rule", "chunk_delta_rule"),
    "fused_recurrent_osdn": ("fla.ops.delta_rule", "fused_recurrent_delta_rule"),
    "chunk_osgdn": ("fla.ops.gated_delta_rule", "chunk_gated_delta_rule"),
    "fused_recurrent_osgdn": ("fla.ops.gated_delta_rule", "fused_recurrent_gated_delta_rule"),
    "chunk_oskda": ("fla.ops.kda", "chunk_kda"),
    "fused_recurrent_oskda": ("fla.ops.kda", "fused_recurrent_kda"),
}
"""Ours -> where theirs is."""

LAYERS = {
    "fla.ops.delta_rule": "delta_net",
    "fla.ops.gated_delta_rule": "gated_deltanet",
    "fla.ops.kda": "kda",
}
"""Where theirs is -> the layer that calls it."""

NAIVE = {
    "osgdn": ("fla.ops.gated_delta_rule.naive", "naive_recurrent_gated_delta_rule"),
    "oskda": ("fla.ops.kda.naive", "naive_recurrent_kda"),
}
"""What their kernels compute, in plain PyTorch."""

OPTIONAL = {"g", "beta"}
"""Without a default here, as they always matter, and in some of theirs with one."""

MOVED = {"A_log", "dt_bias", "lower_bound", "return_intermediate_states"}
"""Named by keyword here, and at other places in each of theirs."""


def theirs(name: str) -> Any:
    module, function = THEIRS[name]
    return getattr(import_module(module), function)


def tensors(name: str) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 20, 2, 8, generator=rng) for _ in range(3))
    k = torch.nn.functional.normalize(k, dim=-1)
    gate = (1, 20, 2, 8) if name.endswith("oskda") else (1, 20, 2)
    g, beta = -torch.rand(gate, generator=rng), torch.rand(1, 20, 2, generator=rng)
    return {"q": q, "k": k, "v": v, "beta": beta} | ({} if name.endswith("osdn") else {"g": g})


@pytest.mark.parametrize("name", THEIRS)
def test_arguments_of_both_have_one_order_and_one_default(name: str) -> None:
    own, other = (inspect.signature(f).parameters for f in (getattr(osdn_kernels, name), theirs(name)))
    # With the memory's gate comes another argument of that name.
    shared = [key for key in other if key in own and not (key == "g" and name.endswith("osdn"))]
    assert {"q", "k", "v", "beta", "scale", "initial_state", "output_final_state", "cu_seqlens"} <= {*shared}
    assert [key for key in shared if own[key].default != other[key].default and key not in OPTIONAL] == []
    kept = [key for key in shared if key not in MOVED]
    assert [key for key in own if key in kept] == kept


def calls_in(layer: str) -> dict[str, set[str]]:
    """Arguments that one of their layers passes to each of their operators, by keyword."""
    path = Path(str(import_module("fla").__file__)).parent / "layers" / f"{layer}.py"
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    named = [(node.func.id, node.keywords) for node in calls if isinstance(node.func, ast.Name)]
    return {name: {str(keyword.arg) for keyword in given} for name, given in named}


@pytest.mark.parametrize("name", THEIRS)
def test_their_layers_call_ours_as_they_call_theirs(name: str) -> None:
    module, function = THEIRS[name]
    passed = calls_in(LAYERS[module])[function]
    assert {"q", "k", "v", "beta"} <= passed
    assert passed - {*inspect.signature(getattr(osdn_kernels, name)).parameters} == set()


def diff_lines() -> list[tuple[str, str]]:
    """Calls of the page's diffs: theirs, and ours below it."""
    blocks = re.findall(r"```diff\n(.*?)```", PAGE.read_text(), re.DOTALL)
    calls: list[tuple[str, str]] = re.findall(
        r"^-(\w+, \w+ = .*)\n\+(\w+, \w+ = .*)$", "".join(blocks), re.MULTILINE
    )
    return calls


def test_the_page_shows_the_gated_operators() -> None:
    shown = {re.search(r"= (\w+)\(", new).group(1) for _, new in diff_lines()}  # type: ignore[union-attr]
    assert {name for name in THEIRS if not name.endswith("osdn")} <= shown


@pytest.mark.parametrize(("old", "new"), diff_lines())
def test_the_lines_of_the_page_run_and_replace_what_they_say(old: str, new: str) -> None:
    """Theirs need a GPU to run: what is passed is what they take."""
    name = re.search(r"= (\w+)\(", new).group(1)  # type: ignore[union-attr]
    given = tensors(name)
    taken: list[inspect.BoundArguments] = []

    def recorded(*args: Any, **named: Any) -> tuple[None, None]:
        taken.append(inspect.signature(theirs(name)).bind(*args, **named))
        return None, None

    exec(old, {**given, THEIRS[name][1]: recorded})
    assert all(taken[0].arguments[key] is value for key, value in given.items())
    found: dict[str, Any] = {**given, name: getattr(osdn_kernels, name)}
    exec(new, found)
    assert found["o"].shape == given["v"].shape
    assert found["state"].state.shape == (1, 2, 8, 8)


@pytest.mark.parametrize("name", [name for name in THEIRS if not name.endswith("osdn")])
def test_with_d_at_one_they_give_the_numbers_of_theirs(name: str) -> None:
    module, function = NAIVE[name.rpartition("_")[2]]
    given, start = tensors(name), torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    more = {"initial_state": start, "output_final_state": True}
    o, state = getattr(osdn_kernels, name)(**given, **more, d_min=1.0, d_max=1.0)
    expected, final = getattr(import_module(module), function)(**given, **more)
    torch.testing.assert_close(o, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(state.state, final, atol=1e-5, rtol=1e-5)
    moved, _ = getattr(osdn_kernels, name)(**given, **more, eta=1.0)
    assert not torch.allclose(moved, expected, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in THEIRS if not name.endswith("osdn")])
def test_the_memory_either_way_around(name: str) -> None:
    operator, given = getattr(osdn_kernels, name), tensors(name)
    v = torch.cat([given["v"], given["v"][..., :3]], -1)
    given["v"] = v
    memory = torch.randn(1, 2, 8, 11, generator=torch.Generator().manual_seed(1))
    start = osdn_kernels.State(memory, torch.full((1, 2, 8), 1.1))
    o, end = operator(**given, initial_state=start, output_final_state=True)
    turned = osdn_kernels.State(memory.mT.contiguous(), start.preconditioner)
    more = {"output_final_state": True, "state_v_first": True}
    again, final = operator(**given, initial_state=turned, **more)
    assert torch.equal(o, again)
    assert torch.equal(end.state, final.state.mT)
    assert final.state.is_contiguous()
    assert torch.equal(end.preconditioner, final.preconditioner)
    alone, _ = operator(
        **given, initial_state=turned.state, initial_preconditioner=start.preconditioner, **more
    )
    assert torch.equal(o, alone)
    narrow = memory.bfloat16()
    o, _ = operator(**given, initial_state=narrow)
    assert torch.equal(o, operator(**given, initial_state=narrow.mT, **more)[0])
    with pytest.raises(ValueError, match=r"initial_state: expected \[N, HV, V, K\]"):
        operator(**given, initial_state=memory, **more)
    pool = {"initial_state": start, "state_indices": torch.zeros(1, dtype=torch.int32)}
    with pytest.raises(ValueError, match="state_v_first: expected False beside state_indices"):
        operator(**given, **pool, **more)
    with pytest.raises(ValueError, match="state_v_first: expected False beside return_intermediate_states"):
        operator(**given, return_intermediate_states=True, **more)


@pytest.mark.parametrize("name", [name for name in THEIRS if not name.endswith("osdn")])
def test_hints_change_nothing(name: str) -> None:
    operator, given = getattr(osdn_kernels, name), tensors(name)
    bounds = torch.tensor([0, 20])
    hints = {
        "safe_gate": True,
        "disable_recompute": True,
        "cu_seqlens_cpu": bounds,
        "chunk_indices": bounds[None],
    }
    assert torch.equal(
        operator(**given, cu_seqlens=bounds)[0], operator(**given, cu_seqlens=bounds, **hints)[0]
    )
