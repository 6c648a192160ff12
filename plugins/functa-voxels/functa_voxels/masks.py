"""Ways to see only part of a shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Generator, Tensor

from functa_core import Mask, Observations
from functa_voxels.axes import TO_Z_UP

RIGHT, FRONT, ABOVE = (1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0)
"""Directions where z is up; pictures are seen from the front and the right."""

Cells = Callable[[Bool[np.ndarray, "r r r"]], Bool[np.ndarray, "r r r"]]
"""From a shape to the cells of it that are seen."""


def masks(up: str, chosen: Tensor) -> list[Mask]:
    """The masks of shapes.

    Args:
        up: the axis that is up.
        chosen: (N) places of the cells that observations are of, in a flat grid.
    """

    def mask(name: str, summary: str, seen: Cells) -> Mask:
        def visible(
            signals: Sequence[np.ndarray], observations: Observations, _: Generator
        ) -> Bool[Tensor, "B N"]:
            grids = np.stack([seen(np.asarray(signal) == 1) for signal in signals])
            return torch.from_numpy(grids.reshape(len(signals), -1))[:, chosen]

        return Mask(name, summary, visible)

    left, front, below = _axis(RIGHT, up), _axis(FRONT, up), _axis(ABOVE, up)
    return [
        mask("left-half", "the left half of the grid is seen", lambda s: first_half(s, *left)),
        mask("lower-half", "the lower half of the grid is seen", lambda s: first_half(s, *below)),
        mask(
            "lidar",
            "what parallel rays from the front pass, and the first filled cell each meets",
            lambda s: shell(s, *front),
        ),
    ]


def first_half(shape: Bool[np.ndarray, "r r r"], axis: int, rising: bool) -> np.ndarray:
    """Cells in the first half along an axis, or in the last half where that is not `rising`."""
    cells = np.zeros_like(shape)
    half = (len(shape) + 1) // 2
    np.moveaxis(cells, axis, 0)[slice(half) if rising else slice(len(shape) - half, None)] = True
    return cells


def shell(shape: Bool[np.ndarray, "r r r"], axis: int, rising: bool) -> np.ndarray:
    """What a scanner sees from far away along an axis: nothing lies before a cell it sees.

    Args:
        shape: where it is filled.
        axis: along which the rays are.
        rising: whether the scanner is at the high end of the axis.
    """
    ahead = np.flip(shape, axis) if rising else shape
    before = np.cumsum(ahead, axis=axis) - ahead
    seen = before == 0
    return np.flip(seen, axis) if rising else seen


def _axis(direction: tuple[float, float, float], up: str) -> tuple[int, bool]:
    """The axis of the grid that a direction lies along, and whether it points to its high end."""
    own = TO_Z_UP[up].T @ np.array(direction)
    axis = int(np.abs(own).argmax())
    return axis, bool(own[axis] > 0)
