"""Signals from parts of them: the solver, the figures, the command; on a stranger's modality."""

import json

import attrs
import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from functa_core import Mask, load_run
from functa_core.baselines import GridBaselines
from functa_core.encoding import Encoder
from functa_core.latents.gaussian import Gaussian
from functa_core.modality import seeded
from functa_core.observations import Observations
from functa_core.tasks.completing import (
    Posterior,
    _log_density,
    complete,
    residual_sigma,
    whitening,
)
from functa_core.tasks.masking import mask_signal


@pytest.fixture(scope="module")
def run(clips_run):
    return load_run(clips_run)


@pytest.fixture(scope="module")
def latents(run):
    return run.functaset("train").latents


def whole(run, place=0):
    return run.modality.observations([run.dataset("test")[place]])


def metrics_of(run):
    return json.loads((run / "metrics.json").read_text())


def test_with_everything_observed_and_no_prior_it_is_encoding(run):
    latent = complete(run.encoder, whole(run))
    torch.testing.assert_close(
        latent.cpu(), run.encode([run.dataset("test")[0]]), atol=1e-6, rtol=0
    )
    again = complete(run.encoder, whole(run), Posterior(0.1), steps=0)
    torch.testing.assert_close(again, latent, atol=1e-6, rtol=0)


def test_an_empty_context_reaches_the_mode_of_a_gaussian(run, latents):
    nothing = whole(run)
    nothing = nothing.masked(torch.zeros_like(nothing.weights, dtype=torch.bool))
    prior = Gaussian.fit(latents, seeded(0))
    mean = latents.mean(dim=0)
    assert float((complete(run.encoder, nothing) - mean).abs().max()) > 1e-3  # not there already
    for basis in (None, whitening(latents)):
        found = complete(run.encoder, nothing, Posterior(0.1, prior, basis=basis), steps=200)
        torch.testing.assert_close(found[0], mean, atol=1e-3, rtol=0)


def test_a_prior_is_asked_where_it_is_and_answers_where_the_latent_is(latents):
    """On a GPU that nobody has here, so that nothing is computed but places."""

    class Nearby:
        def log_prob(self, z):
            return -(z - latents[0]).square().sum(dim=1)

    with FakeTensorMode(allow_non_fake_inputs=True):
        nats, slope = _log_density(Nearby(), torch.empty(1, latents.shape[1], device="cuda"))
    assert (nats.shape, slope.shape) == ((), (latents.shape[1],))
    assert slope.device.type == "cuda"


class Normal:
    """A Gaussian of a given spread around a place, as an independent prior."""

    def __init__(self, middle, spread):
        self.middle, self.spread = middle, spread

    def log_prob(self, z):
        return torch.distributions.Normal(self.middle, self.spread).log_prob(z).sum(dim=1)


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_the_result_is_a_minimum_of_the_stated_objective(run, latents, precision):
    """The gradient, by autograd on the formula of the docstring written again, vanishes.

    So it does where encoding is in bfloat16, whose digits a line search cannot do with.
    """
    encoder = attrs.evolve(run.encoder, precision=precision)
    seen = whole(run)
    seen = seen.masked(torch.arange(seen.count)[None] % 3 == 0)
    prior = Normal(latents.mean(0), latents.std(0))
    sigma, weight = 0.3, 2.0
    found = complete(encoder, seen, Posterior(sigma, prior, weight, whitening(latents)), steps=200)

    def objective(latent):
        used = seen.weights[0] > 0
        values = run.encoder.learner.network(seen.queries[0, used][None], latent)
        squares = (values - seen.values[:, used]).square().sum()
        return squares / (2 * sigma**2) - weight * prior.log_prob(latent).sum()

    def slope(latent):
        leaf = latent.clone().requires_grad_()
        return torch.autograd.grad(objective(leaf), leaf)[0] @ whitening(latents)

    before = float(slope(complete(encoder, seen)).norm())
    assert float(slope(found).norm()) < 1e-3 * before


class Overshooting(Encoder):
    """An encoder whose inner steps end far from everything that is likely."""

    def fit(self, observations):
        path = super().fit(observations)
        return [*path[:-1], path[-1] + 50.0]


def test_optimisation_begins_at_the_best_inner_step_and_not_at_the_last(run):
    seen = whole(run)
    far = Overshooting(**attrs.asdict(run.encoder, recurse=False))

    def loss(latent):
        return float(run.encoder.problem(seen).loss_and_gradient(latent)[0])

    best = min(loss(latent) for latent in run.encoder.fit(seen)[:-1])
    assert loss(complete(far, seen)) > best  # without a posterior it is the run's own encoding
    assert loss(complete(far, seen, Posterior(0.1), steps=1)) <= best


def test_a_strong_prior_wins_and_a_weak_one_leaves_the_data(run, latents):
    seen, mean = whole(run), latents.mean(0)
    prior = Gaussian.fit(latents, seeded(0))

    def distance(weight):
        posterior = Posterior(0.1, prior, weight, whitening(latents))
        return float((complete(run.encoder, seen, posterior, steps=60)[0] - mean).norm())

    assert distance(1e6) < 1e-3 < distance(1.0)


def test_hidden_values_are_never_read(run, latents):
    seen = whole(run)
    keep = torch.arange(seen.count)[None] < seen.count // 3
    posterior = Posterior(0.1, Gaussian.fit(latents, seeded(0)), basis=whitening(latents))
    one = complete(run.encoder, seen.masked(keep), posterior, steps=10)
    spoilt = torch.where(keep[..., None], seen.values, torch.nan)
    other = Observations(seen.queries, spoilt, seen.weights).masked(keep)
    assert torch.equal(complete(run.encoder, other, posterior, steps=10), one)


def test_sigma_is_the_root_mean_squared_residual_of_the_fits(run):
    train, squares = run.functaset("train"), []
    for clip, latent in zip(run.dataset("train"), train.latents, strict=True):
        seen = run.modality.observations([clip])
        fit = run.encoder.predict(latent[None], seen)
        squares.append(float((fit - seen.values).square().mean()))
    assert residual_sigma(train, 2.0) == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-4)


def test_whitening_whitens():
    rows = torch.randn(4000, 3, generator=seeded(1)) @ torch.tensor(
        [[2.0, 0.3, 0.0], [0.0, 0.5, 0.2], [0.0, 0.0, 1.0]]
    )
    white = torch.linalg.solve(whitening(rows), (rows - rows.mean(0)).mT)
    torch.testing.assert_close(white @ white.mT / 4000, torch.eye(3), atol=0.12, rtol=0)
    assert torch.isfinite(whitening(rows[:2])).all()


def test_pca_completion_is_the_conditional_mean_of_its_gaussian():
    """Against the textbook formula for a partitioned Gaussian, with WWᵀ + σ²I written out."""
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(200, 3)) * [3, 2, 1] @ rng.normal(size=(3, 8))).astype(np.float32)
    rows += 0.3 * rng.normal(size=rows.shape).astype(np.float32)
    grid = GridBaselines(rows, rows.mean(0), np.square(rows))
    seen = np.arange(8) < 5
    target = torch.from_numpy(rows[:1] + 0.1)[..., None]
    observed = Observations(torch.zeros(8, 1), target, torch.ones(1, 8))
    found = grid.completion(3)([None], observed, torch.from_numpy(seen)[None])[0, :, 0].numpy()
    covariance = PCA(3).fit(rows.astype(float)).get_covariance()
    gain = covariance[np.ix_(~seen, seen)] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    residual = target[0, seen, 0].numpy() - rows.mean(0)[seen]
    np.testing.assert_allclose(found[~seen], rows.mean(0)[~seen] + gain @ residual, atol=1e-3)


def test_impute_is_a_part_of_a_run_and_of_its_report(clips_run):
    impute = metrics_of(clips_run)["tasks"]["impute"]
    assert list(impute["masks"]) == ["first-half", "scattered"]
    half = impute["masks"]["first-half"]
    assert 0.4 < half["share_observed"] < 0.6
    for way in ("inner_steps", "no_prior", "gaussian"):
        assert half[way].keys() == {"hidden_psnr_db", "seen_psnr_db"}
    assert half["hidden_psnr_db"] == half["gaussian"]["hidden_psnr_db"]
    both = [mask["hidden_psnr_db"] for mask in impute["masks"].values()]
    assert impute["hidden_psnr_db"] == pytest.approx(np.mean(both))
    assert "Task: impute" in (clips_run / "report.html").read_text()
    written = clips_run / "tasks/impute/scattered/imputed.csv"
    assert written.read_text().startswith("# inner steps, no prior, Gaussian")


def test_the_figure_is_of_the_hidden_part_of_a_fit_to_the_rest(clips_run, run):
    found = []
    for clip in run.dataset("test"):
        time = (np.arange(len(clip)) + 0.5) / len(clip)
        seen = run.modality.observations([clip])
        few = np.flatnonzero(time < 0.5)
        part = Observations(seen.queries[:, few], seen.values[:, few], seen.weights[:, few])
        with torch.no_grad():
            fit = run.field(run.encoder.fit(part)[-1])(seen.queries)[0, :, 0].numpy()
        found.append(10 * np.log10(4.0 / np.mean((fit - clip)[time >= 0.5] ** 2)))
    half = metrics_of(clips_run)["tasks"]["impute"]["masks"]["first-half"]
    assert half["inner_steps"]["hidden_psnr_db"] == pytest.approx(np.mean(found), abs=1e-3)


def test_the_same_seed_gives_the_same_figures_and_another_other_masks(clips_run, functa, tmp_path):
    def figures(*options):
        code, printed, _ = functa(
            "impute",
            "--run",
            clips_run,
            "--out",
            tmp_path,
            "--set",
            "tasks.impute.steps=3",
            *options,
        )
        assert code == 0
        return json.loads(printed[printed.index("{") :])

    kept = (clips_run / "metrics.json").read_text()
    try:
        first, again, other = figures(), figures(), figures("--seed", 5)
    finally:
        (clips_run / "metrics.json").write_text(kept)
    assert first == again
    assert other["masks"]["scattered"]["no_prior"] != first["masks"]["scattered"]["no_prior"]


def test_what_is_held_out_is_neither_seen_nor_scored(run):
    class Holding(type(run.modality)):  # type: ignore[misc]
        def held_out(self, signals, observations):
            return torch.arange(observations.count)[None].expand(len(signals), -1) >= 8

    import attrs

    modality = Holding(run.config.modality, run.config.source(), run.modality.state)
    encoder = attrs.evolve(run.encoder, modality=modality)
    mask = Mask("few", "four", lambda s, o, g: (torch.arange(o.count) < 4).expand(len(s), -1))
    part = mask_signal(encoder, mask, run.dataset("test")[0], "x", 0)
    assert int((part.seen.weights > 0).sum()) == 4
    assert int((part.hidden.weights > 0).sum()) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["masks=[first-hlf]"], "Did you mean 'first-half'"),
        (["masks=[]"], "at least one mask"),
        (["prior=flwo"], "one of flow, gaussian"),
        (["steps=-1"], "at least 0"),
        (["sigma=0"], "greater than 0"),
        (["signals=0"], "at least 1"),
        (["prior_weight=-1"], "at least 0"),
        (["mask_file=NOWHERE"], "cannot be read"),
        (["mask_file=NUMBERS"], "must hold booleans"),
        (["mask_file=SHORT"], "3 entries"),
        (["mask_file=ZIP"], "must hold booleans"),
        (["mask_file=NOTHING"], "nothing observed of test signal"),
        (["mask_file=ALL"], "nothing hidden of test signal"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(
    clips_run, run, functa, tmp_path, options, said
):
    files = tmp_path / "files"
    files.mkdir()
    count = len(run.dataset("test")[0])
    for name, values in {
        "NUMBERS": np.ones(count),
        "SHORT": np.array([True, False, True]),
        "NOTHING": np.zeros(count, bool),
        "ALL": np.ones(count, bool),
    }.items():
        np.save(files / f"{name}.npy", values)
    np.savez(files / "ZIP.npz", a=np.ones(count, bool))
    (files / "ZIP.npz").rename(files / "ZIP.npy")
    before, out = metrics_of(clips_run), tmp_path / "out"
    key, value = options[0].split("=")
    value = str(files / f"{value}.npy") if key == "mask_file" else value
    code, _, err = functa(
        "impute", "--run", clips_run, "--out", out, "--set", f"tasks.impute.{key}={value}"
    )
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not out.exists()
    assert metrics_of(clips_run) == before
