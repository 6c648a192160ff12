import json
import math
import struct

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from nerf_helpers import LENS, Balls, SoftBall

from functa_nerf.cameras import Orbit
from functa_nerf.glb import linear_bytes, upright, write_glb
from functa_nerf.meshing import surface
from functa_nerf.outlines import OUTLINE_OPACITY, Ball, outline_level, visible_ball

ORBIT = Orbit((0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 1.3, 25.0)
WHERE = Ball((0.0, 0.0, 0.0), 0.5)


def mesh_of(found):
    return trimesh.Trimesh(found.vertices, found.faces, process=False)


def test_a_ball_has_its_volume_colours_and_outward_normals():
    field = SoftBall(centre=(0.02, -0.03, 0.01))
    found = surface(field, WHERE, 5.0, 32)
    mesh = mesh_of(found)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.45**3, rel=0.02)
    offsets = found.vertices - field.centre.numpy()
    np.testing.assert_allclose(np.linalg.norm(offsets, axis=1), 0.45, atol=0.005)
    outwards = offsets / np.linalg.norm(offsets, axis=1, keepdims=True)
    assert ((found.normals * outwards).sum(axis=1) > 0.99).all()
    expected = field.colour(torch.tensor(found.vertices).float()).numpy()
    np.testing.assert_allclose(found.colours, expected, atol=0.03)


@pytest.mark.parametrize("at_once", [100, 2000, 10_000])
def test_slabs_fit_each_other(monkeypatch, at_once):
    field = SoftBall(centre=(0.02, -0.03, 0.01), radius=0.3)
    whole = surface(field, WHERE, 5.0, 20)
    monkeypatch.setattr("functa_nerf.meshing.POINTS_AT_ONCE", at_once)
    field.asked.clear()
    sliced = surface(field, WHERE, 5.0, 20)
    assert max(shape[-2] for shape in field.asked) <= at_once
    assert (len(sliced.vertices), len(sliced.faces)) == (len(whole.vertices), len(whole.faces))
    distances = np.linalg.norm(sliced.vertices[:, None] - whole.vertices, axis=-1)
    assert distances.min(axis=1).max() < 1e-6
    assert mesh_of(sliced).is_watertight
    assert mesh_of(sliced).volume == pytest.approx(mesh_of(whole).volume, rel=1e-6)


def test_what_goes_on_beyond_the_ball_is_cut_there_and_closed():
    everywhere = SoftBall(radius=10.0)
    found = surface(everywhere, Ball((0.1, 0.0, 0.0), 0.4), 5.0, 32)
    mesh = mesh_of(found)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.4**3, rel=0.02)
    np.testing.assert_allclose(mesh.center_mass, [0.1, 0, 0], atol=1e-3)


def test_dust_and_cavities_are_left_out():
    class Dusty(SoftBall):
        def __call__(self, coords):
            dust = SoftBall(centre=(0.42, 0.0, 0.0), radius=0.05)(coords)
            return torch.maximum(super().__call__(coords), dust)

    plain = surface(SoftBall(radius=0.3), WHERE, 5.0, 40)
    dusty = surface(Dusty(radius=0.3, hole=0.1), WHERE, 5.0, 40)
    assert mesh_of(dusty).body_count == 1
    assert mesh_of(dusty).volume == pytest.approx(mesh_of(plain).volume, rel=1e-3)


def test_without_density_there_is_no_surface():
    empty = SoftBall(level=-50.0, slope=0.0)
    assert surface(empty, WHERE, 1.0, 16) is None
    assert outline_level(empty, WHERE, ORBIT, LENS, 0.8, 1.8) is None
    diverged = SoftBall(level=math.nan)
    assert surface(diverged, WHERE, 1.0, 16) is None
    assert outline_level(diverged, WHERE, ORBIT, LENS, 0.8, 1.8) is None


def test_the_level_gives_the_outline_that_views_have():
    field = SoftBall(radius=0.25, slope=20.0)
    level = outline_level(field, WHERE, ORBIT, LENS, 0.8, 1.8)
    shown = 0.25 - (level - 5.0) / 20.0  # where the density is the level
    # The distance from the centre at which a ray is as opaque as outlines are.
    along = torch.linspace(-0.8, 0.8, 4001)
    across = torch.linspace(0, 0.6, 601)[:, None]
    distance = (along**2 + across**2).sqrt()
    depth = (5 + 20 * (0.25 - distance)).clamp(0, 10).sum(dim=1) * (1.6 / 4000)
    opaque = float(across[-torch.expm1(-depth) > OUTLINE_OPACITY].max())
    assert shown == pytest.approx(opaque, abs=0.04)  # half a pixel of what is compared


def test_the_visible_ball_is_seen_whole_and_no_larger_one_is():
    for near, far, elevation in ((0.8, 1.8, 25.0), (0.3, 3.0, 0.0), (0.3, 1.5, 60.0)):
        orbit = Orbit((0.2, -0.1, 0.3), (0.0, 0.0, 1.0), 1.3, elevation)
        ball = visible_ball(orbit, LENS, near, far)
        for scale, seen in ((0.999, True), (1.02, False)):
            points = trimesh.creation.icosphere(4, radius=ball.radius * scale).vertices
            inside = []
            for pose in orbit.poses(8).double().numpy():
                x, y, z = (pose[:3, :3].T @ (points + ball.centre - pose[:3, 3]).T) * [
                    [1],
                    [-1],
                    [-1],
                ]
                column, row = LENS.cx + LENS.focal * x / z, LENS.cy + LENS.focal * y / z
                inside.append((z >= near) & (z <= far) & (abs(column - 16) <= 16))
                inside.append(abs(row - 16) <= 16)
            assert np.all(inside) == seen


def test_a_target_out_of_range_has_no_visible_ball():
    assert visible_ball(ORBIT, LENS, 1.4, 1.8) is None
    assert visible_ball(ORBIT, LENS, 0.3, 1.2) is None


def test_a_glb_is_upright_and_has_the_colours_of_the_views(tmp_path):
    field = SoftBall(centre=(0.1, 0.2, 0.15), radius=0.2)
    found = surface(field, WHERE, 5.0, 32)
    write_glb(found, [0.0, 0.0, 1.0], tmp_path / "ball.glb")
    scene = trimesh.load_scene(tmp_path / "ball.glb")
    (mesh,) = scene.geometry.values()
    np.testing.assert_allclose(mesh.vertices, found.vertices, atol=1e-6)
    np.testing.assert_allclose(mesh.vertex_normals, found.normals, atol=1e-3)
    placed = scene.to_mesh()
    # World (x, y, z) with z up is glTF's (x, z, −y).
    np.testing.assert_allclose(
        placed.vertices, found.vertices[:, [0, 2, 1]] * [1, 1, -1], atol=1e-6
    )
    np.testing.assert_allclose(placed.center_mass, [0.1, 0.15, -0.2], atol=2e-3)
    assert placed.volume == pytest.approx(4 / 3 * math.pi * 0.2**3, rel=0.02)
    linear = mesh.visual.vertex_attributes["color"][:, :3] / 255
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(shown, found.colours, atol=0.03)


def test_a_glb_shows_colours_without_light(tmp_path):
    write_glb(surface(SoftBall(), WHERE, 5.0, 8), (0.0, 1.0, 0.0), tmp_path / "ball.glb")
    data = (tmp_path / "ball.glb").read_bytes()
    (length,) = struct.unpack("<I", data[12:16])
    tree = json.loads(data[20 : 20 + length])
    (material,) = tree["materials"]
    assert material["extensions"] == {"KHR_materials_unlit": {}}
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0
    (primitive,) = tree["meshes"][0]["primitives"]
    assert {"POSITION", "NORMAL", "COLOR_0"} <= set(primitive["attributes"])


def test_vertex_colours_are_linear():
    # IEC 61966-2-1: sRGB 188/255 is half the light.
    levels = np.array([[0.0, 0.04, 0.5], [188 / 255, 0.9, 1.0]])
    assert linear_bytes(levels).tolist() == [[0, 1, 55], [128, 201, 255]]


@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 1e-3))
def test_upright_is_a_rotation_that_takes_up_to_y(direction):
    up = np.array(direction) / np.linalg.norm(direction)
    turn = upright(tuple(up.tolist()))
    np.testing.assert_allclose(turn[:3, :3] @ up, [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(turn[:3, :3] @ turn[:3, :3].T, np.eye(3), atol=1e-6)
    assert np.linalg.det(turn) == pytest.approx(1)


@pytest.mark.parametrize(
    "up", [(0.0, -1.0, 0.0), (0.0, 1.0, 0.0), (1.9e-6, -1.0, 0.0), (0.0, -1.0, 1e-12)]
)
def test_upright_along_y(up):
    turn = upright(up)[:3, :3]
    np.testing.assert_allclose(turn @ up, [0, 1, 0], atol=1e-15)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-11)


def test_several_parts_are_kept():
    class Two(SoftBall):
        def __call__(self, coords):
            other = SoftBall(centre=(-0.25, 0.0, 0.0), radius=0.15)(coords)
            return torch.maximum(super().__call__(coords), other)

    found = surface(Two(centre=(0.2, 0.0, 0.0), radius=0.2), WHERE, 5.0, 40)
    assert mesh_of(found).body_count == 2


def test_a_black_background_shines_through_black():
    faint = Balls([[0.0, 0.0, 0.0]], radius=0.05, colour=(0.5, 0.5, 0.5))
    white = surface(faint, WHERE, 5.0, 64).colours.mean()
    black = surface(faint, WHERE, 5.0, 64, white_background=False).colours.mean()
    assert white > 0.6
    assert black < 0.4
