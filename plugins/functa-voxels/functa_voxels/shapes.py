"""Solids to build shapes from: which points lie inside.

Points are (N, 3) in any unit; z is up. Each function gives (N,) booleans.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float

Points: TypeAlias = Float[np.ndarray, "N 3"]
Inside: TypeAlias = Bool[np.ndarray, " N"]
Triple: TypeAlias = Sequence[float]


def box(points: Points, centre: Triple, half: Triple, rounding: float = 0.0) -> Inside:
    """An axis-aligned box of half-sizes `half`, its edges rounded off by a radius within them."""
    beyond = np.abs(points - np.asarray(centre)) - (np.asarray(half) - rounding)
    return np.asarray(np.linalg.norm(beyond.clip(0), axis=1) <= rounding)


def ellipsoid(points: Points, centre: Triple, radii: Triple) -> Inside:
    """An axis-aligned ellipsoid."""
    scaled = (points - np.asarray(centre)) / np.asarray(radii)
    return np.asarray(np.square(scaled).sum(axis=1) <= 1)


def rod(points: Points, start: Triple, end: Triple, radii: tuple[float, float]) -> Inside:
    """A rod from `start` to `end` with flat ends, its radius going from the first to the second."""
    origin = np.asarray(start, float)
    axis = np.asarray(end, float) - origin
    along = (points - origin) @ axis / (axis @ axis)
    distance = np.linalg.norm(points - origin - along[:, None] * axis, axis=1)
    radius = radii[0] + (radii[1] - radii[0]) * along
    return np.asarray((along >= 0) & (along <= 1) & (distance <= radius))


def ring(points: Points, centre: Triple, axis: int, radius: float, thickness: float) -> Inside:
    """A torus around coordinate axis `axis`: `thickness` is the radius of its tube."""
    offset = points - np.asarray(centre)
    outwards = np.linalg.norm(np.delete(offset, axis, axis=1), axis=1) - radius
    return np.asarray(np.hypot(outwards, offset[:, axis]) <= thickness)


def turned(points: Points, heights: Sequence[float], radii: Sequence[float]) -> Inside:
    """A body of revolution around the z axis; its radius is linear between given heights."""
    radius = np.interp(points[:, 2], heights, radii, left=-1.0, right=-1.0)
    return np.asarray(np.hypot(points[:, 0], points[:, 1]) <= radius)
