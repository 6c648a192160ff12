"""Ways to see only part of a field on the sphere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from functa_core import Mask, Observations
from functa_sphere.collection import Map

POLAR_DEGREES = 60.0
"""Latitude from which on the polar caps are hidden."""
ORBITS = 7
INCLINATION, HALF_SWATH = 98.0, 5.0
"""Degrees: of a satellite's orbit against the equator, as sun-synchronous ones have it, and of what
it sees to either side. Seven orbits see about half of the sphere."""


def _east(signals: Sequence[Map], observations: Observations, _: Generator) -> Bool[Tensor, "B N"]:
    return (observations.queries[:, 1] >= 0).expand(len(signals), -1)


def _between_caps(
    signals: Sequence[Map], observations: Observations, _: Generator
) -> Bool[Tensor, "B N"]:
    seen = observations.queries[:, 2].abs() < math.sin(math.radians(POLAR_DEGREES))
    return seen.expand(len(signals), -1)


def _swaths(
    signals: Sequence[Map], observations: Observations, generator: Generator
) -> Bool[Tensor, "B N"]:
    """Bands along great circles, evenly spaced from a random longitude, one for each signal."""
    starts = 2 * math.pi * torch.rand(len(signals), generator=generator)
    return torch.stack([near_orbits(observations.queries, float(start)) for start in starts])


def near_orbits(points: Float[Tensor, "N 3"], start: float) -> Bool[Tensor, " N"]:
    """Which unit vectors a satellite sees whose first orbit crosses the equator at `start`.

    Args:
        points: where.
        start: longitude in radians.
    """
    nodes = start + torch.arange(ORBITS) * (math.pi / ORBITS)
    tilt = math.radians(INCLINATION)
    axes = torch.stack(
        [
            math.sin(tilt) * nodes.sin(),
            -math.sin(tilt) * nodes.cos(),
            torch.full_like(nodes, math.cos(tilt)),
        ]
    )
    # The sine of a point's angle to an orbit's plane is its part along the plane's axis.
    return ((points @ axes).abs() < math.sin(math.radians(HALF_SWATH))).any(dim=1)


MASKS = (
    Mask("eastern", "longitudes 0 to 180 east are seen", _east),
    Mask("no-poles", f"latitudes beyond {POLAR_DEGREES:g} degrees are hidden", _between_caps),
    Mask("swaths", f"what a satellite sees in {ORBITS} orbits is seen", _swaths),
)
