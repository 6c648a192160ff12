"""How much an update takes is told from smaller ones, and held to a limit without other results."""

import json

import attrs
import pytest
import torch

from functa_core import Box, DataSource, Modality, Observations, Spec, UserError
from functa_core.meta.learner import MetaConfig, build_learner
from functa_core.meta.memory import LEAST, Plan, Watch, chosen, footprint
from functa_core.meta.outer import gradients, update
from functa_core.meta.problem import Problem
from functa_core.networks.siren import SirenConfig

MODEL = SirenConfig(latent_dim=16, width=32, depth=3, w0=10.0)


class Plane(Modality):
    """Two coordinates, one channel; squared error."""

    name = "plane"
    api_version = 1
    spec = Spec(Box((0.0, 0.0), (1.0, 1.0)), 1)

    def dataset(self, split):
        raise AssertionError

    def observations(self, signals, generator=None):
        raise AssertionError

    def render(self, field, out, names, resolution=None):
        raise AssertionError


def make(batch=4, count=1500, shared=True, config=MetaConfig()):  # noqa: B008
    """A learner and a batch of random numbers."""
    generator = torch.Generator().manual_seed(0)
    learner = build_learner(Plane.spec, MODEL, config, 0)
    queries = torch.rand((count, 2) if shared else (batch, count, 2), generator=generator)
    values = torch.rand((batch, count, 1), generator=generator)
    observations = Observations(queries, values, torch.ones(batch, count))
    return learner, Problem(learner.network, Plane(None, DataSource()), observations)


def peak_of(learner, problem, config):
    """Most bytes of all tensors in the first updates."""
    optimiser = torch.optim.Adam(learner.parameters())
    with Watch([*learner.parameters(), *problem.observations.tensors()]) as watch:
        for _ in range(2):
            update(learner, optimiser, problem, config)
    return watch.peak


def test_a_watch_counts_each_memory_once_for_as_long_as_it_is_there():
    there = torch.zeros(100)
    with Watch([there]) as watch:
        assert (watch.live, watch.peak) == (400, 400)
        one = torch.ones(1000)
        view = one[:10].view(2, 5)
        one.mul_(2)
        assert watch.live == 4400
        del one
        assert watch.live == 4400  # the view holds it
        del view
        assert (watch.live, watch.peak) == (400, 4400)
        two = torch.ones(500, dtype=torch.float64) + 1
        assert (watch.live, watch.peak) == (4400, 8400)
    torch.ones(10_000)
    assert watch.peak == 8400
    del two, there
    assert watch.live == 0


@pytest.mark.parametrize("solver", ["meta-sgd", "gauss-newton"])
@pytest.mark.parametrize(
    ("batch", "count", "plan"),
    [
        (10, 3000, Plan(4)),  # 4, 4 and 2 signals
        (8, 1100, Plan(3)),
        (4, 1100, Plan(1)),
        (1, 1055, Plan(1, 7)),  # the last piece is shorter than the others
    ],
)
def test_a_whole_update_takes_what_small_ones_tell(batch, count, plan, solver):
    config = MetaConfig(solver=solver)
    learner, problem = make(batch, count, config=config)
    check(learner, problem, config, plan)


@pytest.mark.parametrize(
    ("batch", "plan"), [(9, Plan(8)), pytest.param(2, Plan(1, 4), marks=pytest.mark.slow)]
)
def test_so_it_does_where_signals_have_queries_of_their_own(batch, plan):
    learner, problem = make(batch, count=1050, shared=False)
    check(learner, problem, MetaConfig(), plan)


def check(learner, problem, config, plan):
    """An estimate from less than the whole, beside the whole."""
    count = problem.observations.count
    found = footprint(learner, problem, config, plan)
    assert found.seconds is None
    assert found.measured[1] < count
    whole = attrs.evolve(problem, chunk=plan.chunk(count))
    measured = peak_of(learner, whole, attrs.evolve(config, group=plan.group))
    assert found.peak == pytest.approx(measured, rel=0.05)
    assert found.fixed == 16 * sum(p.numel() for p in learner.parameters())
    assert found.batch == sum(t.numel() * t.element_size() for t in problem.observations.tensors())


def test_what_is_measured_whole_is_told_as_it_is_and_the_learner_stays():
    learner, problem = make(batch=4, count=700)
    before = [p.detach().clone() for p in learner.parameters()]
    found = footprint(learner, problem, MetaConfig(), Plan(4), patience=1e6)
    assert found.measured == (4, 700)
    assert found.seconds > 0
    assert found == attrs.evolve(
        footprint(learner, problem, MetaConfig(), Plan(4), patience=1e6), seconds=found.seconds
    )
    assert all(torch.equal(p, q) for p, q in zip(learner.parameters(), before, strict=True))
    assert all(p.grad is None for p in learner.parameters())


def test_without_a_limit_nothing_is_measured(monkeypatch):
    monkeypatch.setattr("functa_core.meta.memory.footprint", None)
    learner, problem = make()
    assert chosen(learner, problem, MetaConfig(group=3)) == Plan(3)
    assert chosen(learner, problem, MetaConfig(group=30)) == Plan(4)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_a_limit_is_kept_by_fewer_signals_then_by_fewer_observations(shared):
    """And the gradients are those of the whole batch at once."""
    learner, problem = make(count=500, shared=shared)
    config = MetaConfig()
    expected = gradients(learner, problem, attrs.evolve(config, group=4))
    slopes = [p.grad.clone() for p in learner.parameters()]
    most = footprint(learner, problem, config, Plan(4)).peak
    plans = []
    for share in (1.01, 0.6, 0.22):
        limited = attrs.evolve(config, group=4, max_memory=share * most / 1e9)
        plan = chosen(learner, problem, limited)
        plans.append(plan)
        assert footprint(learner, problem, config, plan).peak <= share * most
        learner.zero_grad()
        cut = attrs.evolve(problem, chunk=plan.chunk(problem.observations.count))
        found = gradients(learner, cut, attrs.evolve(config, group=plan.group))
        torch.testing.assert_close(found.loss, expected.loss, rtol=1e-5, atol=0)
        torch.testing.assert_close(found.psnr_db, expected.psnr_db, rtol=1e-5, atol=0)
        for parameter, slope in zip(learner.parameters(), slopes, strict=True):
            close = 1e-5 * float(slope.abs().max())
            torch.testing.assert_close(parameter.grad, slope, rtol=1e-5, atol=close)
    assert plans[0] == Plan(4)
    assert {1} < {plan.group for plan in plans}
    assert plans[-1].pieces > 1


@pytest.mark.parametrize("share", [0.5, pytest.param(1.1, marks=pytest.mark.slow)])
def test_what_cannot_fit_is_refused_with_the_least_it_takes(share):
    """Weights and batch alone, or what they take with the smallest pieces there are."""
    learner, problem = make(batch=2, count=4 * LEAST)
    config = MetaConfig()
    smallest = footprint(learner, problem, config, Plan(1, 4))
    alone = smallest.fixed + smallest.batch
    assert share * alone < smallest.peak
    config = attrs.evolve(config, max_memory=share * alone / 1e9)
    least = alone if share < 1 else smallest.peak
    with pytest.raises(UserError, match=rf"at least {least / 1e9:.3g} GB\.\nAllow more"):
        chosen(learner, problem, config)


@pytest.mark.slow
def test_training_under_a_limit_is_training(functa, tmp_path):
    arguments = (
        "train", "--modality", "clips", "--set", "meta.steps=4", "--set", "meta.log_every=1",
        "--set", "modality.points=null", "--set", "modality.longest=1000",
        "--set", "meta.batch_size=6", "--set", "meta.group=6",
    )  # fmt: skip
    for name, more in (("free", ()), ("held", ("--set", "meta.max_memory=0.0015"))):
        code, _, err = functa(*arguments, *more, "--out", tmp_path / name)
        assert code == 0, err
    free, held = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("free", "held")
    )
    assert len(held) == 4
    for key in ("loss", "psnr_db"):
        assert [line[key] for line in held] == pytest.approx([line[key] for line in free], rel=1e-5)
