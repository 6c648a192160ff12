"""The Gauss–Newton solver against its definition, ridge regression and finite differences."""

import itertools
import math

import attrs
import pytest
import torch
from distributions import QUICK_TASKS
from sklearn.linear_model import Ridge
from test_engine import (
    SMALL,
    Averages,
    Looks,
    Noisy,
    OtherBoth,
    OtherLoss,
    OtherOperator,
    OwnCoordinates,
    Plain,
    make,
)

from functa_core.errors import UserError
from functa_core.meta.gauss_newton import MOMENTUM, RATE, WORSE
from functa_core.meta.learner import MetaConfig, build_learner
from functa_core.meta.outer import outer_loss

NEWTON = MetaConfig(solver="gauss-newton", damping_init=0.05)


class Logit(Plain):
    """Values between 0 and 1, of which the field is the logit; the loss is their cross-entropy."""

    def forward(self, field, queries, generator=None):
        return field(queries).sigmoid()

    def loss(self, predicted, values):
        per_channel = torch.nn.functional.binary_cross_entropy(predicted, values, reduction="none")
        return per_channel.mean(dim=-1)


def make_newton(modality=Plain, **more):
    """As `make`, with this solver."""
    _, problem = make(modality, **more)
    learner = build_learner(modality.spec, SMALL, NEWTON, seed=0).to(torch.float64)
    return learner, attrs.evolve(problem, network=learner.network)


def same_weights(problem):
    """Every signal has the weights of the first."""
    weights = problem.observations.weights[:1].expand(len(problem.observations), -1)
    return attrs.evolve(problem, observations=attrs.evolve(problem.observations, weights=weights))


def by_definition(learner, problem):
    """Latents after one step, from the Jacobian of each signal's own predictions."""
    damping = learner.solver.log_damping.detach().exp()
    latents = []
    for i in range(len(problem.observations)):
        one = attrs.evolve(
            problem.observations,
            values=problem.observations.values[i : i + 1],
            weights=problem.observations.weights[i : i + 1],
        )
        alone = attrs.evolve(problem, observations=one)
        start = torch.zeros(1, *learner.network.latent_shape, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(alone.predict, start)[0, ..., 0, :]
        predicted = alone.predict(start).detach()

        def data_loss(values, alone=alone, start=start):
            return alone.loss(start, values).sum()

        slope = torch.autograd.functional.jacobian(data_loss, predicted).flatten()
        bend = torch.autograd.functional.hessian(data_loss, predicted).reshape(2 * [len(slope)])
        flat = jacobian.flatten(0, 1)
        penalty = 2 * problem.l2_weight * torch.eye(len(damping), dtype=torch.float64)
        matrix = flat.T @ bend @ flat + torch.diag(damping) + penalty
        latents.append(-torch.linalg.solve(matrix, flat.T @ slope))
    return torch.stack(latents)


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("modality", [Plain, OtherOperator, OtherLoss, OtherBoth, Logit, Noisy])
def test_the_first_step_is_that_of_the_definition(modality, equal):
    learner, problem = make_newton(modality, l2_weight=0.02)
    if equal:
        problem = same_weights(problem)
    expected = by_definition(learner, problem)
    for chunk in (None, 4):
        path = learner.solver.fit(attrs.evolve(problem, chunk=chunk), 1)
        torch.testing.assert_close(path[1], expected)
        assert not path[1].requires_grad


def test_a_linear_field_is_fitted_as_ridge_regression_does():
    learner, problem = make_newton()
    problem = same_weights(problem)
    seen, channels = problem.observations, 2
    start = problem.start()
    jacobian = torch.autograd.functional.jacobian(problem.predict, start)[0, ..., 0, :]
    residuals = seen.known_values - problem.predict(start).detach()
    weights = seen.weights[0].repeat_interleave(channels)
    # Σ w (y - Jz)² + α |z|², against Σ w (y - Jz)² / (C Σ w) + λ/2 |z|².
    alpha = 0.05 / 2 * channels * float(seen.weights[0].sum())
    ridge = Ridge(alpha=alpha, fit_intercept=False)
    ridge.fit(jacobian.flatten(0, 1).numpy(), residuals.flatten(1).T.numpy(), weights.numpy())
    torch.testing.assert_close(learner.solver.fit(problem, 1)[1], torch.tensor(ridge.coef_))


def test_later_steps_reuse_the_matrix_and_lower_the_loss():
    learner, problem = make_newton()
    with torch.no_grad():
        learner.solver.log_damping.fill_(0.0)  # an untrained network is not nearly linear
    path = learner.solver.fit(problem, 4)
    losses = [problem.loss(latent, problem.predict(latent)) for latent in path]
    for before, after in itertools.pairwise(losses):
        assert (after <= before + 1e-12).all()
    matrix, before = by_definition_matrix(learner, problem), 0.0
    for here, there in itertools.pairwise(path[1:]):  # heavy ball, which the first step is not in
        slope = problem.gradient(here.clone().requires_grad_(), differentiable=False)
        moved = (matrix @ (here - there).unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(moved, RATE * slope + MOMENTUM * before)
        before = moved


def test_a_later_step_that_makes_a_fit_worse_is_taken_back():
    learner, problem = make_newton()
    with torch.no_grad():
        learner.solver.log_damping.fill_(math.log(1e-6))  # far too little for so curved a field
    paths = [learner.solver.fit(problem, steps) for steps in (1, 2, 3, 6)]
    for path in paths:
        losses = [problem.loss(latent, problem.predict(latent)) for latent in path[1:]]
        for before, after in itertools.pairwise(losses):
            assert (after <= before * (1 + WORSE)).all()
    longest = paths[-1]
    kept = torch.stack(longest[1:-1]) == torch.stack(longest[2:])
    assert kept.flatten(2).all(-1).any(), "no step was taken back"
    assert not torch.equal(longest[1], longest[-1])
    for path in paths:  # how many follow changes nothing
        for here, there in zip(path, longest, strict=False):
            torch.testing.assert_close(here, there)


class Below(Plain):
    """The same loss less a constant, which makes it negative."""

    def loss(self, predicted, values):
        return super().loss(predicted, values) - 9.0


def test_a_negative_loss_is_lowered_too():
    learner, problem = make_newton(Below)
    path = learner.solver.fit(problem, 5)
    losses = torch.stack([problem.losses(latent) for latent in path])
    assert (losses < 0).all()
    assert (losses[-1] < losses[1] - 1e-4).any(), "no later step was taken"


@pytest.mark.parametrize("chunk", [None, 4])
def test_nothing_observed_leaves_the_latent_where_it_starts(chunk):
    learner, problem = make_newton(chunk=chunk)
    empty = problem.observations.masked(torch.zeros(3, 11, dtype=torch.bool))
    for observations in (empty, empty.compact()):
        hopeless = attrs.evolve(problem, observations=observations)
        latent = learner.solver.fit(hopeless, 3)[-1]
        assert torch.equal(latent, torch.zeros(3, 5, dtype=torch.float64))


def test_in_half_precision_how_many_steps_follow_changes_nothing():
    learner, problem = make_newton(dtype=torch.float32, batch=16, count=40)
    learner, problem = learner.float(), attrs.evolve(problem, precision=torch.bfloat16)
    longest = learner.solver.fit(problem, 8)
    for steps in range(2, 8):
        assert torch.equal(learner.solver.fit(problem, steps)[-1], longest[steps])


def test_weights_that_differ_by_a_factor_for_each_signal_share_one_matrix():
    learner, problem = make_newton()
    problem = same_weights(problem)
    factors = torch.linspace(0.3, 7.0, len(problem.observations)).to(problem.start())[:, None]
    weights = problem.observations.weights * factors
    scaled = attrs.evolve(problem, observations=attrs.evolve(problem.observations, weights=weights))
    found, one = (learner.solver._first(each, False) for each in (scaled, problem))
    assert found[1].ndim == 2
    torch.testing.assert_close(found[0], one[0])


def by_definition_matrix(learner, problem):
    """H + Λ of each signal, for squared errors."""
    jacobian = torch.autograd.functional.jacobian(problem.predict, problem.start())[0, ..., 0, :]
    share = problem.observations.weights / problem.observations.weights.sum(1, keepdim=True)
    matrix = torch.einsum("bn,ncy,ncz->byz", share, jacobian, jacobian)
    return matrix + torch.diag(learner.solver.log_damping.detach().exp())


@pytest.mark.parametrize("modality", [Plain, OtherLoss, Logit])
def test_outer_derivatives_are_those_of_finite_differences(modality):
    learner, problem = make_newton(modality)

    def loss():
        return outer_loss(learner, problem, NEWTON)[0].mean()

    parameters = dict(learner.named_parameters())
    gradients = torch.autograd.grad(loss(), list(parameters.values()))
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        place, step = int(gradient.abs().argmax()), 1e-6
        with torch.no_grad():
            flat = parameter.view(-1)
            flat[place] += step
            above = loss()
            flat[place] -= 2 * step
            below = loss()
            flat[place] += step
        assert float(gradient.flatten()[place]) == pytest.approx(
            float(above - below) / (2 * step), rel=1e-4, abs=1e-9
        ), name


@pytest.mark.parametrize(
    ("modality", "more"),
    [
        (Averages, {}),
        (Looks, {}),
        (OwnCoordinates, {}),
        (Plain, {"shared": False}),
        (Noisy, {"noise_seed": 3}),
    ],
)
def test_what_is_not_measured_point_by_point_is_refused(modality, more):
    learner, problem = make_newton(modality, **more)
    with pytest.raises(UserError, match=r"Use meta\.solver=meta-sgd"):
        learner.solver.fit(problem, 1)


def test_a_matrix_that_is_none_gives_a_loss_that_is_none():
    """Not an error of linear algebra: training goes back to the last checkpoint."""
    learner, problem = make_newton()
    with torch.no_grad():
        learner.network.layers[0].weight.fill_(torch.nan)
    assert learner.solver.fit(problem, 2)[-1].isnan().all()


def test_refused_before_anything_is_written(functa, tmp_path):
    out = tmp_path / "run"
    asked = ["run", "--modality", "clips", "--out", out, "--set", "meta.solver=gauss-newton"]
    code, _, error = functa(*asked)
    assert code == 2
    assert "share their queries" in error
    assert not out.exists()


@pytest.mark.slow
def test_a_whole_run(functa, tmp_path):
    out = tmp_path / "run"
    few = ["meta.steps=4", "meta.solver=gauss-newton", "modality.resolution=8", *QUICK_TASKS]
    options = [part for one in few for part in ("--set", one)]
    code, _, error = functa("run", "--modality", "images", "--out", out, *options)
    assert code == 0, error
    assert "solver: gauss-newton" in (out / "config.yaml").read_text()
