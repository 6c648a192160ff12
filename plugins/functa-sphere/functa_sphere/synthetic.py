"""Fields made by formula: three kinds of surface temperature, in kelvin."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import numpy as np
from jaxtyping import Float64, Int64

from functa_sphere.grids import unit_vectors

Points = Float64[np.ndarray, "n 3"]
Values = Float64[np.ndarray, " n"]


@attrs.frozen(eq=False)
class Earth:
    """Where fields are made.

    Attributes:
        points: unit vectors of the cells.
        land: share of land in each.
        harmonics: K real spherical harmonics there.
        degrees: of each harmonic, 1 or more, rising.
    """

    points: Points
    land: Values
    harmonics: Float64[np.ndarray, "k n"]
    degrees: Int64[np.ndarray, " k"]

    @classmethod
    def of(cls, points: Points, land: Values, highest: int = 12) -> Earth:
        """With the orthonormal real harmonics of degree 1 to `highest`."""
        from scipy.special import sph_harm_y  # a third of a second, and the fields are in the cache

        theta = np.arccos(points[:, 2].clip(-1, 1))
        phi = np.arctan2(points[:, 1], points[:, 0])
        rows, degrees = [], []
        for degree in range(1, highest + 1):
            for order in range(degree + 1):
                harmonic = sph_harm_y(degree, order, theta, phi)
                parts = [np.sqrt(2) * harmonic.real, np.sqrt(2) * harmonic.imag]
                rows += parts if order else [harmonic.real]
            degrees += [degree] * (2 * degree + 1)
        return cls(points, land, np.stack(rows), np.array(degrees))


Kind = Callable[[Earth, np.random.Generator], Values]


def gradient(z: Values, mean: float, contrast: float) -> Values:
    """Warm at the equator and cold at the poles, `contrast` kelvin between them.

    Args:
        z: sine of the latitude.
        mean: over the sphere, where sin² has mean 1/3.
        contrast: in kelvin.
    """
    return mean + contrast * (1 / 3 - z**2)


def seasons(earth: Earth, rng: np.random.Generator) -> Values:
    """A time of year: the summer hemisphere is warm, land much more so than the sea."""
    z = earth.points[:, 2]
    swing = 4 + 16 * earth.land
    field = gradient(z, rng.uniform(284, 290), rng.uniform(40, 52))
    field += np.cos(rng.uniform(0, 2 * np.pi)) * swing * z
    field -= 4 * earth.land * (1 - np.abs(z))
    field += random_field(earth, 10, 2.5, 3.0, rng)
    return field


def storms(earth: Earth, rng: np.random.Generator) -> Values:
    """Vortices of both hemispheres, which wind the gradient of temperature up around them."""
    moved = earth.points
    for sign in (-1, 1):
        for _ in range(rng.integers(3, 6)):
            latitude, longitude = sign * rng.uniform(25, 65), rng.uniform(0, 360)
            centre = unit_vectors(np.array(latitude), np.array(longitude))
            radius = np.deg2rad(rng.uniform(14, 26))
            moved = _wound(moved, centre, radius, sign * rng.uniform(1.2, 2.4))
    field = gradient(moved[:, 2], rng.uniform(280, 288), rng.uniform(55, 70))
    field -= 3 * earth.land * (1 - np.abs(earth.points[:, 2]))
    return field


def _wound(points: Points, centre: Float64[np.ndarray, "3"], radius: float, angle: float) -> Points:
    """Points turned around a centre, by `angle` there and less with distance (Rodrigues)."""
    distance = np.arccos((points @ centre).clip(-1, 1))
    turn = (angle * np.exp(-((distance / radius) ** 2)))[:, None]
    along = (points @ centre)[:, None] * centre
    across = np.cross(centre, points)
    return np.asarray(
        points * np.cos(turn) + across * np.sin(turn) + along * (1 - np.cos(turn)), np.float64
    )


def waves(earth: Earth, rng: np.random.Generator) -> Values:
    """A Gaussian random field whose power falls with the cube of the degree."""
    return rng.uniform(276, 284) + random_field(earth, 12, 3.0, rng.uniform(9, 13), rng)


def random_field(
    earth: Earth, highest: int, slope: float, deviation: float, rng: np.random.Generator
) -> Values:
    """An isotropic Gaussian field.

    Args:
        earth: where.
        highest: degree of the harmonics it is made of.
        slope: the power C_l of each coefficient is l to minus this.
        deviation: standard deviation over the sphere, √(Σ (2l + 1) C_l / 4π), on average.
        rng: of the coefficients.
    """
    used = earth.degrees <= highest
    power = earth.degrees[used] ** -slope
    scale = deviation / np.sqrt(power.sum() / (4 * np.pi))
    return np.asarray(
        scale * (rng.normal(size=len(power)) * np.sqrt(power)) @ earth.harmonics[used], np.float64
    )


KINDS: Mapping[str, Kind] = {"seasons": seasons, "storms": storms, "waves": waves}
"""The classes, in the order that labels count them."""
