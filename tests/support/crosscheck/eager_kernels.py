"""DeltaNet as a user would write it, right and wrong: with flash-linear-attention's signature, token by token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Kernel = Callable[..., Any]


def right(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
) -> Any:
    scale = k.shape[-1] ** -0.5 if scale is None else scale
    dtype, outputs = v.dtype, []
    q, k, v, beta = (x.float() for x in (q, k, v, beta))
    state = k.new_zeros(*k[:, 0].shape, v.shape[-1]) if initial_state is None else initial_state.float()
    for t in range(k.shape[1]):
        residual = v[:, t] - torch.einsum("bhkv,bhk->bhv", state, k[:, t])
        state = state + torch.einsum("bhk,bhv->bhkv", k[:, t], beta[:, t, :, None] * residual)
        outputs.append(scale * torch.einsum("bhkv,bhk->bhv", state, q[:, t]))
    return torch.stack(outputs, 1).to(dtype), state if output_final_state else None


def _with(change: Callable[..., Any]) -> Kernel:
    """The right kernel called otherwise; `change` takes its arguments by name and calls what it likes."""

    def kernel(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        beta: Tensor,
        scale: float | None = None,
        initial_state: Tensor | None = None,
        output_final_state: bool = False,
    ) -> Any:
        return change(
            q=q, k=k, v=v, beta=beta, scale=scale, initial_state=initial_state,
            output_final_state=output_final_state,
        )  # fmt: skip

    return kernel


beta_ignored = _with(lambda **given: right(**{**given, "beta": torch.ones_like(given["beta"])}))


def _raise(**_: Any) -> Any:
    raise RuntimeError("no such layout\nat line 3")


raises = _with(_raise)
raises_on_one_token = _with(lambda **given: right(**given) if given["k"].shape[1] > 1 else _raise())
returns_a_dict = _with(lambda **given: dict(zip(("o", "state"), right(**given), strict=True)))
drops_a_token = _with(lambda **given: (right(**given)[0][:, :-1], right(**given)[1]))


def _nan(**given: Any) -> Any:
    o, state = right(**given)
    return o.index_fill(1, torch.tensor([o.shape[1] - 1]), torch.nan), state


gives_nan = _with(_nan)


class _Halved(torch.autograd.Function):
    """The identity, whose backward halves the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 0.5 * grad


half_of_the_key_gradient = _with(lambda **given: right(**{**given, "k": _Halved.apply(given["k"])}))
