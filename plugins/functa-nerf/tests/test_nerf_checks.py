"""Poses in another convention are noticed, and others are not."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nerf_helpers import LENS, UP, ball_scene, cameras, inverted, noise_scene, turned

from functa_core import DataSource
from functa_nerf.cameras import Lens, look_at
from functa_nerf.checks import check_poses
from functa_nerf.config import NerfConfig
from functa_nerf.modality import Nerf
from functa_nerf.sight import sight_of_scene
from functa_nerf.silhouettes import explained, silhouettes_of

FURNITURE = Path(os.environ.get("FUNCTA_TEST_DATA", "data")) / "furniture_srn.zip"
"""A real set: FUNCTA_TEST_DATA names the folder that it is in."""
FLIP, ROLL, BOTH = (1, -1, -1), (-1, -1, 1), (-1, 1, -1)


WRONG = {
    "y and z": (lambda s: turned(s, *FLIP), "diag(1, -1, -1, 1)"),
    "x and y": (lambda s: turned(s, *ROLL), "diag(-1, -1, 1, 1)"),
    "x and z": (lambda s: turned(s, *BOTH), "diag(-1, 1, -1, 1)"),
    "inverted": (inverted, "invert each matrix"),
    "inverted, y and z": (lambda s: inverted(turned(s, *FLIP)), "invert each matrix"),
    "inverted, read with y and z": (
        lambda s: turned(inverted(turned(s, *FLIP)), *FLIP),
        "invert each matrix",
    ),
}


@pytest.mark.parametrize("shift", [0.0, 2.0])
@pytest.mark.parametrize("what", WRONG)
def test_each_wrong_convention_is_named_with_its_cure(nerf, what, shift):
    spoil, cure = WRONG[what]
    scenes = [spoil(moved(scene, shift)) for scene in nerf.dataset("train")]
    (note,) = check_poses(scenes)
    assert cure in note


def moved(scene, shift):
    poses = scene.poses.clone()
    poses[:, :3, 3] += shift
    return type(scene)(scene.id, scene.images, poses, scene.lens)


@pytest.mark.parametrize("shift", [0.0, 2.0])
@pytest.mark.parametrize("views", [1, 2, 3, 16])
def test_right_poses_are_not_blamed(nerf, views, shift):
    scenes = [moved(scene.thinned(views), shift) for scene in nerf.dataset("train")]
    assert check_poses(scenes) == []
    assert check_poses(scenes[:1]) == []


@pytest.mark.parametrize("what", ["y and z", "inverted", "inverted, y and z"])
def test_without_silhouettes_the_axes_tell(what):
    spoil, cure = WRONG[what]
    scenes = [noise_scene(cameras(8, seed), LENS) for seed in range(4)]
    assert check_poses(scenes) == []
    (note,) = check_poses([spoil(scene) for scene in scenes])
    assert cure in note


def test_scenes_of_one_view_are_judged_together():
    views = [noise_scene(cameras(1, seed), LENS) for seed in range(12)]
    assert check_poses(views) == []
    (note,) = check_poses([turned(view, *FLIP) for view in views])
    assert "diag(1, -1, -1, 1)" in note


@pytest.mark.skipif(not FURNITURE.exists(), reason="the furniture set is not at hand")
def test_the_furniture_set():
    scenes = list(Nerf(NerfConfig(), DataSource(FURNITURE)).dataset("train"))
    assert check_poses(scenes) == []
    for spoil, cure in WRONG.values():
        (note,) = check_poses([spoil(scene) for scene in scenes])
        assert cure in note


positions = st.integers(0, 10_000)


@given(positions, st.integers(2, 12), st.floats(0.0, 0.15), st.floats(20.0, 120.0), st.booleans())
@settings(max_examples=40, deadline=None)
def test_random_rigs_are_not_blamed(seed, views, jitter, focal, symmetric):
    """Cameras anywhere around, not quite aimed, rolled, with any lens; one ball or several."""
    rng = np.random.default_rng(seed)
    poses = rolled(cameras(views, seed, radius=rng.uniform(1, 4)), rng, jitter)
    lens = Lens(focal, 16, 16, 32, 32)
    reach = float(poses[:, :3, 3].norm(dim=-1).min()) * 16 / focal
    balls = [(torch.zeros(3), 0.3 * reach)]
    if not symmetric:
        balls += [(rng.uniform(-0.4, 0.4, 3) * reach, 0.1 * reach) for _ in range(3)]
    assert check_poses([ball_scene(poses, lens, balls)]) == []
    assert check_poses([noise_scene(poses, lens)]) == []


def rolled(poses, rng, jitter):
    """Poses with a random roll each and an error of aim, in radians."""
    turns = torch.eye(4).repeat(len(poses), 1, 1)
    for turn, angle in zip(turns, rng.uniform(0, 2 * np.pi, len(poses)), strict=True):
        turn[:2, :2] = torch.tensor(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
    tilt, _ = torch.linalg.qr(torch.eye(3) + jitter / 3 * torch.from_numpy(rng.normal(size=(3, 3))))
    tilt = tilt * torch.sign(torch.diagonal(tilt))
    turned_away = torch.eye(4)
    turned_away[:3, :3] = tilt.float()
    return (poses @ turns @ turned_away).float()


@given(positions, st.integers(2, 12), st.floats(0.0, 0.05))
@settings(max_examples=30, deadline=None)
def test_cameras_that_face_one_way_are_not_blamed(seed, views, spread):
    """Side by side, as from a moving car: towards each other, parallel, or a little apart."""
    rng = np.random.default_rng(seed)
    places = torch.tensor(rng.uniform(-1, 1, (views, 3)) * [1, 0.1, 1], dtype=torch.float32)
    aims = places * (1 + rng.uniform(-spread, spread)) - torch.tensor([0.0, 6.0, 0.0])
    poses = torch.cat([look_at(p[None], a, UP) for p, a in zip(places, aims, strict=True)])
    assert check_poses([noise_scene(poses, LENS)]) == []


def test_nothing_to_look_at():
    assert check_poses([]) == []
    assert check_poses([noise_scene(cameras(1), LENS)]) == []


def test_silhouettes_fit_together_under_their_own_poses_only():
    poses = cameras(8, seed=3)
    scene = ball_scene(poses, LENS, [((0.2, 0.1, 0.2), 0.2), ((-0.3, 0.0, -0.1), 0.1)])
    seen = silhouettes_of(scene)
    assert explained(seen, poses, sight_of_scene(scene)) > 0.99
    shuffled = poses.roll(1, dims=0)
    other = noise_scene(shuffled, LENS)
    assert explained(seen, shuffled, sight_of_scene(other)) < 0.7


def test_silhouettes_are_what_differs_from_a_plain_background():
    poses = cameras(4)
    scene = ball_scene(poses, LENS, [((0.0, 0.0, 0.0), 0.3)])
    masks = silhouettes_of(scene).masks
    assert torch.equal(masks, (scene.images != 255).any(dim=-1))
    black = type(scene)("black", 255 - scene.images, poses, LENS)
    assert torch.equal(silhouettes_of(black).masks, masks)
    fine = Lens(LENS.focal * 4, 64, 64, 128, 128)
    coarse = silhouettes_of(ball_scene(poses, fine, [((0.0, 0.0, 0.0), 0.3)]))
    assert coarse.masks.shape == (4, 32, 32)
    assert coarse.lens == LENS
    assert silhouettes_of(noise_scene(poses, LENS)) is None
    cut_off = ball_scene(poses, LENS, [((0.0, 0.0, 0.0), 0.6)])
    assert silhouettes_of(cut_off) is None
    assert silhouettes_of(ball_scene(poses, LENS, [])) is None
