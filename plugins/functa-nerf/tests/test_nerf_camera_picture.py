"""The picture of the cameras."""

import attrs
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from nerf_helpers import LENS, ball_scene, cameras, inverted, noise_scene, turned
from PIL import Image

from functa_nerf import camera_picture
from functa_nerf.camera_picture import ALARM, FITTED, HIDDEN, SAMPLED, _stage, write_cameras


def colours_in(path):
    """The shares of the picture that have the colours of the drawing."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return {
        name: (np.abs(pixels - np.round(np.array(to_rgb(name)) * 255)).max(axis=-1) <= 3).mean()
        for name in (FITTED, HIDDEN, SAMPLED, ALARM)
    }


def balls(poses):
    return ball_scene(poses, LENS, [((0.0, 0.0, 0.0), 0.3)])


def test_it_shows_cameras_hidden_views_and_depths(nerf, tmp_path):
    (made,) = nerf.preview(nerf.dataset("train"), tmp_path)
    assert (made.path.name, made.media_type) == ("cameras.png", "image/png")
    assert "chair-000" in made.caption
    shares = colours_in(made.path)
    assert min(shares[name] for name in (FITTED, HIDDEN, SAMPLED)) > 1e-3
    assert shares[ALARM] == 0


def test_it_says_in_red_what_is_wrong(tmp_path):
    wrong = turned(balls(cameras(6)), 1, -1, -1)
    made = write_cameras(wrong, (None, None), 4, tmp_path / "c.png")
    shares = colours_in(made.path)
    assert "look away" in made.caption
    assert shares[ALARM] > 1e-4
    assert shares[SAMPLED] == 0


def test_without_hidden_views_there_is_no_colour_for_them(tmp_path):
    scene = attrs.evolve(balls(cameras(5)), for_test=torch.zeros(5, dtype=torch.bool))
    path = write_cameras(scene, (0.8, 1.8), 4, tmp_path / "c.png").path
    assert colours_in(path)[HIDDEN] == 0


@pytest.mark.parametrize(
    "scene",
    [
        noise_scene(cameras(1), LENS),
        noise_scene(cameras(300), LENS),
        inverted(balls(cameras(6))),
        noise_scene(cameras(2, radius=1e4), LENS),
        noise_scene(torch.eye(4).repeat(3, 1, 1), LENS),
    ],
)
def test_odd_rigs_can_be_drawn(scene, tmp_path):
    made = write_cameras(scene, (None, None), 4, tmp_path / "c.png")
    with Image.open(made.path) as image:
        assert image.size == (1040, 580)


def test_the_drawing_has_the_target_in_the_middle_and_up_upwards():
    poses = cameras(12)
    lying = torch.tensor([[1.0, 0, 0, 5], [0, 0, -1, 6], [0, 1, 0, 7], [0, 0, 0, 1]]) @ poses
    stage = _stage(balls(lying), 4)
    np.testing.assert_allclose(np.linalg.norm(stage.poses[:, :3, 3], axis=1), 1.3, atol=1e-5)
    np.testing.assert_allclose(stage.poses[:, 2, 3], poses[:, 2, 3].numpy(), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(stage.world), 1)
    np.testing.assert_allclose(stage.world[1], (0, 0, -1), atol=1e-6)  # their y went down
    assert stage.hidden.tolist() == [False, False, False, True] * 3


def test_frusta_open_towards_what_cameras_look_at():
    stage = _stage(balls(cameras(8)), 4)
    for hidden in (False, True):
        sides = stage.frusta(hidden).reshape(-1, 4, 3, 3)
        places = stage.poses[stage.hidden == hidden][:, :3, 3]
        np.testing.assert_allclose(sides[:, :, 0], np.repeat(places[:, None], 4, axis=1))
        base = sides[:, :, 1].mean(axis=1)
        np.testing.assert_allclose(base, places * (1 - camera_picture.FRUSTUM), atol=1e-5)
        roof = stage.roofs(hidden)
        assert (roof[:, 1, 2] > base[:, 2]).all()
        assert len(roof) == len(places)
    ends = stage.axes(0.8, 1.8)
    np.testing.assert_allclose(np.linalg.norm(ends, axis=-1), [[0.5, 0.5]] * 8, atol=1e-5)
