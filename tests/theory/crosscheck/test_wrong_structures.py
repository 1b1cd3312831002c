"""What no kernel of its kind returns, or raises, is one line: which call, what came, what was expected."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.crosscheck.cases import FAST, interpolating
from support.crosscheck.faulty_kernels import correct

from osdn_theory.crosscheck import adapt, pose
from osdn_theory.crosscheck.kernel.calling import KernelError, ask


def returning(change: Any) -> Any:
    """`correct`, with what it returns changed."""

    def kernel(
        q: Any, k: Any, v: Any, beta: Any, scale: Any = None, eta: float = 0.003, d_min: float = 0.5,
        d_max: float = 1.5, output_final_state: bool = False, return_trajectory: bool = False,
    ) -> Any:  # fmt: skip
        o, final, path = correct(
            q, k, v, beta, scale=scale, eta=eta, d_min=d_min, d_max=d_max, output_final_state=True,
            return_trajectory=True,
        )  # fmt: skip
        return change(o, final, path)

    kernel.__name__ = "recurrent_wrong"
    return kernel


def asked(change: Any) -> Any:
    adapter = adapt(returning(change))
    return ask(adapter, pose(adapter, interpolating(8), FAST, "float32"), "cpu", what="the call on 8 tokens")


def raised(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    ("change", "came"),
    [
        (lambda o, s, p: {"o": o, "state": s}, "returned o as dict"),
        (lambda o, s, p: None, "returned no output"),
        (lambda o, s, p: (None, s, p), "returned no output"),
        (lambda o, s, p: "done", "returned o as str"),
        (lambda o, s, p: 0.0, "returned o as float"),
        (lambda o, s, p: o.tolist(), "returned o as list"),
        (lambda o, s, p: (), "returned no output"),
        (lambda o, s, p: (o.numpy(), s), "returned o as ndarray"),
        (lambda o, s, p: o[:, 1:], r"returned o of shape \[1, 7, 2, 6\]"),
        (lambda o, s, p: o.transpose(1, 2), r"returned o of shape \[1, 2, 8, 6\]"),
        (lambda o, s, p: (o, s.state.mT), r"returned final state of shape \[1, 2, 6, 8\]"),
        (lambda o, s, p: (o, {"state": s.state}), "returned final state as dict"),
        (lambda o, s, p: (o, "state"), "returned final state as str"),
        (lambda o, s, p: (o, [[1.0]]), "returned final state as list"),
        (lambda o, s, p: (o, s._replace(preconditioner="d")), "returned final preconditioner as str"),
        (lambda o, s, p: (o, s._replace(preconditioner=s.state)), "returned final preconditioner of shape"),
        (lambda o, s, p: (o, s, p._replace(alignment=3)), "returned a as int"),
        (lambda o, s, p: (o, s, p._replace(preconditioner=o)), "returned d of shape"),
        (lambda o, s, p: (o.to(torch.complex64), s), "returned o of dtype"),
        (lambda o, s, p: (o.long(), s), "returned o of dtype"),
        (
            lambda o, s, p: raised(RuntimeError("a size is wrong\nlong story")),
            "RuntimeError: a size is wrong$",
        ),
        (lambda o, s, p: raised(KeyError("w")), "raised in .*KeyError: 'w'"),
        (lambda o, s, p: raised(AssertionError()), "raised in .*AssertionError"),
    ],
)
def test_one_line_says_which_call_failed_and_what_was_expected(change: Any, came: str) -> None:
    with pytest.raises(KernelError, match=came) as caught:
        asked(change)
    message = str(caught.value)
    assert message.startswith("kernel: ")
    assert "in the call on 8 tokens" in message
    assert "\n" not in message
    assert "raised" in message or "expected" in message


def test_what_is_right_is_read() -> None:
    found = asked(lambda o, s, p: (o, s, p))
    assert found.outputs.shape == (1, 2, 8, 6)
    assert found.state.shape == (1, 2, 6, 8)
    assert asked(lambda o, s, p: [o, s, p]).outputs is not None
