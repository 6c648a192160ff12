"""A shape as people see it: shaded, from a few sides."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import trimesh
from jaxtyping import Float, UInt8
from PIL import Image

from functa_voxels.axes import TO_Z_UP
from functa_voxels.meshing import surface

Picture: TypeAlias = UInt8[np.ndarray, "s s 3"]
Colour: TypeAlias = tuple[float, float, float]

GREY: Colour = (0.9, 0.9, 0.9)
BLUE: Colour = (0.5, 0.72, 1.0)
RED: Colour = (0.90, 0.35, 0.30)
VIEWS = ((-55.0, 25.0), (125.0, 35.0))
"""Degrees around the axis that is up, and above the horizon: front and back."""
HALF_WIDTH = 0.72
"""Of the picture, in sides of the unit cube: most shapes fit, whole cubes are cut at no corner."""
LIGHTS = ((np.array([-0.7, 0.6, 0.4]), 0.6), (np.array([0.6, 0.3, 0.75]), 0.25))
"""Direction to each light (right, up, towards the camera) and its strength."""
AMBIENT = 0.32
SAMPLES = 2
"""Rays along each side of a pixel."""


def draw(
    occupancy: Float[np.ndarray, "r r r"],
    view: tuple[float, float],
    size: int,
    up: str,
    tint: Colour,
) -> Picture:
    """The surface at occupancy 0.5, seen without perspective, on white.

    Args:
        occupancy: at the centres of the cells of the unit cube.
        view: azimuth and elevation of the camera in degrees.
        size: pixels a side.
        up: the axis that is up.
        tint: of the surface, from 0 to 1.
    """
    mesh = surface(occupancy)
    side = size * SAMPLES
    shades = np.ones((side * side, 3))
    if mesh is not None:
        mesh.vertices = (np.asarray(mesh.vertices) - 0.5) @ TO_Z_UP[up].T
        right, above, back = _camera(*view)
        steps = ((np.arange(side) + 0.5) / side * 2 - 1) * HALF_WIDTH
        places = steps[:, None, None] * -above + steps[None, :, None] * right + 2 * back
        hit, normal = _first_hits(mesh, places.reshape(-1, 3), -back)
        shade = np.full(len(hit), AMBIENT)
        for (rightwards, upwards, backwards), strength in LIGHTS:
            to_light = rightwards * right + upwards * above + backwards * back
            shade += strength * (normal @ to_light / np.linalg.norm(to_light)).clip(0)
        shades[hit] = shade[:, None] * np.asarray(tint)
    blocks = shades.reshape(size, SAMPLES, size, SAMPLES, 3).mean(axis=(1, 3))
    return np.asarray((255 * blocks.clip(0, 1)).round(), np.uint8)


def slice_picture(
    target: Float[np.ndarray, "r r r"], fit: Float[np.ndarray, "r r r"], up: str, size: int
) -> Picture:
    """A cut that halves what is filled: right cells grey, missing red, too many blue."""
    told = _upright(target, up) > 0.5
    made = _upright(fit, up) > 0.5
    filled = told.sum(axis=(0, 2)).cumsum()
    at = int(np.searchsorted(filled, filled[-1] / 2))
    ours, theirs = made[:, at].T[::-1], told[:, at].T[::-1]
    picture = np.ones((*ours.shape, 3))
    for where, tint in ((ours & theirs, GREY), (theirs & ~ours, RED), (ours & ~theirs, BLUE)):
        picture[where] = tint
    image = Image.fromarray((255 * picture).round().astype(np.uint8))
    return np.asarray(image.resize((size, size), Image.Resampling.NEAREST))


def _upright(occupancy: Float[np.ndarray, "r r r"], up: str) -> Float[np.ndarray, "r r r"]:
    """The grid with the axis that is up last."""
    return np.moveaxis(occupancy, "xyz".index(up), 2)


def _camera(azimuth: float, elevation: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors to the camera's right, above it and behind it; z is up."""
    a, e = np.radians(azimuth), np.radians(elevation)
    back = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([-np.sin(a), np.cos(a), 0.0])
    return right, np.cross(back, right), back


def _first_hits(
    mesh: trimesh.Trimesh, origins: Float[np.ndarray, "R 3"], direction: np.ndarray
) -> tuple[np.ndarray, Float[np.ndarray, "h 3"]]:
    """Indices of the rays that meet the mesh, and its interpolated normal where each first does."""
    directions = np.broadcast_to(direction, origins.shape)
    places, rays, triangles = mesh.ray.intersects_location(origins, directions, multiple_hits=False)
    if not len(rays):
        return np.empty(0, int), np.empty((0, 3))
    corners = mesh.triangles[triangles]
    barycentric: Any = trimesh.triangles.points_to_barycentric  # it has no annotations
    shares = barycentric(corners, places)
    normals = (mesh.vertex_normals[mesh.faces[triangles]] * shares[..., None]).sum(axis=1)
    return rays, normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-9)
