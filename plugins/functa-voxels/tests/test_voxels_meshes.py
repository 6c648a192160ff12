"""Solid voxels from meshes: volumes that are known, and meshes as they come."""

from typing import Any

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from trimesh.transformations import rotation_matrix, translation_matrix

from functa_voxels.crossings import AXES, DIRECTIONS, crossings
from functa_voxels.voxelising import MARGIN, voxelise


def joined(meshes: list[Any]) -> Any:
    return trimesh.util.concatenate(meshes)


SIDE = 64  # the longest extent is then 60 cells, and no face lies on their centres


def solid(mesh: trimesh.Trimesh, side: int = SIDE) -> np.ndarray:
    return voxelise(np.asarray(mesh.vertices, float), np.asarray(mesh.faces), side)


def volume(mesh: trimesh.Trimesh, side: int = SIDE) -> float:
    """Of the voxels, in the mesh's own unit."""
    cell = mesh.extents.max() / ((1 - 2 * MARGIN) * side)
    return float(solid(mesh, side).sum() * cell**3)


def box(*extents, at=(0, 0, 0)) -> trimesh.Trimesh:
    return trimesh.creation.box(extents, transform=translation_matrix(at))


def without(mesh: trimesh.Trimesh, axis: int, above: float) -> trimesh.Trimesh:
    """A mesh without its triangles beyond a plane."""
    open_one = mesh.copy()
    open_one.update_faces(mesh.triangles_center[:, axis] < above)
    return open_one


CUBE = box(1, 1, 1)
SPHERE = trimesh.creation.icosphere(4)
TORUS = trimesh.creation.torus(1, 0.35, 64, 32)
TURNED = TORUS.copy().apply_transform(rotation_matrix(0.7, (1, 2, 3)))
FLIPPED = SPHERE.copy()
FLIPPED.faces = np.where(
    np.arange(len(SPHERE.faces))[:, None] % 2, SPHERE.faces[:, ::-1], SPHERE.faces
)
DOUBLED = joined([without(CUBE, 2, 0.49)] * 2)
SOUP = CUBE.copy()
SOUP.unmerge_vertices()
OVERLAPPING = joined([CUBE, box(1, 1, 1, at=(0.5, 0.5, 0.5))])
HOLLOW = joined([CUBE, box(0.6, 0.6, 0.6)])
CAP = np.pi * 0.5**2 * (3 - 0.5) / 3  # of the unit sphere, beyond 0.5


@pytest.mark.parametrize(
    ("mesh", "expected", "tolerance"),
    [
        pytest.param(CUBE, 1, 0.001, id="cube"),
        pytest.param(box(1, 0.7, 0.4), 0.28, 0.05, id="box"),
        pytest.param(SPHERE, SPHERE.volume, 0.015, id="sphere"),
        pytest.param(TORUS, TORUS.volume, 0.025, id="torus"),
        pytest.param(TURNED, TORUS.volume, 0.015, id="torus, turned"),
        pytest.param(FLIPPED, SPHERE.volume, 0.015, id="sphere with triangles inside out"),
        pytest.param(SOUP, 1, 0.001, id="triangles without common corners"),
        pytest.param(OVERLAPPING, 2 - 0.125, 0.001, id="overlapping cubes"),
        pytest.param(HOLLOW, 1, 0.001, id="a cavity"),
        pytest.param(without(CUBE, 2, 0.49), 1, 0.001, id="open box"),
        pytest.param(DOUBLED, 1, 0.001, id="open box drawn twice"),
        pytest.param(without(SPHERE, 2, 0.5), SPHERE.volume - CAP, 0.015, id="cut sphere"),
    ],
)
def test_volumes(mesh, expected, tolerance):
    assert volume(mesh) == pytest.approx(expected, rel=tolerance)


def test_walls_that_are_not_joined():
    """Six sheets around nothing: no part of its own is closed, and the corners gape."""
    sheets = []
    for axis in range(3):
        for sign in (-1, 1):
            place, size = np.zeros(3), np.full(3, 0.96)
            place[axis], size[axis] = 0.5 * sign, 1e-9
            sheet = box(*size, at=place)
            kept = np.abs(sheet.face_normals[:, axis]) > 0.5
            sheet.update_faces(kept & (sheet.triangles_center[:, axis] * sign >= 0.5))
            sheets.append(sheet)
    assert volume(joined(sheets)) == pytest.approx(1, rel=0.05)


def test_a_sheet_is_one_cell_thick():
    sheet = CUBE.copy()
    sheet.update_faces(CUBE.triangles_center[:, 2] > 0.49)
    cells = solid(sheet)
    assert cells.any(axis=(0, 1)).sum() == 1
    assert cells.sum() == pytest.approx(((1 - 2 * MARGIN) * SIDE) ** 2, rel=0.05)


def test_a_wire_hangs_together_with_what_it_is_fixed_to():
    lollipop = joined([CUBE, box(0.005, 0.005, 1.2, at=(0.01, 0.02, 1))])
    cells = solid(lollipop)
    assert ndimage.label(cells, np.ones((3, 3, 3)))[1] == 1
    assert cells.any(axis=(0, 1)).sum() == pytest.approx((1 - 2 * MARGIN) * SIDE, abs=1.01)


def test_a_concave_shape_is_not_filled_up():
    """Rays between a seat and a back are mostly blocked, and yet nothing is there."""
    seat, back = box(1, 1, 0.15), box(1, 0.15, 1, at=(0, 0.425, 0.425))
    cells = solid(joined([seat, back]))
    middle = SIDE // 2
    corner = cells[middle, middle : middle + 12, middle - 6 :]
    assert not corner[:8, 8:].any()


def test_where_a_mesh_comes_to_lie():
    flat = box(30, 16, 8, at=(7, -3, 100))
    filled = np.argwhere(solid(flat, 32))
    assert filled.min(axis=0).tolist() == [1, 8, 12]
    assert filled.max(axis=0).tolist() == [30, 23, 19]


@given(st.integers(0, 10**6), st.sampled_from(DIRECTIONS))
@settings(max_examples=25, deadline=None)
def test_lines_cross_a_closed_surface_an_even_number_of_times(seed, direction):
    """Also a surface of corners at whole numbers, which lines would meet exactly."""
    rng = np.random.default_rng(seed)
    mesh = trimesh.creation.icosphere(1) if seed % 2 else CUBE.copy()
    corners = np.asarray(mesh.vertices) * rng.integers(2, 9) + rng.integers(0, 5, 3)
    found = crossings(corners.round()[mesh.faces] if seed % 3 else corners[mesh.faces], direction)
    _, counts = np.unique(found.lines, axis=0, return_counts=True)
    assert (counts % 2 == 0).all()


def test_crossings_are_where_ray_tracing_finds_them():
    corners = np.asarray(TURNED.vertices) * 5 + 8.123
    for direction in AXES:
        found = crossings(corners[TURNED.faces], direction)
        moved = trimesh.Trimesh(corners, TURNED.faces, process=False)
        origins = np.insert(found.lines[:40].astype(float), direction.axis, -10, axis=1)
        ways = np.zeros_like(origins)
        ways[:, direction.axis] = 1
        places, rays, _ = moved.ray.intersects_location(origins, ways)
        for i in range(40):
            nearest = np.abs(places[rays == i][:, direction.axis] - found.along[i]).min()
            assert nearest < 1e-3
