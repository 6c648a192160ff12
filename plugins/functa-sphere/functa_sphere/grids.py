"""Where a field is given: cells of a latitude-longitude grid or of a HEALPix tessellation.

healpy and scipy are imported by what needs them: together they take two seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import attrs
import numpy as np
from jaxtyping import Float64, Int64

SAME_DEGREES = 1e-4
"""Coordinates closer than this are the same: float32 degrees are no better than that."""
FULL_CIRCLE = 360.0


def unit_vectors(
    latitude: Float64[np.ndarray, "*n"], longitude: Float64[np.ndarray, "*n"]
) -> Float64[np.ndarray, "*n 3"]:
    """(cos φ cos λ, cos φ sin λ, sin φ) of latitudes φ and longitudes λ in degrees."""
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


@attrs.frozen(eq=False, slots=False)
class LatLonGrid:
    """Cells around the points of a product of latitudes and longitudes, from the north, row by row.

    Attributes:
        latitudes: (h) degrees, strictly falling.
        longitudes: (w) degrees east, strictly rising over less than 360; from 0 on in data.
    """

    latitudes: Float64[np.ndarray, " h"]
    longitudes: Float64[np.ndarray, " w"]

    @classmethod
    def regular(cls, rows: int) -> LatLonGrid:
        """`rows` latitudes and twice as many longitudes, cell centres of equal angle."""
        step = 180 / rows
        return cls(90 - step * (np.arange(rows) + 0.5), step * (np.arange(2 * rows) + 0.5))

    @classmethod
    def spanned(cls, latitudes: Sequence[float], longitudes: Sequence[float]) -> LatLonGrid:
        """Evenly spaced, each axis given as (first, last, number).

        Longitudes may begin west of 0°, for a region that reaches across it.
        """
        first, last, rows = latitudes
        west, east, columns = longitudes
        north, south = max(first, last), min(first, last)
        return cls(np.linspace(north, south, int(rows)), np.linspace(west, east, int(columns)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return len(self.latitudes), len(self.longitudes)

    @property
    def count(self) -> int:
        """The number of cells N."""
        return len(self.latitudes) * len(self.longitudes)

    @cached_property
    def points(self) -> Float64[np.ndarray, "n 3"]:
        """Unit vectors of the cells."""
        mesh = np.meshgrid(self.latitudes, self.longitudes, indexing="ij")
        return unit_vectors(mesh[0].ravel(), mesh[1].ravel())

    @cached_property
    def areas(self) -> Float64[np.ndarray, " n"]:
        """Solid angle of each cell: 4π together if the grid is global.

        A cell reaches half-way to its neighbours, so its area is Δ(sin φ) Δλ.
        """
        heights = -np.diff(np.sin(np.deg2rad(self._latitude_edges)))
        return np.outer(heights, np.deg2rad(self._widths)).ravel()

    @property
    def _latitude_edges(self) -> Float64[np.ndarray, " edges"]:
        """Borders of the rows; a first or last row near a pole reaches up to it."""
        rows = self.latitudes
        between = (rows[1:] + rows[:-1]) / 2
        ends = []
        for outer, step in ((rows[0], rows[0] - rows[1]), (-rows[-1], rows[-2] - rows[-1])):
            # Gaussian latitudes stop 0.77 of a step short of the pole, others half a step.
            at_pole = 90 - outer < 0.85 * step
            ends.append(90.0 if at_pole else min(90.0, outer + step / 2))
        return np.concatenate([[ends[0]], between, [-ends[1]]])

    @property
    def _widths(self) -> Float64[np.ndarray, " w"]:
        """Degrees of longitude that each column covers."""
        gaps = np.diff(self.longitudes, append=self.longitudes[0] + FULL_CIRCLE)
        # A gap much wider than the others is where a regional grid ends, not a wide cell.
        outside = gaps > 2 * np.median(gaps)
        gaps = np.where(outside, np.median(gaps), gaps)
        return (gaps + np.roll(gaps, 1)) / 2

    @property
    def spacing(self) -> float:
        """Greatest distance between neighbours along a row or column, in degrees."""
        return float(max(-np.diff(self.latitudes).min(), self._widths.max()))

    def same_as(self, other: Grid) -> bool:
        """Whether both have the same cells in the same order."""
        return (
            isinstance(other, LatLonGrid)
            and self.shape == other.shape
            and np.allclose(self.latitudes, other.latitudes, rtol=0, atol=SAME_DEGREES)
            and np.allclose(self.longitudes, other.longitudes, rtol=0, atol=SAME_DEGREES)
        )

    def words(self) -> str:
        """For people to read."""
        return f"{self.shape[0]}x{self.shape[1]} latitudes x longitudes"

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"latitudes": self.latitudes.tolist(), "longitudes": self.longitudes.tolist()}


@attrs.frozen(eq=False, slots=False)
class HealpixGrid:
    """The 12 nside² cells of equal area of HEALPix, in RING order.

    Attributes:
        nside: its resolution, a power of two.
    """

    nside: int

    @property
    def shape(self) -> tuple[int, ...]:
        """One axis of all cells."""
        return (self.count,)

    @property
    def count(self) -> int:
        """The number of cells N."""
        return int(12 * self.nside**2)

    @cached_property
    def points(self) -> Float64[np.ndarray, "n 3"]:
        """Unit vectors of the cells."""
        import healpy

        return np.stack(healpy.pix2vec(self.nside, np.arange(self.count)), axis=-1)

    @cached_property
    def areas(self) -> Float64[np.ndarray, " n"]:
        """Solid angle of each cell, 4π together."""
        return np.full(self.count, 4 * np.pi / self.count)

    @property
    def spacing(self) -> float:
        """Greatest distance between a point and the nearest cell, roughly, in degrees."""
        import healpy

        return float(np.rad2deg(healpy.max_pixrad(self.nside)))

    def same_as(self, other: Grid) -> bool:
        """Whether both have the same cells in the same order."""
        return isinstance(other, HealpixGrid) and self.nside == other.nside

    def words(self) -> str:
        """For people to read."""
        return f"HEALPix nside {self.nside} ({self.count} cells)"

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"nside": self.nside}


Grid: TypeAlias = LatLonGrid | HealpixGrid


def grid_from(plain: Mapping[str, Any]) -> Grid:
    """The grid that `plain` was made of."""
    if "nside" in plain:
        return HealpixGrid(plain["nside"])
    return LatLonGrid(np.array(plain["latitudes"], float), np.array(plain["longitudes"], float))


class NearestCell:
    """Which cell of a grid a point lies in or next to."""

    def __init__(self, grid: Grid) -> None:
        from scipy.spatial import cKDTree

        self._tree = cKDTree(grid.points)
        # The chord of an angle θ is 2 sin(θ/2).
        self._reach = 2 * np.sin(np.deg2rad(min(grid.spacing, 90.0)) / 2)

    def __call__(self, points: Float64[np.ndarray, "n 3"]) -> Int64[np.ndarray, " n"]:
        """Indices of cells, −1 where the grid does not reach."""
        distance, index = self._tree.query(points)
        return np.where(distance <= self._reach, index, -1)
