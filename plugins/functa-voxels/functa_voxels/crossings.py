"""Where a triangle mesh crosses the lines through the centres of a grid's cells.

A line of a direction such as (1, 1, -1) through a cell's centre passes through many other centres,
so a few thousand lines serve a whole grid. Along a diagonal the grid is sheared first, which makes
the line parallel to an axis; then triangles are rasterised onto the plane across it.

The rasteriser is watertight: of the triangles on two sides of an edge exactly one has the line
that passes through the edge, so that every line crosses a closed surface an even number of times.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TypeAlias

import attrs
import numpy as np
from jaxtyping import Bool, Float, Int

Triangles: TypeAlias = Float[np.ndarray, "F 3 3"]
"""In cells: the centre of cell (i, j, k) is at (i, j, k)."""

ASIDE = np.array([0.7548776662e-5, 0.5698402910e-5])
"""Cells by which lines miss the centres, so that corners at round coordinates are not met."""
PAIRS_AT_ONCE = 2**20
"""Pairs of a triangle and a line that are looked at together: bounds memory."""


@attrs.frozen
class Direction:
    """A direction of lines: along `axis`, and `shear` cells along the other two for each cell.

    Attributes:
        axis: 0, 1 or 2.
        shear: -1, 0 or 1 for each of the other axes, in order.
    """

    axis: int
    shear: tuple[int, int]

    @property
    def across(self) -> tuple[int, int]:
        """The other two axes."""
        first, second = (axis for axis in range(3) if axis != self.axis)
        return first, second


AXES = tuple(Direction(axis, (0, 0)) for axis in range(3))
DIRECTIONS = (
    *AXES,
    *(Direction(0, shear) for shear in ((1, 0), (-1, 0), (0, 1), (0, -1))),
    *(Direction(1, (0, shear)) for shear in (1, -1)),
    *(Direction(0, (a, b)) for a, b in itertools.product((1, -1), repeat=2)),
)
"""The 13 lines through a cell's centre and one of its 26 neighbours'."""


@attrs.frozen(eq=False)
class Crossings:
    """H crossings of a surface with the lines of one direction.

    Attributes:
        lines: of each, where its line meets the plane across the axis, in whole cells.
        along: of each, the coordinate along the axis.
    """

    lines: Int[np.ndarray, "H 2"]
    along: Float[np.ndarray, " H"]


def crossings(triangles: Triangles, direction: Direction) -> Crossings:
    """All crossings of lines through cell centres, of all cells there are, with triangles."""
    depth = triangles[..., direction.axis]
    flat = triangles[..., direction.across] - depth[..., None] * np.asarray(direction.shear) - ASIDE
    found = [(lines, along) for lines, along in _pieces(flat, depth)]
    lines = np.concatenate([np.empty((0, 2), np.int64), *(piece[0] for piece in found)])
    return Crossings(lines, np.concatenate([np.empty(0), *(piece[1] for piece in found)]))


def _pieces(
    flat: Float[np.ndarray, "F 3 2"], depth: Float[np.ndarray, "F 3"]
) -> Iterator[tuple[Int[np.ndarray, "h 2"], Float[np.ndarray, " h"]]]:
    """Crossings of a bounded number of triangles and lines at a time."""
    low = np.ceil(flat.min(axis=1)).astype(np.int64)
    spans = (np.floor(flat.max(axis=1)).astype(np.int64) - low + 1).clip(0)
    counts = spans.prod(axis=1)
    some = np.flatnonzero(counts)
    part = (counts[some].cumsum() - 1) // PAIRS_AT_ONCE
    for chosen in np.split(some, np.flatnonzero(np.diff(part)) + 1):
        owner = np.repeat(chosen, counts[chosen])
        first = counts[chosen].cumsum() - counts[chosen]
        rank = np.arange(len(owner)) - np.repeat(first, counts[chosen])
        width = spans[owner, 1]
        lines = low[owner] + np.stack(
            [rank // np.maximum(width, 1), rank % np.maximum(width, 1)], 1
        )
        hit, along = _met(flat[owner], depth[owner], lines)
        yield lines[hit], along


def _met(
    corners: Float[np.ndarray, "P 3 2"],
    depth: Float[np.ndarray, "P 3"],
    lines: Int[np.ndarray, "P 2"],
) -> tuple[Bool[np.ndarray, " P"], Float[np.ndarray, " h"]]:
    """Which lines pass through their triangles, and where those do, along the axis.

    The sign on an edge is taken with its ends in one order, whichever triangle asks: the two
    triangles of an edge then agree on which of them has it, in spite of rounding.
    """
    left, areas = [], []
    for i in range(3):
        start, end = corners[:, i], corners[:, (i + 1) % 3]
        swap = (start[:, 0] > end[:, 0]) | ((start[:, 0] == end[:, 0]) & (start[:, 1] > end[:, 1]))
        a = np.where(swap[:, None], end, start)
        b = np.where(swap[:, None], start, end)
        area = (b[:, 0] - a[:, 0]) * (lines[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (
            lines[:, 0] - a[:, 0]
        )
        left.append((area >= 0) ^ swap)
        areas.append(np.where(swap, -area, area))
    hit = (left[0] == left[1]) & (left[1] == left[2])
    # Barycentric: the area over an edge belongs to the corner that is not on it.
    weights = np.stack([areas[1], areas[2], areas[0]], axis=1)[hit]
    along = (weights * depth[hit]).sum(axis=1) / weights.sum(axis=1)
    return hit, np.asarray(along)


def votes(triangles: Triangles, shape: tuple[int, int, int], direction: Direction) -> np.ndarray:
    """For each cell, how many of the two rays of a direction cross the surface an odd number.

    Args:
        triangles: of the surface.
        shape: of the grid, which starts at cell (0, 0, 0).
        direction: of the line through each cell's centre; a ray goes either way.

    Returns:
        (*shape) integers from 0 to 2.
    """
    length = shape[direction.axis]
    sides = [shape[axis] for axis in direction.across]
    # Lines of a sheared direction begin as far outside the grid as they move aside within it.
    drift = [-s * (length - 1) for s in direction.shear]
    low = [min(0, d) for d in drift]
    sizes = [n + abs(d) for n, d in zip(sides, drift, strict=True)]
    found = crossings(triangles, direction)
    lines = found.lines - low
    kept = ((lines >= 0) & (lines < sizes)).all(axis=1)
    after = (np.floor(found.along[kept]).astype(np.int64) + 1).clip(0, length)
    place = (lines[kept, 0] * sizes[1] + lines[kept, 1]) * (length + 1) + after
    passed = np.bincount(place, minlength=sizes[0] * sizes[1] * (length + 1))
    passed = passed.reshape(*sizes, length + 1).cumsum(axis=2)
    odd = (passed[..., :length] & 1) + ((passed[..., length:] - passed[..., :length]) & 1)
    index = np.ogrid[: shape[0], : shape[1], : shape[2]]
    along = index[direction.axis]
    u, v = (
        index[axis] - s * along - a
        for axis, s, a in zip(direction.across, direction.shear, low, strict=True)
    )
    return np.asarray(odd[u, v, np.broadcast_to(along, shape)])
