"""The sine activation with both its derivatives from one pass.

Autograd would take the cosine of the same numbers again in every backward pass of the inner loop,
and once more in the outer one. Here sine and cosine are taken once and kept.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def sine(u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """sin(u), differentiable twice; a third derivative is refused rather than wrong."""
    result: Tensor = _Sine.apply(u)  # type: ignore[no-untyped-call]
    return result


class _Sine(torch.autograd.Function):
    """y = sin u."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        y = torch.sin(u)
        ctx.save_for_backward(u, y, torch.cos(u) if ctx.needs_input_grad[0] else None)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _SineBackward.apply(gradients[0], *ctx.saved_tensors)  # type: ignore[no-untyped-call]


class _SineBackward(torch.autograd.Function):
    """g · cos u, as a function of g and u; y = sin u and c = cos u come along."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, u: Tensor, y: Tensor, c: Tensor) -> Tensor:
        ctx.save_for_backward(g, y, c)
        return g * c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        g, y, c = ctx.saved_tensors
        (outer,) = gradients
        return outer * c, -(outer * g).mul_(y), None, None
