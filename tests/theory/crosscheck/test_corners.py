"""Corners that kernels get wrong while all else is right: each is asked, and a right kernel is right there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.crosscheck.eager_faults import kernel

from osdn_theory.crosscheck.examination.results import Examination
from osdn_theory.crosscheck.examination.run import examine
from osdn_theory.crosscheck.kernel.adapters import adapt
from osdn_theory.crosscheck.kernel.calling import KernelError

Change = Callable[[dict[str, Any]], dict[str, Any]]


def examined(
    recurrence: str, *only: str, change: Change = dict, key: str = "", **options: Any
) -> Examination:
    """A right kernel, or one with the fault `key`, that is given other arguments than the call's."""
    made = kernel(recurrence, key)
    adapter = adapt(made, "eager recurrent", recurrence=recurrence)

    def call(**given: Any) -> Any:
        return made(**change(given))

    defaults = {**adapter.defaults, "chunk_size": 16}
    small = replace(adapter, call=call, defaults=defaults, gate_optional=adapter.gated)
    return examine(small, device="cpu", only=only, invariant=False, **options)


def values_doubled(where: Callable[[dict[str, Any]], bool]) -> Change:
    return lambda given: given | ({"v": 2 * given["v"]} if where(given) else {})


def spoilt(where: Callable[[dict[str, Any]], bool]) -> Change:
    return lambda given: given | ({"beta": given["beta"] * torch.nan} if where(given) else {})


def differences(given: dict[str, Any]) -> dict[str, Any]:
    """Gates as differences of their sums, as chunks have them."""
    if given.get("g") is None:
        return given
    total = given["g"].cumsum(1)
    return given | {"g": torch.cat([total[:, :1], total[:, 1:] - total[:, :-1]], 1)}


def raising(given: dict[str, Any]) -> dict[str, Any]:
    if given["k"].shape[1] == 0:
        raise RuntimeError("no tokens here")
    return given


WRONG: dict[str, tuple[str, str, Change]] = {
    "K > V": ("delta_net", "negative eigenvalues", values_doubled(lambda x: x["k"].shape[-1] > x["v"].shape[-1])),
    "K that is no multiple of 4": ("osdn", "odd sizes", values_doubled(lambda x: x["k"].shape[-1] % 4 > 0)),
    "more than two chunks": ("osdn", "lengths", values_doubled(lambda x: x["k"].shape[1] > 37)),
    "a state without tokens": (
        "osdn", "no tokens", lambda x: x | ({} if x["k"].shape[1] else {"initial_state": None}),
    ),
}  # fmt: skip

NOT_FINITE: dict[str, tuple[str, str, Change]] = {
    "a memory that is emptied": ("osgdn", "strong gates", differences),
    "one that is emptied by feature": ("oskda", "strong gates", differences),
    "normalised feedback at a zero key": (
        "osdn", "normalised feedback", spoilt(lambda x: not bool(x["k"].any(-1).all())),
    ),
}  # fmt: skip


@pytest.mark.parametrize("corner", WRONG)
def test_a_kernel_that_is_wrong_in_a_corner_is_wrong(corner: str) -> None:
    recurrence, exercise, change = WRONG[corner]
    assert examined(recurrence, exercise, change=change).verdict == "wrong"
    assert examined(recurrence, exercise).verdict == "right"


@pytest.mark.parametrize("corner", NOT_FINITE)
def test_a_kernel_that_is_not_finite_in_a_corner_is_refused(corner: str) -> None:
    recurrence, exercise, change = NOT_FINITE[corner]
    with pytest.raises(KernelError, match="NaN or infinite"):
        examined(recurrence, exercise, change=change)
    assert examined(recurrence, exercise).verdict == "right"


@pytest.mark.parametrize(
    ("recurrence", "key", "exercise"),
    [
        ("osdn", "initial_state ignored without d_1", "lengths"),
        ("osdn", "d_1 ignored without S_0", "lengths"),
        ("osdn", "cu_seqlens ignored without S_0", "packed from d_1 alone"),
        ("osdn", "cu_seqlens ignored without d_1", "packed from S_0 alone"),
        ("delta_net", "cu_seqlens ignored without S_0", "packed from nothing"),
        ("osgdn", "beta_aware ignored beside normalize_feedback", "both feedbacks"),
        ("gated_delta_net", "g held above -5", "strong gates"),
        ("kda", "g held above -5", "strong gates"),
    ],
)
def test_a_fault_of_one_corner_is_wrong_there(recurrence: str, key: str, exercise: str) -> None:
    found = examined(recurrence, exercise, key=key)
    assert found.verdict == "wrong"
    assert key in {fault.key for each in found.explanations for fault in each.faults}
    assert examined(recurrence, exercise).verdict == "right"


def normalising(divide: Callable[[Any], Any]) -> Any:
    """DeltaNet that divides queries and keys by their norms on request."""

    def delta_net(q: Any, k: Any, v: Any, beta: Any, scale: Any = None, initial_state: Any = None,
                  output_final_state: bool = False, use_qk_l2norm_in_kernel: bool = False) -> Any:  # fmt: skip
        q, k = (divide(q), divide(k)) if use_qk_l2norm_in_kernel else (q, k)
        return kernel("delta_net")(q, k, v, beta, scale, initial_state, output_final_state)

    return delta_net


def test_keys_of_zero_have_no_norm_to_be_divided_by() -> None:
    asked: dict[str, Any] = {"only": ["normalised in the kernel"], "device": "cpu", "invariant": False}
    assert examine(normalising(lambda x: F.normalize(x, dim=-1)), **asked).verdict == "right"
    with pytest.raises(KernelError, match="NaN or infinite"):
        examine(normalising(lambda x: x / x.norm(dim=-1, keepdim=True)), **asked)


def test_a_kernel_may_refuse_to_be_called_without_tokens_and_it_is_said() -> None:
    found = examine(
        replace(adapt(kernel("osdn")), call=lambda **given: kernel("osdn")(**raising(given))),
        device="cpu", only=["no tokens", "one token"], invariant=False,
    )  # fmt: skip
    assert found.verdict == "right"
    assert "no tokens (the kernel raised RuntimeError: no tokens here)" in found.not_exercised
    assert [each.name for each in found.exercises] == ["one token"]


def test_where_the_probe_disagrees_nothing_is_right() -> None:
    found = examined("osdn", "from nothing", key="initial_state ignored without d_1")
    assert found.verdict == "cannot tell"
    assert "no reading agrees with float64 in the probe" in found.sentence


LOST: dict[str, tuple[str, str, str, Callable[[dict[str, Any]], bool]]] = {
    "packed": ("osdn", "packed sequences", "k", lambda x: x.get("cu_seqlens") is not None),
    "normalised": ("osdn", "normalised feedback", "k", lambda x: bool(x.get("normalize_feedback"))),
    "beta-aware": ("osdn", "other feedback", "beta", lambda x: bool(x.get("beta_aware"))),
    "no d_1": ("osdn", "lengths", "initial_state", lambda x: x.get("initial_preconditioner") is None),
    "no state asked for": ("delta_net", "from nothing", "v", lambda x: not x["output_final_state"]),
    "no gate": ("osgdn", "without gates", "g_d", lambda x: x.get("g") is None),
}  # fmt: skip


@pytest.mark.parametrize("corner", LOST)
def test_a_gradient_that_is_lost_in_a_corner_is_wrong(corner: str) -> None:
    recurrence, exercise, name, where = LOST[corner]

    def change(given: dict[str, Any]) -> dict[str, Any]:
        lost = given.get(name) is not None and where(given)
        return given | {name: given[name].detach()} if lost else given

    found = examined(recurrence, "square", exercise, change=change, gradients=True)
    assert found.verdict == "wrong"
    assert [(each.exercise, [one.name for one in each.wrong]) for each in found.backward_beside] == [
        (exercise, [f"grad {name}"])
    ]
    # What faults would do to packed sequences is not known.
    assert corner == "packed" or f"the gradient in {name} is zero" in found.sentence


@pytest.mark.parametrize(
    ("recurrence", "exercise"), sorted({(recurrence, exercise) for recurrence, exercise, *_ in LOST.values()})
)
def test_right_gradients_are_right_in_the_corners(recurrence: str, exercise: str) -> None:
    found = examined(recurrence, "square", exercise, gradients=True)
    assert found.verdict == "right"
    assert [bool(each.comparisons) for each in found.backward_beside] == [True]
