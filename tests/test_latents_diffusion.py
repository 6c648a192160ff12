"""The diffusion model, and the figures that samples are judged by."""

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from test_latents_flow import mixture, seeded

from functa_core import UserError

# Diffusion


@pytest.fixture(scope="module")
def plane():
    """A diffusion model of two clusters in the plane."""
    from functa_core.latents.diffusion import Diffusion, DiffusionOptions

    options = DiffusionOptions(width=48, steps=500, lr=3e-3, noise_steps=200)
    return Diffusion.fit(mixture(800, 2), options, seed=1)


@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", None), ("ddim", 50)])
def test_samples_are_the_mixture_they_were_learned_from(plane, sampler, steps):
    rows, drawn = mixture(4000, 2, seed=2), plane.sample(2000, seeded(3), sampler, steps)
    assert plane.steps > 0
    scale = rows.std(0)
    torch.testing.assert_close(drawn.mean(0) / scale, rows.mean(0) / scale, rtol=0, atol=0.15)
    torch.testing.assert_close(drawn.std(0) / scale, torch.ones(2), rtol=0, atol=0.15)
    side = (drawn[:, 0] - 3) / 0.1
    assert 0.4 < float((side > 0).float().mean()) < 0.6
    assert float((side.abs() < 0.7).float().mean()) < 0.1  # of a Gaussian, a quarter


@pytest.mark.parametrize(
    ("sampler", "steps"),
    [("ddpm", None), ("ddim", None), ("ddim", 120)],  # of 200, which 120 does not divide
)
def test_without_training_it_is_the_gaussian(sampler, steps):
    """The part in closed form is right for every axis and noise level."""
    from functa_core.latents.diffusion import Diffusion, DiffusionOptions
    from functa_core.latents.gaussian import Gaussian

    rows = torch.randn(400, 4, generator=seeded()) @ torch.randn(4, 4, generator=seeded(1)) + 2
    options = DiffusionOptions(width=8, depth=1, steps=1, noise_steps=200)
    model = Diffusion.fit(rows, options, seed=0)
    assert model.steps == 0
    drawn = model.sample(3000, seeded(5), sampler, steps)
    wanted = Gaussian.fit(rows, seeded()).sample(40000, seeded(6))
    scale = wanted.std(0)
    torch.testing.assert_close(drawn.mean(0) / scale, wanted.mean(0) / scale, rtol=0, atol=0.08)
    found, known = (drawn / scale).T.cov(), (wanted / scale).T.cov()
    torch.testing.assert_close(found, known, rtol=0, atol=0.1)


def test_the_network_begins_at_zero_and_the_loss_at_the_gaussians(plane):
    from functa_core.latents.diffusion import ResidualMLP

    network = ResidualMLP(3, 8, 2, 100)
    assert not network(torch.randn(5, 3), torch.arange(5)).any()
    silent = attrs.evolve(plane, network=ResidualMLP(2, 8, 1, 200))
    new = mixture(300, 2, seed=8)
    assert plane._held_out(new, 0) < 0.9 * silent._held_out(new, 0)


def test_a_saved_model_gives_the_same_numbers(plane, tmp_path):
    from functa_core.latents.diffusion import Diffusion
    from functa_core.latents.flow import Flow

    path = tmp_path / "diffusion.safetensors"
    plane.save(path, {"weights_sha256": "abc"})
    loaded = Diffusion.load(path)
    assert torch.equal(loaded.sample(9, seeded(), "ddim", 9), plane.sample(9, seeded(), "ddim", 9))
    assert (loaded.options, loaded.steps, loaded.about) == (
        plane.options,
        plane.steps,
        {"weights_sha256": "abc"},
    )
    with pytest.raises(UserError, match="not a flow of functa"):
        Flow.load(path)


def test_the_same_seed_gives_the_same_samples_and_leaves_the_global_generator_alone():
    from functa_core.latents.diffusion import Diffusion, DiffusionOptions

    options = DiffusionOptions(width=8, depth=1, steps=20, noise_steps=20)
    before = torch.get_rng_state()
    one, two, three = (Diffusion.fit(mixture(40, 3), options, seed=seed) for seed in (5, 5, 6))
    for sampler in ("ddpm", "ddim"):
        drawn = [model.sample(4, seeded(), sampler) for model in (one, two, three)]
        assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(torch.get_rng_state(), before)


# Descent


def test_a_model_is_fitted_anew_for_as_long_as_held_out_rows_reward():
    """A parameter that walks by 0.01 an update from 0, towards held-out rows at 0.5 and past."""
    from functa_core.latents.descent import refitted
    from functa_core.latents.flow import FlowOptions

    class Walker:
        def __init__(self, rows):
            self.rows, self.place = rows, 0.0

    def train(walker, rows, steps, after):
        for step in range(1, steps + 1):
            walker.place += 0.01
            try:
                after(step)
            except StopIteration:
                return

    options = FlowOptions(steps=300, patience=40, held_out=0.25)
    ticks: list[int] = []
    walker, steps = refitted(
        Walker,
        train,
        lambda walker, rows: abs(walker.place - 0.5) + 0 * len(rows),
        torch.randn(40, 2, generator=seeded()),
        options,
        seeded(),
        ticks.append,
    )
    assert steps == 50
    assert walker.place == pytest.approx(0.5)
    assert len(walker.rows) == 40
    assert ticks == [*range(1, 91), *range(301, 351)]


# Figures


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(0, 99))
def test_the_frechet_distance_is_the_closed_form(dimensions, seed):
    """scipy's matrix square root of the product of the covariances, as FID is usually written."""
    from functa_core.latents.frechet import frechet

    generator = seeded(seed)
    mix = torch.randn(dimensions, dimensions, generator=generator)
    a = torch.randn(50, dimensions, generator=generator) @ mix
    b = torch.randn(60, dimensions, generator=generator) + 1
    covariances = [np.atleast_2d(np.cov(x.double().numpy().T)) for x in (a, b)]
    root = np.real(sqrtm(covariances[0] @ covariances[1]))
    means = np.square(a.double().mean(0).numpy() - b.double().mean(0).numpy()).sum()
    wanted = means + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet(a, b) == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_the_frechet_distance_of_gaussians_on_a_line():
    """(μ_a − μ_b)² + (σ_a − σ_b)²."""
    from functa_core.latents.frechet import frechet_gaussians

    def number(x):
        return torch.tensor([x], dtype=torch.float64)

    found = frechet_gaussians(number(1.0), number([4.0]), number(3.0), number([9.0]))
    assert found == pytest.approx(4 + 1)


def test_precision_and_recall_tell_quality_from_variety():
    from functa_core.latents.precision_recall import precision_recall

    left, right = torch.randn(200, 2, generator=seeded()), torch.randn(200, 2, generator=seeded(1))
    data = torch.cat([left, right + 50])
    same = torch.cat([left.flip(1), right.flip(1) + 50])
    both = precision_recall(same, data)
    assert both.precision > 0.9
    assert both.recall > 0.9
    one_mode = precision_recall(torch.randn(400, 2, generator=seeded(2)), data)
    assert one_mode.precision > 0.9
    assert 0.4 < one_mode.recall < 0.55
    half_wrong = precision_recall(torch.cat([left.flip(1), right - 50]), data)
    assert half_wrong.precision == pytest.approx(0.5, abs=0.05)
    far = precision_recall(left + 1000, data)
    assert (far.precision, far.recall) == (0, 0)


def test_the_balls_reach_the_kth_neighbour_and_no_further():
    from functa_core.latents.precision_recall import precision_recall

    data = torch.tensor([[0.0], [1.0], [3.0]])
    samples = torch.tensor([[-1.0], [-1.1], [5.0], [5.1]])
    assert precision_recall(samples, data, neighbours=1).precision == 0.5


def test_features_are_used_as_they_are_only_where_there_are_twice_as_many_signals():
    from functa_core.latents.features import FeatureSpace

    rows = torch.randn(20, 10, generator=seeded())
    space = FeatureSpace.of(rows)
    assert (space.dimensions, space.describe("things")) == (10, "things")
    torch.testing.assert_close(space(rows), (rows - rows.mean(0)).double(), rtol=0, atol=1e-6)
    few = FeatureSpace.of(rows[:19])
    assert few.dimensions == 9
    assert "9 leading principal components" in few.describe("things")
    spread = few(rows[:19]).std(0)
    assert bool((spread[:-1] >= spread[1:]).all())


def test_a_space_without_any_feature_is_refused():
    from functa_core.latents.features import FeatureSpace

    with pytest.raises(UserError, match="none of the 3 features is finite for all 4 held-out"):
        FeatureSpace.of(torch.full((4, 3), torch.nan))


def test_features_that_are_not_everywhere_known_are_left_out():
    from functa_core.latents.features import FeatureSpace

    rows = torch.randn(20, 4, generator=seeded())
    rows[3, 1] = torch.nan
    space = FeatureSpace.of(rows)
    assert space.dimensions == 3
    assert bool(torch.isfinite(space(rows)).all())
