"""Surfaces from radiance fields: marching cubes on the density, coloured by the field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import torch
import trimesh
from jaxtyping import Float, Int
from skimage.measure import marching_cubes
from torch import Tensor

from functa_core import Field
from functa_nerf.outlines import Ball
from functa_nerf.rendering import density, render_rays
from functa_nerf.views import POINTS_AT_ONCE

SMALLEST_PART = 0.01
"""Parts with less than this share of the largest part's volume are dust, and left out."""
SKIN_POINTS, SKIN_OUTSIDE, SKIN_INSIDE = 16, 0.2, 0.8
"""A vertex has the colour seen by looking in along its normal: from so far outside to so far
inside, in radii of the ball."""


@attrs.frozen(eq=False)
class Surface:
    """A triangle mesh, counter-clockwise when seen from outside.

    Attributes:
        vertices: in world coordinates, units of the poses.
        faces: indices of vertices.
        normals: of the vertices, unit length, outwards.
        colours: of the vertices, in [0, 1], as pictures have them (sRGB).
    """

    vertices: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "m 3"]
    normals: Float[np.ndarray, "n 3"]
    colours: Float[np.ndarray, "n 3"]


@torch.no_grad()
def surface(
    field: Field, ball: Ball, level: float, resolution: int, white_background: bool = True
) -> Surface | None:
    """Where the field's density crosses a level, closed at the border of the ball.

    The field is asked for `POINTS_AT_ONCE` points at a time; besides them, memory holds two planes
    of the grid and the surface itself.

    Args:
        field: of one latent.
        ball: where to look.
        level: density per unit length.
        resolution: cells of the grid along the ball's diameter.
        white_background: what shines through, as in the views.

    Returns:
        None if the density exceeds the level nowhere.
    """
    pieces = list(_slabs(field, ball, level, resolution))
    if not pieces:
        return None
    vertices, faces = _largest_parts(*_welded(pieces))
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    normals = np.array(mesh.vertex_normals)
    seen = _skin_colours(field, ball, vertices, normals, white_background)
    return Surface(vertices, faces, normals, seen)


def _slabs(
    field: Field, ball: Ball, level: float, resolution: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Vertices (n, 3) and triangles (m, 3) of slabs of the grid, one after the other.

    Neighbouring slabs share a plane, so that their borders fit each other exactly. The grid is one
    cell wider than the ball on each side, so that every surface is closed.
    """
    cell = 2 * ball.radius / resolution
    nodes = resolution + 3
    axis = (torch.arange(nodes) - (nodes - 1) / 2) * cell
    thick = max(1, POINTS_AT_ONCE // nodes**2)
    corner = np.array(ball.centre) + float(axis[0])
    for start in range(0, nodes - 1, thick):
        planes = axis[start : start + thick + 1]
        grid = torch.stack(torch.meshgrid(planes, axis, axis, indexing="ij"), dim=-1)
        points = grid + grid.new_tensor(ball.centre)
        inside = ball.depth(points)
        excess = level / cell * inside
        # What is cut off counts near the cut too: it says how steeply the density ends there.
        within = inside > -2 * cell
        densities = _densities(field, points[within])
        excess[within] = torch.minimum(densities - level, excess[within])
        # A node that lies exactly on the surface would make triangles without area.
        excess[excess == 0] = -1e-6 * level
        if float(excess.max()) > 0:
            vertices, faces = _triangles(excess.numpy())
            yield (vertices + np.array([start, 0, 0])) * cell + corner, faces


def _triangles(excess: Float[np.ndarray, "a b c"]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices, in cells, and faces, counter-clockwise when seen from where `excess` is negative.

    Lewiner's marching cubes (Journal of Graphics Tools, 2003), which leaves no holes.
    """
    cubes: Any = marching_cubes
    vertices, faces, *_ = cubes(excess, 0.0, gradient_direction="ascent")
    return vertices, faces


def _densities(field: Field, points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """Densities on the CPU."""
    parts = [density(field(part)[0, :, 3]).cpu() for part in torch.split(points, POINTS_AT_ONCE)]
    return torch.cat(parts)


def _welded(pieces: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Pieces as one mesh, with vertices at the same place made one."""
    counts = np.cumsum([0] + [len(vertices) for vertices, _ in pieces])
    vertices = np.concatenate([vertices for vertices, _ in pieces])
    faces = np.concatenate([part + first for (_, part), first in zip(pieces, counts, strict=False)])
    vertices, renamed = np.unique(vertices, axis=0, return_inverse=True)
    return vertices, renamed[faces]


def _largest_parts(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mesh without dust, and without the walls of cavities, which nobody sees.

    The signed volume of a closed part tells both: it is small for dust and negative for a cavity.
    """
    edges = faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    graph: Any = trimesh.graph
    part = graph.connected_component_labels(edges, node_count=len(vertices))[faces[:, 0]]
    a, b, c = np.moveaxis(vertices[faces] - vertices.mean(axis=0), 1, 0)
    volumes = np.bincount(part, weights=(a * np.cross(b, c)).sum(axis=1) / 6)
    kept = faces[(volumes > SMALLEST_PART * volumes.max())[part]]
    used, renamed = np.unique(kept, return_inverse=True)
    return vertices[used], renamed.reshape(kept.shape)


def _skin_colours(
    field: Field, ball: Ball, vertices: np.ndarray, normals: np.ndarray, white_background: bool
) -> Float[np.ndarray, "n 3"]:
    """What is seen of each vertex by somebody who looks in along its normal.

    The colour exactly at the level is that of a haze which views hardly show, and what is half
    transparent in views is pale because of what is behind it. Renderings of the mesh are 4 to 7 dB
    closer to the field's views so than with the colours of the vertices' own places.
    """
    outwards = torch.tensor(normals, dtype=torch.float32)
    start = torch.tensor(vertices, dtype=torch.float32) + SKIN_OUTSIDE * ball.radius * outwards
    z = torch.linspace(0.0, (SKIN_OUTSIDE + SKIN_INSIDE) * ball.radius, SKIN_POINTS)
    looks = torch.cat([start, -outwards], dim=-1)
    colours = [
        render_rays(field, part, z, white_background).colour[0].clamp(0, 1).cpu()
        for part in torch.split(looks, max(1, POINTS_AT_ONCE // SKIN_POINTS))
    ]
    return np.asarray(torch.cat(colours).numpy())
