"""Projections: which point of the sphere each pixel of a picture shows."""

from __future__ import annotations

import attrs
import numpy as np
from jaxtyping import Bool, Float, Float64

from functa_sphere.grids import unit_vectors


@attrs.frozen(eq=False)
class View:
    """A picture of the sphere.

    Attributes:
        points: (h, w, 3) unit vectors, NaN where a pixel does not show the sphere.
    """

    points: Float64[np.ndarray, "h w 3"]

    @property
    def inside(self) -> Bool[np.ndarray, "h w"]:
        """Which pixels show the sphere."""
        finite: Bool[np.ndarray, "h w"] = np.isfinite(self.points[..., 0])
        return finite

    def picture(self, values: Float[np.ndarray, " n"]) -> Float64[np.ndarray, "h w"]:
        """Values at the points inside as a raster, NaN elsewhere."""
        raster: Float64[np.ndarray, "h w"] = np.full(self.inside.shape, np.nan)
        raster[self.inside] = values
        return raster


def mollweide(height: int) -> View:
    """The whole sphere in an ellipse twice as wide as high, areas in proportion, centred on 0° E.

    J. P. Snyder, Map Projections: A Working Manual (1987), p. 251, inverse equations.
    """
    y = 1 - (2 * np.arange(height) + 1) / height
    x = (2 * np.arange(2 * height) + 1) / height - 2
    theta = np.arcsin(y)[:, None]
    latitude = np.arcsin((2 * theta + np.sin(2 * theta)) / np.pi)
    longitude = np.pi * x[None, :] / (2 * np.cos(theta))
    outside = np.abs(longitude) > np.pi
    cosine = np.cos(latitude)
    vector = [cosine * np.cos(longitude), cosine * np.sin(longitude), np.sin(latitude) + 0 * x]
    points = np.stack(vector, axis=-1)
    points[outside] = np.nan
    return View(points)


def plate(rows: int) -> View:
    """Equal angles from 90°N and 180°W, twice as wide as high: the raster to look others up in."""
    step = 180 / rows
    latitudes = 90 - step * (np.arange(rows) + 0.5)
    longitudes = step * (np.arange(2 * rows) + 0.5) - 180
    return View(unit_vectors(*np.meshgrid(latitudes, longitudes, indexing="ij")))


def globe(side: int, longitude: float, latitude: float) -> View:
    """The half of the sphere that is seen from far above a point, given in degrees."""
    span = (2 * np.arange(side) + 1) / side - 1
    x, y = np.meshgrid(span, -span)
    squared = 1 - x**2 - y**2
    depth = np.sqrt(np.where(squared >= 0, squared, np.nan))
    lam, phi = np.deg2rad(longitude), np.deg2rad(latitude)
    towards = np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    east = np.array([-np.sin(lam), np.cos(lam), 0.0])
    north = np.cross(towards, east)
    return View(x[..., None] * east + y[..., None] * north + depth[..., None] * towards)
