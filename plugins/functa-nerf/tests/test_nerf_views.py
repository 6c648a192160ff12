import json
import math

import attrs
import pytest
import torch
from nerf_helpers import Balls, Waves

from functa_nerf.cameras import rays
from functa_nerf.modality import Nerf
from functa_nerf.outputs import Outputs
from functa_nerf.rendering import MAX_DENSITY


@pytest.fixture
def few(nerf):
    """The modality with three views a turn, its state from JSON."""
    config = attrs.evolve(nerf.config, orbit_views=3)
    return Nerf(config, nerf.source, json.loads(json.dumps(nerf.state)))


def test_a_view_is_what_its_rays_see(few):
    table = few._turntable
    for view, pose in zip(table.turn(Waves(1), 9), table.poses, strict=True):
        seen = few._render(Waves(1), rays(pose[None], table.lens.fitted(9))[0])
        torch.testing.assert_close(view.colour.reshape(-1, 3), seen.colour[0])
        torch.testing.assert_close(view.opacity.flatten(), seen.weights[0].sum(-1))


@pytest.mark.parametrize("resolution", [1, 8, 33, 100])
def test_points_asked_at_once_are_bounded_at_every_resolution(few, monkeypatch, resolution):
    field = Balls([[0.1, 0.0, 0.0], [0.0, 0.2, 0.0]], radius=0.2)
    whole = few.decode(field, resolution)
    field.asked.clear()
    monkeypatch.setattr("functa_nerf.views.POINTS_AT_ONCE", 4096)
    assert torch.equal(few.decode(field, resolution), whole)
    points = [shape[-2] for shape in field.asked]
    assert max(points) <= 4096
    assert sum(points) == 2 * 3 * resolution**2 * few.config.points_per_ray


@pytest.mark.parametrize("resolution", [None, 40])
def test_files_of_a_scene_ask_for_a_bounded_number_of_points(
    few, monkeypatch, tmp_path, resolution
):
    field = Balls([[0.1, 0.0, 0.0]], radius=0.2)
    for module in ("views", "meshing"):
        monkeypatch.setattr(f"functa_nerf.{module}.POINTS_AT_ONCE", 70_000)
    Outputs(few._turntable, few.config, tmp_path).scene(field, "ball", resolution)
    assert max(shape[-2] for shape in field.asked) <= 70_000


def test_depth_and_opacity_of_a_ball_are_those_of_the_formula(nerf):
    fine = Nerf(attrs.evolve(nerf.config, points_per_ray=800), nerf.source, nerf.state)
    table, radius = fine._turntable, 0.25
    view = next(iter(table.turn(Balls([[0.0, 0.0, 0.0]], radius=radius), 9)))
    # Through the centre: a chord of length 2r in constant density, entered at distance − r.
    chord = 2 * radius
    through = math.exp(-MAX_DENSITY * chord)
    depth = table.orbit.radius - radius + 1 / MAX_DENSITY - chord * through / (1 - through)
    assert float(view.opacity[4, 4]) == pytest.approx(1 - through, abs=2e-3)
    assert float(view.depth[4, 4]) == pytest.approx(depth, abs=3e-3)
    assert float(view.opacity[0, 0]) == 0
