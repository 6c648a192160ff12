"""Made terrain, for a first run without data: sums of gradient noise in several manners.

The noise is Perlin's ("Improving noise", SIGGRAPH 2002); ridges are Musgrave's ridged multifractal
(Ebert et al., Texturing and Modeling, ch. 16).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from functa_core import cached
from jaxtyping import Float32

SIDE = 256
"""Cells a side of a tile."""
CELL = 30.0
"""Metres a side of a cell."""
TRAIN, TEST = 24, 6
"""Tiles of each kind."""
OCTAVES = 6

Plane = Float32[np.ndarray, "_h _w"]


def embedded() -> Path:
    """The set as an .npz, made when it is first asked for: a few seconds."""
    return cached("terrain-made-v1", _write) / "terrain.npz"


def _write(folder: Path) -> None:
    rng = np.random.default_rng(42)
    heights = np.stack([make(rng) for make in KINDS for _ in range(TRAIN + TEST)])
    np.savez(
        folder / "terrain.npz",
        heights=heights,
        is_test=np.arange(len(heights)) % (TRAIN + TEST) >= TRAIN,
        cell_m=np.float64(CELL),
    )


def mountains(rng: np.random.Generator) -> Plane:
    """Sharp ridges over deep valleys: 1,200 to 2,500 m of relief."""
    return _between(rng, _ridges(rng, *_warped(rng, 0.2)), (200, 900), (1200, 2500))


def hills(rng: np.random.Generator) -> Plane:
    """Rounded hills: 100 to 500 m of relief."""
    return _between(rng, _sum(rng, *_warped(rng, 0.1), 0.42), (0, 400), (100, 500))


def canyons(rng: np.random.Generator) -> Plane:
    """A plateau in steps, with valleys cut into it."""
    x, y = _warped(rng, 0.25)
    plateau = _unit(_sum(rng, x, y, 0.5))
    steps = 5 * plateau
    terraces = (np.floor(steps) + np.clip(4 * (steps % 1) - 1.5, 0, 1)) / 5
    valleys = np.clip(1 - 7 * np.abs(noise(rng, 1.5 * x, 1.5 * y)), 0, 1)
    relief = 0.7 * terraces + 0.3 * plateau
    depth = valleys * (0.5 + 0.5 * relief)
    return _between(rng, relief - 0.8 * depth, (600, 1500), (300, 900))


def islands(rng: np.random.Generator) -> Plane:
    """Ridged land in a sea of height 0, which is 20 to 60 per cent of a tile."""
    x, y = _warped(rng, 0.2)
    land = _unit(_sum(rng, x, y, 0.5)) + 0.25 * _unit(_ridges(rng, x, y))
    above = np.maximum(land - np.quantile(land, rng.uniform(0.2, 0.6)), 0)
    return _between(rng, above, (0, 0), (200, 1200))


KINDS: tuple[Callable[[np.random.Generator], Plane], ...] = (mountains, hills, canyons, islands)


def noise(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    """Perlin's gradient noise at (x, y): about -0.7 to 0.7, a bump a unit, 0 at whole numbers."""
    # A slope's product with the way from its corner is the real part of two complex numbers' one.
    slopes = np.exp(1j * rng.uniform(0, 2 * np.pi, 64 * 64)).astype(np.complex64)
    column, row = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
    u, v = (x - column).astype(np.float32), (y - row).astype(np.float32)
    way = (u + 1j * v).astype(np.complex64)

    def corner(right: int, down: int) -> Any:
        place = ((row + down) % 64) * 64 + (column + right) % 64
        return (slopes.take(place) * (way - np.complex64(right + 1j * down))).real

    s, t = (a * a * a * (a * (6 * a - 15) + 10) for a in (u, v))
    upper = corner(0, 0) + s * (corner(1, 0) - corner(0, 0))
    lower = corner(0, 1) + s * (corner(1, 1) - corner(0, 1))
    return np.asarray(upper + t * (lower - upper), np.float32)


def _warped(rng: np.random.Generator, strength: float) -> tuple[Plane, Plane]:
    """Coordinates of a tile's cells, one to three units a side, bent by noise."""
    places = np.mgrid[:SIDE, :SIDE] / SIDE * rng.uniform(1.5, 3.0) + rng.uniform(0, 64, (2, 1, 1))
    y, x = places.astype(np.float32)
    return x + strength * noise(rng, 2 * x, 2 * y), y + strength * noise(rng, 2 * x, 2 * y)


def _sum(rng: np.random.Generator, x: Plane, y: Plane, gain: float) -> Plane:
    """Octaves of noise, each of twice the frequency and `gain` times the height of the one before:
    fractional Brownian motion.
    """
    octaves = [gain**i * noise(rng, 2**i * x, 2**i * y) for i in range(OCTAVES)]
    return np.asarray(np.add.reduce(octaves))


def _ridges(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    """The same of (1 - |noise|)², finer octaves being strong only where the one before is high."""
    total, weight = np.zeros_like(x), np.ones_like(x)
    for i in range(OCTAVES):
        ridge = (1 - 1.6 * np.abs(noise(rng, 2**i * x, 2**i * y))).clip(0) ** 2
        total += 0.5**i * weight * ridge
        weight = (1.5 * ridge * weight).clip(0, 1)
    return total


def _unit(plane: Plane) -> Plane:
    """Scaled to 0 to 1."""
    return np.asarray((plane - plane.min()) / (plane.max() - plane.min()))


def _between(
    rng: np.random.Generator, plane: Plane, low: tuple[float, float], span: tuple[float, float]
) -> Plane:
    """Metres, the lowest place and the relief being drawn from these intervals."""
    return np.asarray(rng.uniform(*low) + rng.uniform(*span) * _unit(plane), np.float32)
