import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from nerf_helpers import Balls, Waves, cameras

from functa_core.modality import seeded
from functa_nerf.cameras import Lens, rays
from functa_nerf.rendering import LAST_DISTANCE, composite, density, depths, render_rays

REFERENCE = Path(__file__).parents[3] / "tests/data/parity/nerf_shift_linear.npz"


def test_a_slab_of_constant_density_has_the_opacity_of_beer_and_lambert():
    z = torch.linspace(1.0, 2.0, 33, dtype=torch.float64)
    sigma, length = 0.7, torch.tensor([1.0, 1.25], dtype=torch.float64)
    colours = torch.full((2, 33, 3), 0.25, dtype=torch.float64)
    seen = composite(colours, torch.full((2, 33), sigma, dtype=torch.float64), z, length)
    opacity = 1 - torch.exp(-sigma * (1.0 + LAST_DISTANCE) * length)
    torch.testing.assert_close(seen.weights.sum(-1), opacity, rtol=1e-12, atol=0)
    torch.testing.assert_close(seen.colour[:, 0], 0.25 * opacity + 1 - opacity)


def test_the_background_is_white_or_black():
    colours, none = torch.rand(4, 5, 3), torch.zeros(4, 5)
    z, ones = torch.linspace(0.8, 1.8, 5), torch.ones(4)
    assert (composite(colours, none, z, ones, white_background=True).colour == 1).all()
    assert (composite(colours, none, z, ones, white_background=False).colour == 0).all()


def test_what_is_in_front_hides_what_is_behind():
    z = torch.tensor([1.0, 2.0])
    colours = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    seen = composite(colours, torch.tensor([[50.0, 50.0]]), z, torch.ones(1))
    torch.testing.assert_close(seen.colour, torch.tensor([[1.0, 0.0, 0.0]]))
    torch.testing.assert_close(seen.depth, torch.tensor([1.0]))


def test_density_never_dies_and_is_bounded():
    x = torch.tensor([-5.0, 0.0, 3.0, 99.0], requires_grad=True)
    out = density(x)
    torch.testing.assert_close(
        out.detach(), torch.tensor([0.1 * math.exp(-5), 0.1, 3.1, 10.0]), rtol=1e-5, atol=0
    )
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert (gradient[:3] > 0).all()


@pytest.mark.parametrize("white", [True, False])
def test_first_and_second_derivatives_are_right(white):
    generator = seeded(0)
    colours = torch.rand(2, 3, 4, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    raw = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    z, lengths = torch.linspace(0.8, 1.8, 4).double(), torch.tensor([1.0, 1.2, 1.1]).double()

    def render(colours, raw):
        seen = composite(colours, density(raw), z, lengths, white)
        return seen.colour, seen.depth

    assert torch.autograd.gradcheck(render, (colours, raw))
    assert torch.autograd.gradgradcheck(render, (colours, raw))


def test_derivatives_are_finite_where_a_ray_is_empty_or_opaque():
    raw = torch.tensor([[-1e4] * 4, [1e4] * 4, [0.0, -1e4, 1e4, 0.0]], requires_grad=True)
    seen = composite(torch.rand(3, 4, 3), density(raw), torch.linspace(0.8, 50.0, 4), torch.ones(3))
    (first,) = torch.autograd.grad(seen.colour.square().sum(), raw, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), raw)
    assert first.isfinite().all()
    assert second.isfinite().all()


def test_even_depths_include_both_ends():
    assert depths(0.8, 1.8, 3).tolist() == pytest.approx([0.8, 1.3, 1.8])


def test_random_depths_stay_in_their_own_cells_and_fill_them():
    even = depths(1.0, 2.0, 5)
    middle = (even[1:] + even[:-1]) / 2
    z = depths(1.0, 2.0, 5, (2000,), seeded(3))
    low, high = torch.cat([even[:1], middle]), torch.cat([middle, even[-1:]])
    assert (z >= low).all()
    assert (z <= high).all()
    torch.testing.assert_close(z.amin(0), low, rtol=0, atol=2e-3)
    torch.testing.assert_close(z.amax(0), high, rtol=0, atol=2e-3)


def test_shared_rays_are_shared_points():
    field = Balls([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0]])
    lens = Lens(8.2, 4.0, 4.0, 8, 8)
    beams = rays(cameras(1), lens)[0]
    z = depths(0.8, 1.8, 7)
    shared = render_rays(field, beams, z)
    own = render_rays(field, beams.expand(2, -1, -1), z)
    assert field.asked == [(64 * 7, 3), (2, 64 * 7, 3)]
    torch.testing.assert_close(shared.colour, own.colour)
    assert shared.colour.shape == (2, 64, 3)


def test_a_ray_does_not_depend_on_the_rays_beside_it():
    beams, z = rays(cameras(2), Lens(8.2, 4.0, 4.0, 8, 8)).flatten(0, 1), depths(0.8, 1.8, 9)
    whole = render_rays(Waves(), beams, z).colour
    parts = [render_rays(Waves(), part, z).colour for part in beams.split(37)]
    torch.testing.assert_close(whole, torch.cat(parts, dim=1))


class ReferenceSiren:
    """The authors' network at latent 0, from their own numbers."""

    def __init__(self, stored, w0):
        stem = "param:latent_modulated_siren"
        name = stem + "/~/latent_to_modulation/~/mlp/~/linear_0/b"
        self.shift, self.w0, self.layers = torch.from_numpy(stored[name]), w0, []
        for i in range(5):
            layer = f"{stem}/modulated_siren_layer{f'_{i}' if i else ''}/linear"
            self.layers.append([torch.from_numpy(stored[f"{layer}/{k}"]) for k in "wb"])

    def __len__(self):
        return 1

    def __getitem__(self, chosen):
        raise NotImplementedError

    def __call__(self, coords):
        x, shifts = coords, self.shift.chunk(len(self.layers) - 1)
        for (w, b), shift in zip(self.layers[:-1], shifts, strict=True):
            x = torch.sin(self.w0 * (x @ w + b + shift))
        w, b = self.layers[-1]
        return (x @ w + b + 0.5)[None]


def test_rays_and_rendering_agree_with_the_authors_code():
    with np.load(REFERENCE) as file:
        stored = dict(file)
    config = json.loads(str(stored["config_json"]))
    height, width = config["height"], config["width_px"]
    lens = Lens(config["focal"], width / 2, height / 2, height, width)
    for poses, expected in zip(stored["poses"], torch.from_numpy(stored["rays"]), strict=True):
        beams = rays(torch.from_numpy(poses), lens).reshape(2, height, width, 2, 3)
        torch.testing.assert_close(beams.permute(3, 0, 1, 2, 4), expected, rtol=1e-5, atol=1e-6)
    beams = rays(torch.from_numpy(stored["poses"][0]), lens).flatten(0, 1)
    z = depths(config["near"], config["far"], config["points_per_ray"])
    seen = render_rays(ReferenceSiren(stored, config["w0"]), beams, z)
    for ours, key in ((seen.colour, "rgb_at_init"), (seen.depth, "depth_at_init")):
        theirs = torch.from_numpy(stored[key])
        error = (ours.reshape(theirs.shape) - theirs).abs().max() / theirs.abs().max()
        assert error < 1e-5
