"""Solid voxels from triangle meshes, those with holes included.

Meshes of the wild are open, doubled, turned inside out, and made of parts that overlap. A cell is
filled if its centre is inside by this definition:

1. A closed part (each edge belongs to an even number of triangles) contains a point if a ray from
   it crosses the part an odd number of times. Parts count one by one, so overlaps are filled.
2. An open part contains a point if more than half of the rays in 26 directions cross it an odd
   number of times. The share of such rays is what the generalised winding number (Jacobson et al.,
   2013) is to a surface with consistent orientation, for one without any: it falls from 1 deep
   inside to 1/2 on a flat cut across a hole. All open parts are asked together too, because
   the walls of a box may be parts of their own.
3. What cannot be reached from outside without crossing the surface is filled.
4. A part that is too thin to contain a cell's centre, a sheet or a wire, becomes as thick as
   the cells that it passes through.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from functa_voxels.crossings import AXES, DIRECTIONS, Direction, Triangles, crossings, votes

MARGIN = 1 / 32
"""Share of the cube's side that is left free on either side of a mesh's longest extent."""
EDGE_STEP = 0.5
"""Cells between two points of an edge that is traced."""
BETWEEN = 1e-6
"""Cells; more than rounding errors, and less than anybody sees."""
_AROUND = np.ones((3, 3, 3), bool)


def voxelise(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], side: int
) -> Bool[np.ndarray, "r r r"]:
    """The solid that a mesh bounds, on a grid of `side` cells over the unit cube.

    The mesh keeps its axes. The middle of its bounding box comes to the cube's, its longest extent
    to 15/16 of the cube's side.

    Args:
        vertices: finite, at least two different ones that faces use.
        faces: at least one.
        side: cells a side.
    """
    corners = vertices[faces]
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    scale = (1 - 2 * MARGIN) * side / (high - low).max()
    places = (vertices - (low + high) / 2) * scale + (side - 1) / 2
    faces = _cleaned(places, faces)
    solid = np.zeros((side,) * 3, bool)
    walls = _walls(places[faces], side)
    loose = []
    for part, closed in _parts(faces):
        triangles = places[part]
        if closed:
            _fill(solid, triangles, AXES)
        else:
            _fill(solid, triangles, DIRECTIONS)
            loose.append(triangles)
    if len(loose) > 1:
        _fill(solid, np.concatenate(loose), DIRECTIONS)
    solid |= ndimage.binary_fill_holes(solid | walls) & ~walls
    solid |= _thin(solid, walls)
    return solid


def _cleaned(
    places: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]
) -> Int[np.ndarray, "f 3"]:
    """Faces that know equal corners as one, without repeats: a sheet drawn twice is one sheet."""
    _, same = np.unique(places.round(9), axis=0, return_inverse=True)
    first = np.full(same.max() + 1, len(places))
    np.minimum.at(first, same.ravel(), np.arange(len(places)))
    merged = first[same.ravel()][faces]
    ordered = np.sort(merged, axis=1)
    real = (ordered[:, 0] != ordered[:, 1]) & (ordered[:, 1] != ordered[:, 2])
    _, once = np.unique(ordered[real], axis=0, return_index=True)
    return np.asarray(merged[real][np.sort(once)])


def _parts(faces: Int[np.ndarray, "F 3"]) -> list[tuple[Int[np.ndarray, "f 3"], bool]]:
    """Faces that hang together by edges, and whether they are closed."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    _, edge = np.unique(edges, axis=0, return_inverse=True)
    edge, owner = edge.ravel(), np.repeat(np.arange(len(faces)), 3)
    count = len(faces) + edge.max() + 1
    graph = coo_matrix((np.ones(len(edge)), (owner, len(faces) + edge)), (count, count))
    label = connected_components(graph, directed=False)[1]
    odd_edges = np.flatnonzero(np.bincount(edge) % 2)
    is_open = np.zeros(label.max() + 1, bool)
    is_open[label[len(faces) + odd_edges]] = True
    order = np.argsort(label[: len(faces)], kind="stable")
    cuts = np.flatnonzero(np.diff(label[order])) + 1
    return [(faces[some], not is_open[label[some[0]]]) for some in np.split(order, cuts)]


def _fill(
    solid: Bool[np.ndarray, "r r r"], triangles: Triangles, directions: Sequence[Direction]
) -> None:
    """Add to `solid` what more than half of the rays say is inside; looks only where they are."""
    last = np.array(solid.shape) - 1
    low = np.ceil(triangles.min(axis=(0, 1))).astype(int).clip(0, last)
    high = np.floor(triangles.max(axis=(0, 1))).astype(int).clip(0, last)
    if (high < low).any():
        return
    x, y, z = (int(n) for n in high - low + 1)
    moved = triangles - low
    said = np.zeros((x, y, z), np.int64)
    for direction in directions:
        said += votes(moved, (x, y, z), direction)
    there = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
    solid[there] |= said > len(directions)


def _walls(triangles: Triangles, side: int) -> Bool[np.ndarray, "r r r"]:
    """Cells that the surface passes through: where lines through centres or its edges show it.

    Of two neighbouring cells whose centres are on different sides, one is such a cell.
    """
    cells = [_traced(triangles)]
    for direction in AXES:
        found = crossings(triangles, direction)
        cells.append(np.insert(found.lines.astype(float), direction.axis, found.along, axis=1))
    # What lies between two cells, to rounding, has to count to the same one everywhere.
    index = np.floor(np.concatenate(cells) + 0.5 + BETWEEN).astype(int).clip(0, side - 1)
    walls = np.zeros((side,) * 3, bool)
    walls[tuple(index.T)] = True
    return walls


def _traced(triangles: Triangles) -> Float[np.ndarray, "n 3"]:
    """Points along all edges."""
    starts = triangles.reshape(-1, 3)
    steps = np.roll(triangles, -1, axis=1).reshape(-1, 3) - starts
    counts = np.ceil(np.linalg.norm(steps, axis=1) / EDGE_STEP).astype(int) + 1
    owner = np.repeat(np.arange(len(starts)), counts)
    rank = np.arange(len(owner)) - np.repeat(counts.cumsum() - counts, counts)
    share = rank / counts[owner]
    return np.asarray(starts[owner] + share[:, None] * steps[owner])


def _thin(
    solid: Bool[np.ndarray, "r r r"], walls: Bool[np.ndarray, "r r r"]
) -> Bool[np.ndarray, "r r r"]:
    """Walls with nothing solid beside them, and those that join them to what is solid."""
    lone = walls & ~ndimage.binary_dilation(solid, _AROUND)
    lone |= walls & ndimage.binary_dilation(lone, _AROUND)
    return np.asarray(lone)
