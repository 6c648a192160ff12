"""Standardised latents, the Gaussian and the flow: densities, round trips, files."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from functa_core import UserError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def mixture(n, dimensions, seed=0):
    """Two clusters at ±2 along the diagonal, wide by 0.5, scaled and moved unevenly."""
    generator = seeded(seed)
    side = torch.randint(2, (n, 1), generator=generator) * 4.0 - 2.0
    rows = side + 0.5 * torch.randn(n, dimensions, generator=generator)
    return rows * (0.1 + torch.arange(dimensions)) + 3.0


@pytest.fixture(scope="module")
def plane():
    """A flow of two dimensions."""
    from functa_core.latents.flow import Flow, FlowOptions

    return Flow.fit(mixture(600, 2), FlowOptions(steps=200, width=32, lr=5e-3), seed=1)


# Standardiser


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 20), st.integers(1, 6), st.floats(-50, 50), st.floats(1e-3, 1e3), st.data())
def test_standardising_round_trips(n, dimensions, mean, scale, data):
    from functa_core.latents.standardise import Standardiser

    rows = torch.randn(n, dimensions, generator=seeded(data.draw(st.integers(0, 99)))) * scale
    rows = rows + mean
    standardiser = Standardiser.of(rows)
    found = standardiser.apply(rows)
    tolerance = 1e-5 * (1 + abs(mean) / scale)
    torch.testing.assert_close(found.mean(0), torch.zeros(dimensions), rtol=0, atol=10 * tolerance)
    torch.testing.assert_close(
        found.std(0, correction=0), torch.ones(dimensions), rtol=0, atol=10 * tolerance
    )
    back = standardiser.invert(found)
    torch.testing.assert_close(back, rows, rtol=0, atol=1e-5 * (scale + abs(mean)))


def test_constant_dimensions_are_left_out_and_put_back():
    from functa_core.latents.standardise import Standardiser

    rows = torch.randn(9, 4, generator=seeded())
    rows[:, 1], rows[:, 3] = 0.1, 0.0
    standardiser = Standardiser.of(rows)
    assert standardiser.kept.tolist() == [True, False, True, False]
    assert standardiser.apply(rows).shape == (9, 2)
    torch.testing.assert_close(standardiser.invert(standardiser.apply(rows)), rows)


def test_the_log_determinant_is_that_of_the_jacobian():
    from functa_core.latents.standardise import Standardiser

    standardiser = Standardiser.of(mixture(50, 3))
    jacobian = torch.autograd.functional.jacobian(standardiser.apply, torch.ones(3))
    torch.testing.assert_close(standardiser.log_det, torch.linalg.slogdet(jacobian)[1])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (torch.ones(1, 3), "at least 2 latents"),
        (torch.ones(5, 3), "all 5 latents are the same"),
        (torch.tensor([[1.0, 2.0], [math.nan, 1.0]]), "1 of 2 latents hold NaN"),
    ],
)
def test_what_cannot_be_standardised_is_refused(rows, said):
    from functa_core.latents.standardise import Standardiser

    with pytest.raises(UserError, match=said):
        Standardiser.of(rows)


# Gaussian


def test_the_gaussian_is_scipys_with_the_shrunk_covariance():
    from functa_core.latents.gaussian import Gaussian

    rows = mixture(40, 5)
    fitted = Gaussian.fit(rows, seeded())
    mean, std = rows.double().mean(0), rows.double().std(0, correction=0)
    correlation = np.corrcoef(rows.double().numpy().T)
    shrunk = (1 - fitted.shrinkage) * correlation + fitted.shrinkage * np.eye(5)
    covariance = shrunk * std[:, None].numpy() * std[None].numpy()
    wanted = multivariate_normal(mean.numpy(), covariance).logpdf(mixture(20, 5, 1).numpy())
    found = fitted.log_prob(mixture(20, 5, 1)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


def test_shrinkage_follows_what_there_is_to_see():
    """Much where the rows are few and round, little where they are many and far from it."""
    from functa_core.latents.gaussian import Gaussian

    few = torch.randn(20, 30, generator=seeded())
    many = mixture(2000, 4)
    assert Gaussian.fit(few, seeded()).shrinkage > 0.3
    assert Gaussian.fit(many, seeded()).shrinkage < 0.01


def test_whitening_unseen_latents_looks_like_whitening_new_ones():
    """Fitted latents look too round: their squares are below those of new latents."""
    from functa_core.latents.gaussian import Gaussian

    mixing = torch.randn(20, 20, generator=seeded(8))
    rows, new = (torch.randn(n, 20, generator=seeded(n)) @ mixing for n in (60, 2000))
    fitted = Gaussian.fit(rows, seeded())
    size = float(fitted.to_base(new).square().mean())
    assert float(fitted.to_base(rows).square().mean()) < 0.8 * size
    unseen = fitted.to_base_unseen(rows, seeded(1))
    assert float(unseen.square().mean()) == pytest.approx(size, rel=0.2)


def test_samples_of_the_gaussian_have_its_moments():
    from functa_core.latents.gaussian import Gaussian

    rows = mixture(500, 3)
    drawn = Gaussian.fit(rows, seeded()).sample(20000, seeded(1))
    torch.testing.assert_close(drawn.mean(0), rows.mean(0), rtol=0.05, atol=0.05)
    torch.testing.assert_close(drawn.T.cov(), rows.T.cov(), rtol=0.05, atol=0.05)


# Flow


def test_the_density_integrates_to_one_on_a_line():
    from functa_core.latents.flow import Flow, FlowOptions

    flow = Flow.fit(mixture(400, 1), FlowOptions(steps=200, lr=5e-3), seed=0)
    z = torch.linspace(1.5, 4.5, 4001)[:, None]
    density = flow.log_prob(z).exp()
    assert float(torch.trapezoid(density, z[:, 0])) == pytest.approx(1, abs=1e-3)
    centre = flow.log_prob(torch.tensor([[3.0], [3.2]]))
    assert centre[1] > centre[0] + 1  # two modes, nothing between them


@pytest.mark.slow
def test_the_density_integrates_to_one_in_the_plane(plane):
    x, y = torch.linspace(2.3, 3.7, 401), torch.linspace(-4, 10, 401)
    points = torch.cartesian_prod(x, y)
    density = plane.log_prob(points).exp().reshape(401, 401)
    assert float(torch.trapezoid(torch.trapezoid(density, y), x)) == pytest.approx(1, abs=5e-3)


def test_the_log_density_is_the_change_of_variables(plane):
    z = mixture(5, 2, seed=3)
    for one in z:
        jacobian = torch.autograd.functional.jacobian(lambda x: plane.to_base(x[None])[0], one)
        base = multivariate_normal(np.zeros(2)).logpdf(plane.to_base(one[None])[0].numpy())
        wanted = base + float(torch.linalg.slogdet(jacobian)[1])
        assert float(plane.log_prob(one[None])) == pytest.approx(wanted, abs=1e-3)


def test_to_base_and_from_base_undo_each_other(plane):
    z = mixture(50, 2, seed=4)
    torch.testing.assert_close(plane.from_base(plane.to_base(z)), z, rtol=1e-3, atol=1e-3)


def test_the_flow_is_differentiable_in_latents(plane):
    z = mixture(3, 2, seed=5).requires_grad_()
    plane.log_prob(z).sum().backward()
    assert z.grad is not None
    assert bool((z.grad.abs().sum(dim=1) > 0).all())
    u = torch.zeros(3, 2, requires_grad=True)
    plane.from_base(u).sum().backward()
    assert bool((u.grad.abs().sum(dim=1) > 0).all())


def test_the_flow_is_likelier_than_the_gaussian_on_new_latents_that_are_not_gaussian(plane):
    new = mixture(500, 2, seed=6)
    assert plane.steps > 0
    assert float(plane.log_prob(new).mean()) > float(plane.gaussian.log_prob(new).mean()) + 0.3


def test_samples_lie_in_both_clusters(plane):
    drawn = plane.sample(2000, seeded(2))
    side = (drawn[:, 0] - 3) / 0.1
    assert 0.4 < float((side > 0).float().mean()) < 0.6
    assert float((side.abs() < 0.7).float().mean()) < 0.08  # of a Gaussian, a quarter


def test_few_gaussian_latents_leave_the_flow_a_gaussian_or_close_to_it():
    from functa_core.latents.flow import Flow, FlowOptions

    def rows(n, seed):
        return torch.randn(n, 12, generator=seeded(seed))

    flow = Flow.fit(rows(30, 0), FlowOptions(steps=60), seed=0)
    new = rows(500, 1)
    assert float(flow.log_prob(new).mean()) > float(flow.gaussian.log_prob(new).mean()) - 0.6


def test_a_constant_dimension_has_no_part_in_the_density():
    from functa_core.latents.flow import Flow, FlowOptions

    rows = mixture(60, 2)
    with_dead = torch.cat([rows, torch.full((60, 1), 0.1)], dim=1)
    options = FlowOptions(steps=20)
    flow, other = Flow.fit(rows, options, seed=0), Flow.fit(with_dead, options, seed=0)
    torch.testing.assert_close(flow.log_prob(rows), other.log_prob(with_dead))
    assert other.sample(7, seeded()).shape == (7, 3)
    assert other.sample(7, seeded())[:, 2].tolist() == pytest.approx([0.1] * 7)
    assert other.to_base(with_dead).shape == (60, 2)


def test_the_same_seed_gives_the_same_flow_and_leaves_the_global_generator_alone():
    from functa_core.latents.flow import Flow, FlowOptions

    options = FlowOptions(steps=20)
    before = torch.get_rng_state()
    one, two, three = (Flow.fit(mixture(40, 3), options, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    z = mixture(4, 3, seed=9)
    assert torch.equal(one.log_prob(z), two.log_prob(z))
    assert torch.equal(one.sample(3, seeded()), two.sample(3, seeded()))
    assert not torch.equal(one.sample(3, seeded()), three.sample(3, seeded()))


def test_a_saved_flow_gives_the_same_numbers(plane, tmp_path):
    from functa_core.latents.flow import Flow

    plane.save(tmp_path / "deep" / "flow.safetensors", {"weights_sha256": "abc"})
    loaded = Flow.load(tmp_path / "deep" / "flow.safetensors")
    z = mixture(20, 2, seed=7)
    assert torch.equal(loaded.log_prob(z), plane.log_prob(z))
    assert torch.equal(loaded.sample(20, seeded()), plane.sample(20, seeded()))
    assert (loaded.options, loaded.steps) == (plane.options, plane.steps)
    assert loaded.about == {"weights_sha256": "abc"}


def test_what_is_not_a_flow_is_refused(tmp_path):
    from functa_core.files import save_tensors
    from functa_core.latents.flow import Flow, FlowOptions

    with pytest.raises(UserError, match="there is no flow at"):
        Flow.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no")
    with pytest.raises(UserError, match="is not a flow"):
        Flow.load(tmp_path / "text.safetensors")
    save_tensors(tmp_path / "other.safetensors", {"x": torch.ones(1)}, {})
    with pytest.raises(UserError, match="not a flow of functa"):
        Flow.load(tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="at least 10 of them, got 9"):
        Flow.fit(mixture(9, 2), FlowOptions(), seed=0)


def test_a_missing_library_is_named_with_what_installs_it():
    from functa_core.latents.needs import missing, require

    assert missing(["torch"]) is None
    with pytest.raises(UserError, match=r"no_such_a and no_such_b are not .*functa-core\[tasks\]"):
        require("no_such_a", "torch", "no_such_b")
