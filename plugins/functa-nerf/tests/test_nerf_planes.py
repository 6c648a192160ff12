"""Near and far, derived from cameras."""

import math

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nerf_helpers import (
    LENS,
    UP,
    ball_scene,
    cameras,
    inverted,
    noise_scene,
    turned,
    write_scene,
)

from functa_core import DataSource, UserError
from functa_nerf.cameras import Lens, look_at
from functa_nerf.config import NerfConfig
from functa_nerf.modality import Nerf
from functa_nerf.planes import Undetermined, depth_range, range_notes
from functa_nerf.sight import sight_of_scene

SYNTHETIC = Lens(0.5 * 800 / math.tan(0.5 * 0.6911112), 400, 400, 800, 800).resized(20, 20)
"""That of the synthetic scenes of NeRF (camera_angle_x 0.6911112), whose cameras are 4.03 away."""


def test_the_embedded_set_has_the_depths_that_it_was_made_with(nerf):
    """Objects fill a sphere of diameter 1, seen from 1.3: 0.8 to 1.8, and half a pixel."""
    near, far = nerf.state["near"], nerf.state["far"]
    assert 0.78 <= near <= 0.8
    assert 1.8 <= far <= 1.825


@pytest.mark.parametrize(
    ("lens", "distance", "expected"),
    [
        # SRN's cars, which the paper samples from 0.8 to 1.8; and NeRF's scenes, from 2 to 6.
        (Lens(131.25, 64, 64, 128, 128), 1.3, (0.73, 1.87)),
        (SYNTHETIC, 4.03, (2.66, 5.4)),
        # A wide picture: what is above and below its shorter side is not seen.
        (Lens(131.25, 96, 64, 128, 192), 1.3, (0.73, 1.87)),
    ],
)
def test_without_silhouettes_the_object_fills_what_every_picture_shows(lens, distance, expected):
    scene = noise_scene(cameras(12, radius=distance), lens)
    assert depth_range([scene], None, None) == expected


@given(
    st.floats(0.08, 0.35),
    st.floats(1.2, 3.0),
    st.tuples(*[st.floats(-5, 5)] * 3),
    st.integers(0, 50),
)
@settings(max_examples=20, deadline=None)
def test_planes_hold_the_object_and_little_more(share, distance, target, seed):
    radius = share * distance
    poses = cameras(16, seed, distance)
    poses[:, :3, 3] += torch.tensor(target)
    planes = depth_range([ball_scene(poses, LENS, [(target, radius)])], None, None)
    pixel = distance / LENS.focal
    assert planes == pytest.approx((distance - radius, distance + radius), abs=1.1 * pixel)


def test_the_depth_is_along_the_axis_so_that_it_holds_for_rays_through_corners():
    scene = noise_scene(cameras(8), LENS)
    sight = sight_of_scene(scene)
    points = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator()), dim=-1)
    for pose in scene.poses:
        depth = (pose[:3, 3] - points * sight.radius) @ pose[:3, 2]
        assert depth.min() >= sight.nearest - sight.radius - 1e-6
        assert depth.max() <= sight.furthest + sight.radius + 1e-6


def test_cameras_at_several_distances_and_scenes_at_several_places():
    one, two = noise_scene(cameras(6, radius=1.0), LENS), noise_scene(cameras(6, radius=3.0), LENS)
    moved = attrs.evolve(two, poses=two.poses.clone())
    moved.poses[:, :3, 3] += torch.tensor([100.0, 0.0, 20.0])
    near, far = depth_range([one, moved], None, None)
    alone = depth_range([two], None, None)
    assert far == alone[1]
    assert 0 < near < 1
    mixed = noise_scene(torch.cat([one.poses, two.poses]), LENS)
    near, far = depth_range([mixed], None, None)
    assert near < 1 - sight_of_scene(one).radius + 1e-3
    assert far > 3


def test_one_plane_can_be_set_and_the_other_derived():
    scene = noise_scene(cameras(8), LENS)
    near, far = depth_range([scene], None, None)
    assert depth_range([scene], 0.5, None) == (0.5, far)
    assert depth_range([scene], None, 5.0) == (near, 5.0)
    assert depth_range([scene.only([0])], 0.5, 0.7) == (0.5, 0.7)
    for planes, name in (((2.5, None), "near"), ((None, 0.2), "far")):
        with pytest.raises(UserError, match=rf"modality\.{name} leaves no depth") as refused:
            depth_range([scene], *planes)
        assert len(str(refused.value).splitlines()) <= 2


def parallel(count=6):
    return look_at(torch.tensor([[0.1 * i, 5.0, 0.0] for i in range(count)]), torch.zeros(3), UP)


def panning(count=8):
    angles = torch.arange(count) * 0.7
    ahead = torch.stack([angles.cos(), angles.sin(), torch.zeros(count)], dim=-1)
    return torch.stack([look_at(a[None] * 0, a, UP)[0] for a in ahead])


def aside(count=12):
    """Each camera turned by 70 degrees about its own vertical, to one side or the other."""
    poses = cameras(count)
    for i, pose in enumerate(poses):
        angle = torch.tensor(1.2 if i % 2 else -1.2)
        right, back = pose[:3, 0].clone(), pose[:3, 2].clone()
        pose[:3, 0] = angle.cos() * right + angle.sin() * back
        pose[:3, 2] = angle.cos() * back - angle.sin() * right
    return poses


UNDERIVABLE = {
    "single": (noise_scene(cameras(1), LENS), "a single view"),
    "parallel": (noise_scene(parallel(), LENS), "nearly the same direction"),
    "away": (turned(noise_scene(cameras(8), LENS), 1, -1, -1), "look away"),
    "inverted": (inverted(noise_scene(cameras(8), LENS)), "at one point"),
    "panning": (noise_scene(panning(), LENS), "at one point"),
    "scattered": (noise_scene(aside(), LENS), "do not look at one point"),
}


@pytest.mark.parametrize("what", UNDERIVABLE)
def test_cameras_that_do_not_say_it(what):
    scene, words = UNDERIVABLE[what]
    with pytest.raises(Undetermined, match=words) as refused:
        depth_range([scene], None, None)
    assert len(str(refused.value).splitlines()) == 2


def test_scenes_of_one_view_stand_for_each_other():
    whole = noise_scene(cameras(10), LENS)
    assert depth_range([whole.only([i]) for i in range(10)], None, None) == (0.73, 1.87)


@pytest.fixture
def outwards(tmp_path):
    """Files whose cameras look away from what they surround."""
    for part in ("a_train/0", "a_test/1"):
        folder = write_scene(tmp_path / "d" / part, views=6, side=16)
        for path in folder.glob("pose/*.txt"):
            pose = torch.tensor([float(v) for v in path.read_text().split()]).reshape(4, 4)
            turned_round = pose * torch.tensor([1.0, -1.0, -1.0, 1.0])
            path.write_text(" ".join(f"{v:.8f}" for v in turned_round.flatten().tolist()))
    return tmp_path / "d"


def test_what_cannot_be_derived_is_an_error_of_training_but_can_be_inspected(outwards, make_nerf):
    run = make_nerf(outwards)
    train = run.dataset("train")
    assert "could not be derived" in run.describe(train)["rays"]
    assert run.observations([train[0]]).count == 6 * 256
    with pytest.raises(UserError, match="look away") as refused:
        _ = run.spec
    message = str(refused.value)
    assert "diag(1, -1, -1, 1)" in message
    assert "modality.near and modality.far" in message
    assert len(message.splitlines()) == 2
    assert make_nerf(outwards, near=0.5, far=2.0).spec.domain.high[0] > 1


def test_new_data_of_another_scale_is_noted(nerf, tmp_path):
    write_scene(tmp_path / "s", views=6, side=32)
    assert not Nerf(nerf.config, DataSource(tmp_path), nerf.state).dataset("all").notes[1:]
    large = noise_scene(cameras(6, radius=4.0), LENS)
    (note,) = range_notes([large], nerf.state["near"], nerf.state["far"])
    assert "depth 4" in note
    assert not list(range_notes([large], None, None))
    assert not list(range_notes([], 1.0, 2.0))
    assert not list(range_notes([large.only([0])], 1.0, 2.0))


def test_the_state_of_an_unset_plane_is_a_number(make_nerf):
    assert make_nerf(near=0.5).state["near"] == 0.5
    assert make_nerf(near=0.5).state["far"] == pytest.approx(1.82)
    assert NerfConfig().near is None
