"""The set used when no data is given: six kinds of household things, built from solids.

Sizes and proportions of each are drawn at random, so no two are alike and none is another one
turned. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.random import Generator

from functa_core import cached
from functa_voxels.shapes import Inside, Points, box, ellipsoid, ring, rod, turned

SIDE = 32
"""Cells a side."""
TRAIN, TEST = 50, 10
"""Shapes of each kind."""

Builder = Callable[[Points, Generator], Inside]


def embedded() -> Path:
    """The set as an .npz file, made in a second or two when it is first asked for."""
    return cached("voxels-household-v1", _make) / "shapes.npz"


def _make(folder: Path) -> None:
    """Write the set into `folder`."""
    rng = np.random.default_rng(2201)
    axis = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    voxels = [build(points, rng) for build in KINDS.values() for _ in range(TRAIN + TEST)]
    np.savez_compressed(
        folder / "shapes.npz",
        voxels=np.stack(voxels).reshape(-1, SIDE, SIDE, SIDE),
        labels=np.repeat(np.arange(len(KINDS)), TRAIN + TEST),
        label_names=np.array(list(KINDS)),
        is_test=np.tile(np.arange(TRAIN + TEST) >= TRAIN, len(KINDS)),
    )


def chair(p: Points, rng: Generator) -> Inside:
    """A seat on four legs, a back, and arms on some."""
    half_x, half_y = rng.uniform(0.45, 0.85, 2)
    seat, thick, leg = rng.uniform(-0.35, 0.1), rng.uniform(0.09, 0.18), rng.uniform(0.1, 0.18)
    top, back = rng.uniform(0.5, 0.92), rng.uniform(0.09, 0.16)
    inside = box(p, (0, 0, seat), (half_x, half_y, thick), rng.uniform(0, 0.07))
    inside |= box(p, (0, half_y - back, (seat + top) / 2), (half_x, back, (top - seat) / 2))
    for x in (-1, 1):
        for y in (-1, 1):
            foot = (x * (half_x - leg), y * (half_y - leg))
            inside |= rod(p, (*foot, -0.9), (*foot, seat), (leg, leg))
        if half_x > 0.55:
            inside |= box(p, (x * (half_x - 0.09), 0, seat + 0.3), (0.09, half_y, 0.08))
            inside |= box(p, (x * (half_x - 0.09), -half_y + 0.09, seat + 0.15), (0.09, 0.09, 0.15))
    return inside


def table(p: Points, rng: Generator) -> Inside:
    """A top, round or square, on four legs or on one in the middle with a foot."""
    half_x, half_y = rng.uniform(0.5, 0.92, 2)
    height, thick = rng.uniform(-0.1, 0.7), rng.uniform(0.09, 0.16)
    leg = rng.uniform(0.1, 0.2)
    if rng.random() < 0.4:
        radius = max(half_x, half_y)
        inside = rod(p, (0, 0, height - thick), (0, 0, height + thick), (radius, radius))
    else:
        inside = box(p, (0, 0, height), (half_x, half_y, thick))
    if rng.random() < 0.4:
        foot = rng.uniform(0.35, 0.6)
        inside |= rod(p, (0, 0, -0.9), (0, 0, height), (leg * 1.3, leg * 1.3))
        inside |= rod(p, (0, 0, -0.9), (0, 0, -0.7), (foot, foot * 0.8))
        return inside
    inset = rng.uniform(0.65, 0.75)
    for x in (-1, 1):
        for y in (-1, 1):
            start, end = (x * half_x * inset, y * half_y * inset), rng.uniform(0.8, 1.1)
            inside |= rod(p, (*start, height), (*start, -0.9), (leg, leg * end))
    return inside


def lamp(p: Points, rng: Generator) -> Inside:
    """A foot, a pole and a shade."""
    foot, pole = rng.uniform(0.35, 0.7), rng.uniform(0.1, 0.16)
    low, high = rng.uniform(-0.1, 0.4), rng.uniform(0.65, 0.95)
    wide = rng.uniform(0.5, 0.92)
    inside = rod(p, (0, 0, -0.92), (0, 0, rng.uniform(-0.78, -0.65)), (foot, foot * 0.8))
    inside |= rod(p, (0, 0, -0.9), (0, 0, high), (pole, pole))
    if rng.random() < 0.3:
        middle, radius = (low + high) / 2, (high - low) / 2
        inside |= ellipsoid(p, (0, 0, middle), (wide * 0.8, wide * 0.8, radius + 0.1))
    else:
        inside |= rod(p, (0, 0, low), (0, 0, high), (wide, wide * rng.uniform(0.3, 0.9)))
    return inside


def mug(p: Points, rng: Generator) -> Inside:
    """A cup that is open at the top, with a handle."""
    radius, half = rng.uniform(0.4, 0.7), rng.uniform(0.45, 0.92)
    wall, flare = rng.uniform(0.1, 0.18), rng.uniform(0.8, 1.15)
    radii = (radius, min(radius * flare, 0.72))
    p = p + np.array([0.2, 0, 0])
    inside = ring(p, (radius, 0, 0), 1, rng.uniform(0.22, 0.36), rng.uniform(0.09, 0.13))
    inside |= rod(p, (0, 0, -half), (0, 0, half), radii)
    inner = (radii[0] - wall, radii[1] - wall)
    inside &= ~rod(p, (0, 0, -half + wall), (0, 0, half + 1e-6), inner)
    return inside


def bottle(p: Points, rng: Generator) -> Inside:
    """A turned body with a neck."""
    radius, neck = rng.uniform(0.35, 0.8), rng.uniform(0.12, 0.28)
    shoulder, throat = rng.uniform(-0.2, 0.3), rng.uniform(0.4, 0.65)
    waist = radius * rng.uniform(0.7, 1.15)
    heights = [-0.92, -0.4, shoulder, throat, rng.uniform(0.8, 0.94)]
    return turned(p, heights, [radius * rng.uniform(0.7, 1), radius, waist, neck, neck])


def aeroplane(p: Points, rng: Generator) -> Inside:
    """A fuselage along x, wings, a tail, and engines on some."""
    length, body = rng.uniform(0.8, 0.96), rng.uniform(0.16, 0.3)
    span, chord = rng.uniform(0.65, 0.95), rng.uniform(0.18, 0.34)
    sweep, thick = rng.uniform(-0.05, 0.45), rng.uniform(0.08, 0.13)
    low = rng.uniform(-0.1, 0.05)
    inside = ellipsoid(p, (0, 0, 0), (length, body, body))
    back = np.abs(p[:, 1]) / span * sweep
    taper = 1 - 0.5 * np.abs(p[:, 1]) / span
    wing = (np.abs(p[:, 1]) <= span) & (np.abs(p[:, 2] - low) <= thick)
    inside |= wing & (np.abs(p[:, 0] - 0.1 + back) <= chord * taper)
    inside |= box(p, (0.14 - length, 0, low + 0.1), (0.14, span * 0.4, 0.08))
    inside |= box(p, (0.14 - length, 0, 0.3), (0.14, 0.08, rng.uniform(0.25, 0.4)))
    if rng.random() < 0.5:
        for y in (-1, 1):
            place = (y * span * 0.45, low - 0.16)
            inside |= rod(p, (-0.2, *place), (0.25, *place), (0.12, 0.14))
    return inside


KINDS: dict[str, Builder] = {
    "aeroplane": aeroplane,
    "bottle": bottle,
    "chair": chair,
    "lamp": lamp,
    "mug": mug,
    "table": table,
}
