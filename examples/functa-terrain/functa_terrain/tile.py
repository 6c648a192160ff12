"""A tile of terrain, and the scale on which a network sees it."""

from typing import TypeVar

import attrs
import numpy as np
from jaxtyping import Float
from torch import Tensor

Heights = Float[np.ndarray, "_h _w"]
A = TypeVar("A", float, np.ndarray, Tensor)

FLAT = 1.0
"""Metres that the range of a tile without relief counts as, so that nothing is divided by 0."""


@attrs.frozen(eq=False)
class Tile:
    """One signal.

    Attributes:
        heights: (h, w) float32, metres, from north to south and from west to east; NaN where the
            data has none. At least one is a number.
        cell: metres from one row to the next and from one column to the next; None: not known.
    """

    heights: Heights
    cell: tuple[float, float] | None = None

    @property
    def low(self) -> float:
        """The lowest height, in metres."""
        return float(np.nanmin(self.heights))

    @property
    def span(self) -> float:
        """Metres from the lowest to the highest place; `FLAT` where all are equal."""
        return float(np.nanmax(self.heights)) - self.low or FLAT

    @property
    def scale(self) -> "Scale":
        """The tile's own: from 0 at its lowest to 1 at its highest place."""
        return Scale(self.low, self.span)


@attrs.frozen
class Scale:
    """Heights in metres as numbers from 0 to 1, and back; arrays and tensors of any shape.

    Attributes:
        low: metres of 0.
        span: metres from 0 to 1, more than 0.
    """

    low: float
    span: float

    def relief(self, heights: A) -> A:
        """Metres → share of the range."""
        return (heights - self.low) / self.span

    def metres(self, relief: A) -> A:
        """Share of the range → metres."""
        return self.low + self.span * relief


def turned(heights: Heights, way: int) -> Heights:
    """One of the eight ways, 0 to 7, in which a square lies on itself; 0 is as it is."""
    mirrored = heights.T if way >= 4 else heights
    return np.rot90(mirrored, way % 4)


def reduced(heights: Heights, side: int) -> Heights:
    """The mean of equal areas.

    Args:
        heights: (h, h) with NaN for what is missing.
        side: of the result; divides h.

    Returns:
        (side, side) float32; NaN where less than half of an area is known.
    """
    step = len(heights) // side
    parts = heights.reshape(side, step, side, step).swapaxes(1, 2).reshape(side, side, -1)
    known = np.isfinite(parts)
    count = known.sum(axis=-1)
    total = np.where(known, parts, 0.0).sum(axis=-1, dtype=np.float64)
    enough = 2 * count >= step * step
    mean = np.where(enough, total / np.maximum(count, 1), np.nan)
    return mean.astype(np.float32)
