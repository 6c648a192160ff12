"""Fast paths equal plain ones, derivatives are right, signals do not disturb each other."""

import itertools
import math

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from functa_core import Box, DataSource, Modality, Observations, Spec, grid
from functa_core.meta.inner import MetaSGD
from functa_core.meta.learner import MetaConfig, build_learner
from functa_core.meta.outer import gradients, latent_noise, outer_loss, psnr_db, update
from functa_core.meta.problem import Problem, predict_all
from functa_core.networks import passes
from functa_core.networks.base import NetworkField
from functa_core.networks.siren import LatentModulatedSiren, SirenConfig


class Plain(Modality):
    """Two coordinates, two channels; identity and squared error."""

    name = "plain"
    api_version = 1
    spec = Spec(Box((0.0, 0.0), (1.0, 1.0)), 2)

    def dataset(self, split):
        raise AssertionError

    def observations(self, signals, generator=None):
        raise AssertionError

    def render(self, field, out, names, resolution=None):
        raise AssertionError


class OtherOperator(Plain):
    def forward(self, field, queries, generator=None):
        return field(queries) + 0.0


class OtherLoss(Plain):
    def loss(self, predicted, values):
        return (predicted - values).abs().pow(1.5).mean(dim=-1)


class OwnCoordinates(Plain):
    """Shared queries, from which the operator makes coordinates of each signal's own."""

    def forward(self, field, queries, generator=None):
        if queries.ndim == 2:
            queries = queries.expand(len(field), -1, -1)
        return field(queries)


class Averages(Plain):
    """A value is an integral of the field, as along a ray: three points for each query."""

    def forward(self, field, queries, generator=None):
        steps = torch.tensor([-0.01, 0.0, 0.02], dtype=queries.dtype)[:, None]
        coords = (queries[..., None, :] + steps).flatten(-3, -2)
        features = field(coords).unflatten(-2, (-1, 3))
        return (features * features.sigmoid()).mean(dim=-2)


class Looks(Averages):
    """Looks at the field twice more, without gradients and in vain."""

    def forward(self, field, queries, generator=None):
        with torch.no_grad():
            level = field(queries).mean(dim=-1, keepdim=True)
        field(queries * 0.5)
        return super().forward(field, queries, generator) * (1 + level)


class Slope(Plain):
    """A value is the field's derivative along the first coordinate, as a gradient sensor has it."""

    def forward(self, field, queries, generator=None):
        with torch.enable_grad():
            coords = queries.detach().expand(len(field), -1, -1).clone().requires_grad_()
            channels = field(coords).unbind(-1)
            slopes = [
                torch.autograd.grad(each.sum(), coords, create_graph=True)[0][..., 0]
                for each in channels
            ]
        return torch.stack(slopes, dim=-1)


class OtherBoth(OtherLoss, OtherOperator):
    pass


class Noisy(Plain):
    def forward(self, field, queries, generator=None):
        if generator is not None:
            queries = queries + 0.01 * torch.rand(queries.shape, generator=generator)
        return field(queries)


class InPlace(Plain):
    """Changes the features that it is given."""

    def forward(self, field, queries, generator=None):
        features = field(queries)
        features.mul_(2)
        features[..., 0].clamp_(-3, 3)
        return features


MODALITIES = [
    *(Plain, OtherOperator, OtherLoss, OtherBoth, OwnCoordinates),
    *(Averages, Looks, InPlace),
]
SMALL = SirenConfig(latent_dim=5, width=8, depth=3, w0=6.0)


def make(
    modality=Plain, shared=True, dtype=torch.float64, batch=3, count=11, model=SMALL, seed=0, **more
):
    """A learner and a problem of random numbers, some observations of weight 0 and NaN."""
    generator = torch.Generator().manual_seed(seed)
    learner = build_learner(modality.spec, model, MetaConfig(), seed).to(dtype)
    shape = (count, 2) if shared else (batch, count, 2)
    queries = torch.rand(shape, generator=generator, dtype=dtype)
    values = torch.rand((batch, count, modality.spec.channels), generator=generator, dtype=dtype)
    weights = torch.rand((batch, count), generator=generator, dtype=dtype) + 0.1
    weights[:, ::4] = 0
    values[:, ::4] = torch.nan
    observations = Observations(queries, values, weights)
    return learner, Problem(learner.network, modality(None, DataSource()), observations, **more)


def slowly(problem, learner, steps, differentiable):
    """The inner loop with nothing but the definition: no shared step, no chunks."""
    latent = problem.start().requires_grad_()
    rates = learner.solver.rates.clamp(0, 1)
    for _ in range(steps):
        loss = problem.loss(latent, problem.predict(latent)).sum()
        (gradient,) = torch.autograd.grad(loss, latent, create_graph=differentiable)
        latent = latent - rates * gradient
    return latent


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("hidden", [(), (7,)])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("tile", [passes.CACHED, 40])
def test_every_combination_equals_the_definition(
    modality, shared, hidden, scale, tile, monkeypatch
):
    """Latents and outer gradients, for whatever is declared, in one tile and in several."""
    monkeypatch.setattr(passes, "CACHED", tile)
    monkeypatch.setattr(passes, "SHORT", 2)
    model = attrs.evolve(SMALL, map_hidden=hidden, modulate_scale=scale)
    learner, problem = make(modality, shared, model=model, l2_weight=0.01)
    config = MetaConfig(l2_weight=0.01)
    slow = slowly(problem, learner, 3, differentiable=True)
    slow_loss = problem.loss(slow, problem.predict(slow)).mean()
    expected = torch.autograd.grad(slow_loss, list(learner.parameters()))
    for chunk in (None, 4):
        fast = learner.solver.fit(attrs.evolve(problem, chunk=chunk), 3)[-1]
        torch.testing.assert_close(fast, slow.detach())
    loss = outer_loss(learner, problem, config)[0].mean()
    torch.testing.assert_close(loss, slow_loss)
    found = torch.autograd.grad(loss, list(learner.parameters()))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_an_operator_may_differentiate_the_field(batch, shared):
    learner, problem = make(Slope, shared, batch=batch)
    path, expected = learner.solver.fit(problem, 3), slowly(problem, learner, 3, False)
    torch.testing.assert_close(path[-1], expected)

    latent = learner.solver.fit(problem, 2, differentiable=True)[-1]
    loss = problem.loss(latent, problem.predict(latent)).sum()
    weight = learner.network.layers[1].weight
    (slope,) = torch.autograd.grad(loss, weight)
    step = 1e-6
    with torch.no_grad():
        weight[2, 3] += step
    latent = learner.solver.fit(problem, 2)[-1]
    moved = problem.loss(latent, problem.predict(latent)).sum()
    assert float(slope[2, 3]) == pytest.approx(float(moved - loss.detach()) / step, rel=1e-3)


class Norm(Plain):
    """Its derivative lies in memory as the features do."""

    def loss(self, predicted, values):
        return (predicted - values).square().sum(dim=-1).sqrt()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("modality", [*MODALITIES, Norm])
def test_features_of_the_shape_of_a_hidden_layer_are_not_written_over(modality, shared):
    learner, problem = make(modality, shared, model=attrs.evolve(SMALL, width=2))
    slow = slowly(problem, learner, 3, differentiable=True)
    expected = torch.autograd.grad(
        problem.loss(slow, problem.predict(slow)).mean(), list(learner.parameters())
    )
    gradients(learner, problem, MetaConfig())
    for parameter, theirs in zip(learner.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, theirs, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("group", [1, 2, None])
@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("modality", MODALITIES)
def test_a_batch_in_groups_and_chunks_has_the_same_gradients(modality, shared, chunk, group):
    """Against the definition, for signals a few at a time and observations computed again."""
    learner, problem = make(modality, shared, l2_weight=0.01, chunk=chunk)
    slow = slowly(attrs.evolve(problem, chunk=None), learner, 3, differentiable=True)
    expected_loss = problem.loss(slow, problem.predict(slow)).mean()
    expected = torch.autograd.grad(expected_loss, list(learner.parameters()))
    found = gradients(learner, problem, MetaConfig(group=group))
    torch.testing.assert_close(found.loss, expected_loss.detach())
    for parameter, theirs in zip(learner.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, theirs, rtol=1e-8, atol=1e-12)


def test_the_way_back_can_be_taken_again():
    learner, problem = make()
    loss = outer_loss(learner, problem, MetaConfig())[0].sum()
    parameters = list(learner.parameters())
    once = torch.autograd.grad(loss, parameters, retain_graph=True)
    again = torch.autograd.grad(loss, parameters)
    for one, other in zip(once, again, strict=True):
        torch.testing.assert_close(one, other)


def test_an_operator_that_these_passes_do_not_follow_goes_by_autograd():
    """It looks for its coordinates with the field's own gradient, or takes signals apart."""

    class Follows(Plain):
        def forward(self, field, queries, generator=None):
            return field(queries + 0.01 * field(queries)[..., :2])

    class Apart(Plain):
        def forward(self, field, queries, generator=None):
            if queries.ndim == 2:
                queries = queries.expand(len(field), -1, -1)
            return torch.cat([field[i : i + 1](queries[i : i + 1]) for i in range(len(field))])

    for modality in (Follows, Apart):
        for shared in (True, False):
            learner, problem = make(modality, shared)
            slow = slowly(problem, learner, 2, differentiable=True)
            torch.testing.assert_close(learner.solver.fit(problem, 2)[-1], slow.detach())
            expected_loss = problem.loss(slow, problem.predict(slow)).mean()
            expected = torch.autograd.grad(expected_loss, list(learner.parameters()))
            gradients(learner, problem, MetaConfig(inner_steps=2))
            for parameter, theirs in zip(learner.parameters(), expected, strict=True):
                torch.testing.assert_close(parameter.grad, theirs, rtol=1e-8, atol=1e-12)


def test_half_precision_is_near():
    """Latents to a hundredth and gradients to a twentieth, at the frequency of the paper."""
    model = SirenConfig(latent_dim=16, width=64, depth=5, w0=30.0)
    learner, exact = make(dtype=torch.float32, model=model, count=200)
    half = attrs.evolve(exact, precision=torch.bfloat16)
    latents = [learner.solver.fit(problem, 3)[-1] for problem in (exact, half)]
    assert float((latents[1] - latents[0]).norm() / latents[0].norm()) < 1e-2
    found = []
    for problem in (exact, half):
        learner.zero_grad()
        gradients(learner, problem, MetaConfig())
        found.append(torch.cat([p.grad.flatten() for p in learner.parameters()]))
        assert all(p.grad.dtype == torch.float32 for p in learner.parameters())
    assert float((found[1] - found[0]).norm() / found[0].norm()) < 5e-2


def test_memory_is_used_again_and_never_piles_up():
    learner, problem = make(dtype=torch.float32)
    gradients(learner, problem, MetaConfig())
    kept = learner.network._memory.count()
    for _ in range(3):
        gradients(learner, problem, MetaConfig())
        learner.solver.fit(problem, 2)
    assert learner.network._memory.count() == kept > 0


def test_memory_of_many_sizes_does_not_pile_up_either():
    learner, _ = make(dtype=torch.float32)
    counts = []
    for count in range(20, 40):
        observations = make(dtype=torch.float32, count=count)[1].observations
        _, problem = make(dtype=torch.float32)
        problem = attrs.evolve(problem, network=learner.network, observations=observations)
        gradients(learner, problem, MetaConfig())
        counts.append(learner.network._memory.count())
    assert max(counts[10:]) <= max(counts[:10])


def test_the_shared_step_is_taken_exactly_when_it_may_be(monkeypatch):
    taken = []
    import functa_core.meta.problem as module

    real = module.shared_gradient

    def noting(*arguments):
        gradient = real(*arguments)
        taken.append(1)
        return gradient

    monkeypatch.setattr(module, "shared_gradient", noting)
    for modality in MODALITIES:
        for shared in (True, False):
            taken.clear()
            learner, problem = make(modality, shared)
            learner.solver.fit(problem, 2)
            assert len(taken) == (1 if shared and modality is not OwnCoordinates else 0)


@pytest.mark.parametrize("hidden", [(), (7,)])
@pytest.mark.parametrize("modality", [Plain, OtherBoth, Averages])
def test_what_is_known_of_the_start_is_found_once_and_changes_nothing(
    monkeypatch, modality, hidden
):
    from functa_core.meta import shared

    found = []
    real = shared.start_derivatives

    def noting(*arguments):
        found.append(1)
        return real(*arguments)

    model = attrs.evolve(SMALL, map_hidden=hidden)
    learner, problem = make(modality, model=model, chunk=4)
    expected = learner.solver.fit(problem, 2)[-1]
    monkeypatch.setattr(shared, "start_derivatives", noting)
    knowing = attrs.evolve(problem, known=shared.Known())
    for _ in range(3):
        torch.testing.assert_close(learner.solver.fit(knowing, 2)[-1], expected)
    assert len(found) == len(list(problem.parts()))
    with torch.no_grad():
        learner.network.layers[0].weight.mul_(1.5)
    moved = learner.solver.fit(knowing, 2)[-1]
    torch.testing.assert_close(moved, learner.solver.fit(problem, 2)[-1])
    assert not torch.allclose(moved, expected)


def test_without_gradients_a_field_is_the_same():
    learner, problem = make()
    latents = torch.randn(3, 5, dtype=torch.float64)
    for coords in (problem.observations.queries, torch.rand(3, 9, 2, dtype=torch.float64)):
        with torch.no_grad():
            quick = learner.network(coords, latents)
        torch.testing.assert_close(quick, learner.network(coords, latents))


def test_one_signal_alone_goes_the_shorter_way(monkeypatch):
    import functa_core.meta.problem as module

    monkeypatch.setattr(module, "shared_gradient", None)  # to call it would fail
    learner, problem = make(batch=1)
    assert len(learner.solver.fit(problem, 2)) == 3


@pytest.mark.parametrize("shared", [True, False])
def test_second_derivatives_reach_weights_and_rates(shared):
    """Against finite differences, through the whole fit."""
    learner, problem = make(shared=shared, batch=2, count=5)
    names = ["network.layers.0.weight", "network.to_modulations.0.weight", "solver.rates"]
    parameters = dict(learner.named_parameters())

    def loss_of(*values):
        for name, value in zip(names, values, strict=True):
            parameters[name].data = value.data
        fresh = {n: v.detach().requires_grad_() for n, v in parameters.items()}
        fresh.update(zip(names, values, strict=True))
        return torch.func.functional_call(_Outer(learner, problem), _prefixed(fresh), ()).sum()

    inputs = [parameters[n].detach().clone().requires_grad_() for n in names]
    assert torch.autograd.gradcheck(loss_of, inputs, atol=1e-6)


class _Outer(torch.nn.Module):
    def __init__(self, learner, problem):
        super().__init__()
        self.learner = learner
        self.problem = problem

    def forward(self):
        return outer_loss(self.learner, self.problem, MetaConfig())[0]


def _prefixed(values):
    return {f"learner.{name}": value for name, value in values.items()}


@pytest.mark.parametrize("shared", [True, False])
def test_a_batch_equals_its_single_signals(shared):
    learner, problem = make(shared=shared)
    together = learner.solver.fit(problem, 3)[-1]
    for i in range(3):
        one = problem.observations
        alone = Observations(
            one.queries if shared else one.queries[i : i + 1],
            one.values[i : i + 1],
            one.weights[i : i + 1],
        )
        latent = learner.solver.fit(attrs.evolve(problem, observations=alone), 3)[-1]
        torch.testing.assert_close(latent[0], together[i])


@given(weight=st.floats(0.01, 100.0), keep=st.integers(1, 10))
@settings(max_examples=20, deadline=None)
def test_weights_are_relative_and_zero_means_absent(weight, keep):
    learner, problem = make(shared=False)
    plain = problem.observations
    kept = plain.slice(0, keep)
    reference = learner.solver.fit(attrs.evolve(problem, observations=kept), 2)[-1]
    mask = (torch.arange(plain.count) < keep).expand(3, -1)
    scaled = attrs.evolve(plain, weights=plain.weights * weight).masked(mask)
    latent = learner.solver.fit(attrs.evolve(problem, observations=scaled), 2)[-1]
    torch.testing.assert_close(latent, reference)


def test_leaving_out_what_nobody_reads_changes_nothing():
    for shared in (True, False):
        learner, problem = make(shared=shared)
        compact = problem.observations.compact()
        assert compact.count == 8
        assert not compact.values.isnan().any()
        latent = learner.solver.fit(attrs.evolve(problem, observations=compact), 2)[-1]
        torch.testing.assert_close(latent, learner.solver.fit(problem, 2)[-1])


def test_nothing_observed_leaves_the_latent_where_it_starts():
    learner, problem = make()
    empty = problem.observations.masked(torch.zeros(3, 11, dtype=torch.bool))
    for observations in (empty, empty.compact()):
        for chunk in (None, 4):
            hopeless = attrs.evolve(problem, observations=observations, chunk=chunk)
            latent = learner.solver.fit(hopeless, 3)[-1]
            assert torch.equal(latent, torch.zeros(3, 5, dtype=torch.float64))


def test_noise_is_the_same_at_every_step_of_an_update_and_absent_otherwise():
    learner, problem = make(Noisy, noise_seed=4)
    latent = problem.start()
    assert torch.equal(problem.predict(latent), problem.predict(latent))
    other = attrs.evolve(problem, noise_seed=5)
    assert not torch.equal(problem.predict(latent), other.predict(latent))
    none = attrs.evolve(problem, noise_seed=None)
    expected = NetworkField(learner.network, latent)(problem.observations.queries)
    assert torch.equal(none.predict(latent), expected)


def test_rates_are_held_in_their_range():
    learner, problem = make()
    with torch.no_grad():
        learner.solver.rates.copy_(torch.tensor([-1.0, 2.0, 0.5, 0.0, 1.0]))
    first, second = learner.solver.fit(problem, 1)
    gradient = problem.gradient(first.requires_grad_(), differentiable=False)
    expected = -torch.tensor([0.0, 1.0, 0.5, 0.0, 1.0], dtype=torch.float64) * gradient
    torch.testing.assert_close(second, expected)


def test_initial_rates_lie_in_their_range():
    solver = MetaSGD((1000,), (0.2, 0.3), generator=torch.Generator().manual_seed(0))
    rates = solver.rates.detach()
    assert rates.min() >= 0.2
    assert rates.max() <= 0.3
    assert rates.std() == pytest.approx(0.1 / math.sqrt(12), rel=0.1)


def test_latent_noise_and_clipping_do_what_they_say():
    learner, problem = make()
    config = MetaConfig(latent_noise=0.5)
    noisy = gradients(learner, problem, config, latent_noise(problem, config, 1)).loss
    assert latent_noise(problem, MetaConfig(), 1) is None
    quiet = gradients(learner, problem, MetaConfig()).loss
    assert not torch.allclose(noisy, quiet)
    again = gradients(learner, problem, config, latent_noise(problem, config, 1)).loss
    assert torch.equal(noisy, again)

    before = [p.detach().clone() for p in learner.parameters()]
    sgd = torch.optim.SGD(learner.parameters(), lr=1.0)
    update(learner, sgd, problem, MetaConfig(clip=1e-3))
    moved = sum(
        (p.detach() - b).square().sum() for p, b in zip(learner.parameters(), before, strict=True)
    )
    assert float(moved) ** 0.5 == pytest.approx(1e-3, rel=1e-3)


def test_psnr_is_of_each_signals_own_weighted_error():
    values = torch.tensor([[[0.0], [0.5], [9.0]]])
    observations = Observations(torch.zeros(3, 2), values, torch.tensor([[1.0, 3.0, 0.0]]))
    predicted = torch.tensor([[[0.1], [0.3], [0.0]]])
    error = (0.1**2 * 1 + 0.2**2 * 3) / 4
    expected = 10 * math.log10(2.0**2 / error)
    assert float(psnr_db(predicted, observations, peak=2.0)) == pytest.approx(expected, abs=1e-4)
    assert float(psnr_db(values, observations, peak=2.0)) == 100.0
    nothing = observations.masked(torch.zeros(1, 3, dtype=torch.bool))
    assert math.isnan(float(psnr_db(predicted, nothing, peak=2.0)))


def test_prediction_in_chunks_is_prediction():
    _, problem = make(shared=False)
    latent = torch.randn(3, 5, dtype=torch.float64)
    whole = problem.predict(latent)
    torch.testing.assert_close(predict_all(attrs.evolve(problem, chunk=4), latent), whole)
    field = NetworkField(problem.network, latent, most=3 * len(latent))
    with torch.no_grad():
        torch.testing.assert_close(field(problem.observations.queries), whole.detach())


def test_siren_starts_as_the_paper_says():
    config = SirenConfig(latent_dim=16, width=256, depth=4, w0=30.0)
    network = LatentModulatedSiren(Plain.spec, config, torch.Generator().manual_seed(0))
    for i, layer in enumerate(network.layers):
        assert isinstance(layer, torch.nn.Linear)
        bound = math.sqrt(6 / 256) / 30 if i else 1 / 2
        assert layer.weight.abs().max() <= bound
        assert float(layer.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
        assert not layer.bias.any()
    with torch.no_grad():
        out = network(grid((16, 16)), torch.zeros(1, 16))
    assert float(out.mean()) == pytest.approx(0.5, abs=0.1)
    assert network.latent_numbers == 16
    assert network.modulate(torch.zeros(1, 16)).abs().max() == 0


@pytest.mark.parametrize("hidden", [(), (16,), (16, 16)])
def test_every_latent_number_reaches_every_modulated_layer(hidden):
    model = attrs.evolve(SMALL, map_hidden=hidden)
    network = LatentModulatedSiren(Plain.spec, model, torch.Generator().manual_seed(0))
    jacobian = torch.autograd.functional.jacobian(network.modulate, torch.zeros(1, 5))
    per_layer = jacobian[0, :, 0].reshape(SMALL.depth - 1, SMALL.width, 5)
    assert (per_layer.abs().amax(dim=1) > 0).all()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("cuts", [(0, 2, 5), (0, 1, 2, 5), (0, 4, 5)])
def test_gradients_of_the_parts_of_a_batch_sum_to_those_of_all(shared, cuts):
    config = MetaConfig(latent_noise=0.3, group=1)
    learner, problem = make(Noisy, shared, batch=5, noise_seed=3)

    def found(part):
        learner.zero_grad()
        figures = gradients(learner, part, config, latent_noise(part, config, 9))
        return figures, [p.grad for p in learner.parameters()]

    whole, expected = found(problem)
    parts = [found(problem.signals(*cut)) for cut in itertools.pairwise(cuts)]
    for i, gradient in enumerate(expected):
        torch.testing.assert_close(sum(own[i] for _, own in parts), gradient)
    torch.testing.assert_close(sum(figures.loss for figures, _ in parts), whole.loss)
    torch.testing.assert_close(torch.cat([figures.psnr_db for figures, _ in parts]), whole.psnr_db)
