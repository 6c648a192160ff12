"""Grids of coordinates, and random parts of them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor


def grid(
    shape: Sequence[int],
    low: Sequence[float] | None = None,
    high: Sequence[float] | None = None,
) -> Float[Tensor, "N D"]:
    """Centres of the cells of a regular grid over a box, first axis slowest.

    Args:
        shape: cells along each of the D axes.
        low, high: corners of the box; the unit box when left out.

    Returns:
        float32 coordinates, N being the product of `shape`.
    """
    low = [0.0] * len(shape) if low is None else low
    high = [1.0] * len(shape) if high is None else high
    axes = [
        a + (torch.arange(n, dtype=torch.float64) + 0.5) * ((b - a) / n)
        for n, a, b in zip(shape, low, high, strict=True)
    ]
    mesh = torch.meshgrid(*axes, indexing="ij")
    return torch.stack(mesh, dim=-1).reshape(-1, len(shape)).float()


def sphere_grid(latitudes: int, longitudes: int) -> Float[Tensor, "N 3"]:
    """Cell centres of an equiangular grid as unit vectors, from north to south and from 0° east.

    A point at latitude φ and longitude λ is (cos φ cos λ, cos φ sin λ, sin φ).
    """
    unit = grid((latitudes, longitudes)).double()
    phi = (0.5 - unit[:, 0]) * torch.pi
    lam = unit[:, 1] * 2 * torch.pi
    return torch.stack([phi.cos() * lam.cos(), phi.cos() * lam.sin(), phi.sin()], dim=-1).float()


def random_subset(
    count: int, size: int | None, generator: torch.Generator | None
) -> Int[Tensor, " n"]:
    """Indices of a random part of `count` things without repeats; all, in order, if not fewer.

    Args:
        count: how many there are.
        size: how many to draw; None for all of them.
        generator: None for all of them too: an evaluation sees everything.
    """
    if generator is None or size is None or size >= count:
        return torch.arange(count)
    return torch.randperm(count, generator=generator)[:size]
