"""Which cells of a batch of shapes are looked at."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from functa_core import random_subset


def random_cells(
    count: int, points: int | None, generator: Generator
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """Cells drawn alike, without repeats, and their weights, all 1. All cells if not fewer."""
    chosen = random_subset(count, points, generator)
    return chosen, torch.ones(len(chosen))


def cells_near_surface(
    shapes: Bool[Tensor, "B r r r"], points: int, share: float, generator: Generator
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """A given share of cells drawn near surfaces, with weights that make up for it.

    Cells are in two strata: those next to a boundary of one of the shapes, and all others. From
    each a fixed number is drawn without repeats, and a cell's weight is the size of its stratum
    over that number. So the weights always sum to r³, and the expectation of a weighted mean over
    the sample is the mean over all cells: stratified sampling (Cochran, Sampling Techniques,
    chapter 5). The cells are the same for all shapes, so that queries stay shared.

    Args:
        shapes: the batch.
        points: n, at most r³.
        share: of them that come from the surface stratum, as far as it has so many.
        generator: of the draw.
    """
    near = surface_cells(shapes).any(dim=0).flatten()
    inner, outer = near.nonzero()[:, 0], (~near).nonzero()[:, 0]
    wanted = min(round(share * points), len(inner))
    wanted = max(wanted, points - len(outer), min(1, len(inner)))
    if len(outer):
        wanted = min(wanted, points - 1)  # no stratum may be left out, or its cells never count
    drawn, weights = [], []
    for stratum, count in ((inner, wanted), (outer, points - wanted)):
        if count:
            order = torch.randperm(len(stratum), generator=generator)[:count]
            drawn.append(stratum[order])
            weights.append(torch.full((count,), len(stratum) / count))
    return torch.cat(drawn), torch.cat(weights)


def surface_cells(shapes: Bool[Tensor, "B r r r"]) -> Bool[Tensor, "B r r r"]:
    """Cells on either side of a boundary: one of their six neighbours is different."""
    found = torch.zeros_like(shapes)
    for axis in (1, 2, 3):
        count = shapes.shape[axis] - 1
        low, high = shapes.narrow(axis, 0, count), shapes.narrow(axis, 1, count)
        changes = low != high
        found.narrow(axis, 0, count).logical_or_(changes)
        found.narrow(axis, 1, count).logical_or_(changes)
    return found


def fixed_cells(count: int, points: int | None) -> Int[Tensor, " n"]:
    """The same random part of the cells at every call, in order; all if None or not fewer."""
    return random_subset(count, points, Generator().manual_seed(0)).sort().values
