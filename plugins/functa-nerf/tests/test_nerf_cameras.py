import math

import pytest
import torch
from nerf_helpers import LENS, UP, Balls, cameras

from functa_nerf.cameras import Lens, Orbit, look_at, orbit_of, rays
from functa_nerf.rendering import depths, render_rays


def project(point, pose, lens):
    """Row and column, in pixels, of a world point: the inverse of what `rays` does."""
    x, y, z = (torch.linalg.inv(pose) @ torch.cat([point, torch.ones(1)]))[:3]
    return float(lens.cy - lens.focal * y / -z), float(lens.cx + lens.focal * x / -z)


def test_the_ray_of_a_pixel_passes_through_what_is_seen_there():
    lens = Lens(focal=30.0, cx=11.0, cy=9.5, height=20, width=24)
    for pose in cameras(5):
        beams = rays(pose[None], lens)[0].reshape(20, 24, 6)
        origin, direction = beams[13, 4, :3], beams[13, 4, 3:]
        row, column = project(origin + 1.2 * direction, pose, lens)
        assert (row, column) == pytest.approx((13.5, 4.5), abs=1e-3)


def test_a_ball_off_centre_appears_where_it_projects_to():
    centre = torch.tensor([0.2, -0.15, 0.1])
    field = Balls([centre.tolist()], radius=0.1)
    poses = cameras(4, seed=2)
    seen = render_rays(field, rays(poses, LENS).flatten(0, 1), depths(0.8, 1.8, 96))
    opacity = seen.weights.sum(-1).reshape(4, 32, 32)
    rows = torch.arange(32) + 0.5
    for view, pose in zip(opacity, poses, strict=True):
        found = ((view.sum(1) @ rows) / view.sum(), (view.sum(0) @ rows) / view.sum())
        assert [float(f) for f in found] == pytest.approx(project(centre, pose, LENS), abs=0.35)
    depth = seen.depth.reshape(4, 32, 32)
    along = [float((pose[:3, 3] - centre) @ pose[:3, 2]) for pose in poses]
    middle = [float((d / o)[o == o.max()][0]) for d, o in zip(depth, opacity, strict=True)]
    for there, seen_at in zip(along, middle, strict=True):  # the front half of the ball is seen
        assert there - 0.1 < seen_at < there


def test_chosen_pixels_are_those_of_the_whole_picture():
    poses, pixels = cameras(3), torch.tensor([[5, 900], [0, 1023], [31, 32]])
    whole = rays(poses, LENS)
    assert torch.equal(
        rays(poses, LENS, pixels), torch.stack([w[p] for w, p in zip(whole, pixels, strict=True)])
    )


def test_look_at_is_a_rotation_without_roll():
    poses = cameras(20).double()
    rotation = poses[:, :3, :3]
    torch.testing.assert_close(
        rotation @ rotation.mT, torch.eye(3).double().expand(20, 3, 3), atol=1e-6, rtol=0
    )
    assert (torch.linalg.det(rotation) > 0).all()
    assert (poses[:, 2, 0].abs() < 1e-6).all()  # right is level
    assert (poses[:, 2, 1] > 0).all()  # up is up


@pytest.mark.parametrize("up", [(0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.6, 0.0, 0.8)])
def test_an_orbit_is_found_from_its_own_cameras(up):
    orbit = Orbit(target=(0.3, -0.2, 0.1), up=up, radius=1.7, elevation=25.0)
    found = orbit_of(orbit.poses(9))
    assert found.target == pytest.approx(orbit.target, abs=1e-5)
    assert found.up == pytest.approx(up, abs=1e-5)
    assert (found.radius, found.elevation) == pytest.approx((1.7, 25.0), abs=1e-4)


def test_one_camera_is_enough_for_an_orbit():
    position = torch.tensor([[1.3, 0.0, 0.0]])
    orbit = orbit_of(look_at(position, torch.zeros(3), UP))
    assert orbit.up == pytest.approx((0, 0, 1), abs=1e-6)
    assert orbit.poses(4).isfinite().all()


def test_an_orbit_keeps_its_distance_and_its_target_in_the_middle():
    orbit = Orbit(target=(0.1, 0.2, 0.3), up=(0.0, 0.0, 1.0), radius=1.3, elevation=30.0)
    for pose in orbit.poses(6):
        row, column = project(torch.tensor(orbit.target), pose, LENS)
        assert (row, column) == pytest.approx((16, 16), abs=1e-3)
        assert float(pose[2, 3]) == pytest.approx(0.3 + 1.3 * math.sin(math.radians(30)), abs=1e-5)


def test_a_resized_lens_sees_the_same():
    lens = Lens(focal=60.0, cx=30.0, cy=34.0, height=64, width=64)
    small = lens.resized(16, 16)
    assert small == Lens(15.0, 7.5, 8.5, 16, 16)
    assert LENS.fitted(64) == Lens(65.625, 32.0, 32.0, 64, 64)
