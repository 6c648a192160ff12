"""Observations, losses, figures of merit, pictures and the embedded set."""

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from voxels_helpers import Balls, blobs, of_side, prepared, voxels

from functa_core import Observations, UserError, grid, load_run, train
from functa_core.cli.main import main
from functa_voxels.embedded import KINDS
from functa_voxels.measures import METRICS
from functa_voxels.meshing import surface
from functa_voxels.pictures import iou
from functa_voxels.sampling import cells_near_surface, surface_cells


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_observations_are_the_cells_in_order():
    shapes = list(blobs(3, 6))
    seen = of_side(6).observations(shapes)
    assert seen.shared
    assert torch.equal(seen.queries, grid((6, 6, 6)))
    assert np.array_equal(seen.values[..., 0].numpy(), blobs(3, 6).reshape(3, -1))
    assert seen.weights.eq(1).all()
    as_numbers = of_side(6).observations([s.astype(np.uint8) for s in shapes])
    assert torch.equal(as_numbers.values, seen.values)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_training_step_sees_one_random_part(share):
    modality = of_side(8, points=40, near_surface=share)
    shapes = list(blobs(2, 8))
    one, same, other = (modality.observations(shapes, seeded(s)) for s in (5, 5, 6))
    assert one.shared
    assert one.count == 40
    assert torch.equal(one.queries, same.queries)
    assert not torch.equal(one.queries, other.queries)
    whole = modality.observations(shapes)
    where = [(whole.queries == q).all(1).nonzero().item() for q in one.queries]
    assert len(set(where)) == 40
    assert torch.equal(whole.values[:, where], one.values)


@pytest.mark.parametrize("points", [None, 512, 1000])
def test_all_cells_where_there_are_no_more(points):
    seen = of_side(8, points=points, near_surface=0.5).observations([blobs()[0]], seeded(0))
    assert seen.count == 512
    assert seen.weights.eq(1).all()


@pytest.mark.parametrize(
    "signal", [blobs(1, 9)[0], blobs(1, 8)[0][:, :, 0], np.full((8, 8, 8), 0.5)]
)
def test_a_signal_that_does_not_fit(signal):
    with pytest.raises(UserError, match="shape 1 of the batch"):
        of_side(8).observations([blobs(1, 8)[0], signal])


def ball(side, radius=0.3):
    away = (grid((side,) * 3) - 0.5).norm(dim=-1)
    return (away < radius).reshape(side, side, side)


def test_cells_at_a_surface():
    near = surface_cells(ball(16)[None])[0]
    shell = (grid((16,) * 3) - 0.5).norm(dim=-1).reshape(16, 16, 16)
    assert ((shell - 0.3).abs()[near] < 1 / 16).all()
    assert near[(shell - 0.3).abs() < 0.2 / 16].all()
    assert not surface_cells(torch.ones(1, 4, 4, 4, dtype=torch.bool)).any()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_preferring_surfaces_leaves_the_mean_unbiased(share):
    shapes = torch.stack([ball(12), ball(12, 0.2)])
    error = torch.rand(2, 12**3, generator=seeded(1)) + 3 * surface_cells(shapes).flatten(1)
    means, near = [], surface_cells(shapes).any(dim=0).flatten()
    for seed in range(300):
        chosen, weights = cells_near_surface(shapes, 100, share, seeded(seed))
        assert len(set(chosen.tolist())) == 100
        assert float(weights.sum()) == pytest.approx(12**3)
        means.append((error[:, chosen] * weights).sum(dim=1) / weights.sum())
    assert int(near[chosen].sum()) == round(100 * share)
    spread = torch.stack(means).std(dim=0) / math.sqrt(300)
    assert ((torch.stack(means).mean(dim=0) - error.mean(dim=1)).abs() < 4 * spread).all()


def test_preferring_surfaces_where_there_are_few_or_only_such():
    full = torch.ones(1, 4, 4, 4, dtype=torch.bool)
    checks = torch.from_numpy(np.indices((4, 4, 4)).sum(axis=0) % 2 == 0)[None]
    lone = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    lone[0, 0, 0, 0] = True
    for shapes in (full, checks, lone):
        chosen, weights = cells_near_surface(shapes, 30, 0.9, seeded(0))
        assert len(set(chosen.tolist())) == 30
        assert float(weights.sum()) == pytest.approx(64)


def test_a_fit_uses_the_same_part_of_every_shape():
    modality = of_side(8, fit_points=50)
    seen = modality.observations(list(blobs()))
    used = modality.fitted(seen)
    assert used.shape == (4, 512)
    assert used.sum(dim=1).tolist() == [50] * 4
    assert torch.equal(used[0], used[3])
    assert seen.masked(used).compact().shared
    assert of_side(8, fit_points=None).fitted(seen) is None
    assert of_side(8, fit_points=512).fitted(seen) is None


def test_figures_may_be_of_a_part():
    modality, shapes = of_side(8, scored_points=200, fit_points=50), list(blobs())
    seen, again = modality.observations(shapes), modality.observations(shapes[::-1])
    assert seen.count == 200
    assert torch.equal(seen.queries, again.queries)
    assert torch.equal(seen.values, again.values.flip(0))
    whole = of_side(8).observations(shapes)
    where = [(whole.queries == q).all(1).nonzero().item() for q in seen.queries]
    assert where == sorted(set(where))
    assert torch.equal(whole.values[:, where], seen.values)
    assert modality.fitted(seen).sum(dim=1).tolist() == [50] * 4


def test_squared_error_is_the_default():
    predicted, values = torch.tensor([[[0.25], [2.0]]]), torch.tensor([[[1.0], [0.0]]])
    assert of_side(4).loss(predicted, values).tolist() == [[0.5625, 4]]
    assert of_side(4).spec.output_offset == 0.5


class Constant:
    """A field that has the same features wherever it is asked."""

    def __init__(self, features):
        self.features = features

    def __len__(self):
        return len(self.features)

    def __getitem__(self, chosen):
        return Constant(self.features[chosen])

    def __call__(self, coords):
        return self.features


def test_the_bernoulli_loss_is_the_cross_entropy_of_a_logit():
    modality = of_side(4, loss="bernoulli")
    assert modality.spec.output_offset == 0
    logits = torch.tensor([[[-3.0], [0.0], [2.0]]], requires_grad=True)
    values = torch.tensor([[[1.0], [0.0], [1.0]]])
    predicted = modality.forward(Constant(logits), torch.zeros(3, 3))
    loss = modality.loss(predicted, values)
    exact = torch.nn.functional.binary_cross_entropy_with_logits(logits, values, reduction="none")
    assert torch.allclose(loss, exact[..., 0], atol=1e-6)
    (gradient,) = torch.autograd.grad(loss.sum(), logits, create_graph=True)
    assert torch.allclose(gradient, logits.sigmoid() - values, atol=1e-6)
    (second,) = torch.autograd.grad(gradient.sum(), logits)
    assert torch.allclose(second, logits.sigmoid() * (1 - logits.sigmoid()), atol=1e-5)


def test_the_bernoulli_loss_of_the_surely_wrong_is_finite():
    modality = of_side(4, loss="bernoulli")
    certain = torch.tensor([[[1e4], [-1e4]]]).sigmoid()
    loss = modality.loss(certain, torch.tensor([[[0.0], [1.0]]]))
    assert loss.isfinite().all()
    assert (loss > 13).all()


def observed(values, weights=None):
    values = torch.tensor(values)[..., None]
    weights = torch.ones(values.shape[:2]) if weights is None else torch.tensor(weights)
    return Observations(torch.zeros(values.shape[1], 3), values, weights)


def test_metrics_by_hand():
    predicted = torch.tensor([[0.9, 0.6, 0.4, -2.0], [0.1, 0.2, 0.3, 0.4]])[..., None]
    seen = observed([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    found = {m.name: m.compute(predicted, seen).tolist() for m in METRICS}
    assert found == {"iou": [pytest.approx(1 / 3), 1], "voxel_accuracy": [0.5, 1]}
    hidden = observed([[1.0, 0.0, float("nan"), 0.0]], [[1.0, 0.0, 0.0, 1.0]])
    assert {m.name: m.compute(predicted[:1], hidden).item() for m in METRICS} == {
        "iou": 1,
        "voxel_accuracy": 1,
    }


def test_iou_agrees_with_the_core_figure():
    shapes = blobs(2, 8)
    expected = METRICS[0].compute(
        torch.tensor(shapes[:1], dtype=torch.float32).reshape(1, -1, 1),
        of_side(8).observations([shapes[1]]),
    )
    assert iou(shapes[0].astype(float), shapes[1].astype(float)) == pytest.approx(float(expected))


def test_decode():
    occupancy = of_side(12).decode(Balls([[0.5, 0.5, 0.5], [0.25, 0.5, 0.75]]))
    assert occupancy.shape == (2, 12, 12, 12)
    assert float(occupancy.min()) == 0
    assert float(occupancy.max()) == 1
    assert occupancy[1, 3, 6, 8] == 1
    assert occupancy[1, 8, 6, 3] == 0
    assert of_side(12).decode(Balls([[0.5] * 3]), 20).shape == (1, 20, 20, 20)
    chances = of_side(12, loss="bernoulli").decode(Balls([[0.5] * 3]))
    assert float(chances.max()) < 1
    assert ((chances > 0.5) == (occupancy[:1] > 0.5)).float().mean() > 0.9


@pytest.mark.parametrize("side", [24, 48])
def test_marching_cubes_have_the_volume_of_a_sphere(side):
    field = Balls([[0.5, 0.5, 0.45]], radius=0.3)
    mesh = surface(of_side(32).decode(field, side)[0].numpy())
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.3**3, rel=0.02)
    assert np.allclose(mesh.bounds, [[0.2, 0.2, 0.15], [0.8, 0.8, 0.75]], atol=0.01)


def test_a_surface_is_closed_at_the_border():
    mesh = surface(np.ones((8, 8, 8), np.float32))
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_render(tmp_path, up):
    field = Balls([[0.5, 0.5, 0.5], [0.3, 0.4, 0.6]], radius=0.2)
    artefacts = of_side(16, up=up).render(field, tmp_path, ["a", "b"], 24)
    assert [a.path.name for a in artefacts] == [
        "a.png",
        "a.glb",
        "a.stl",
        "b.png",
        "b.glb",
        "b.stl",
    ]
    stl = trimesh.load_mesh(tmp_path / "b.stl")
    assert np.allclose(stl.bounds.mean(axis=0), [0.3, 0.4, 0.6], atol=0.01)
    assert stl.volume == pytest.approx(4 / 3 * math.pi * 0.2**3, rel=0.03)
    scene: Any = trimesh.load(tmp_path / "b.glb")
    glb = scene.to_mesh()
    height = [0.3, 0.4, 0.6]["xyz".index(up)] - 0.5
    assert glb.bounds.mean(axis=0)[1] == pytest.approx(height, abs=0.01)
    assert glb.volume == pytest.approx(stl.volume, rel=1e-3)
    with Image.open(tmp_path / "b.png") as image:
        pixels = np.asarray(image).astype(float)
    dark = (pixels.min(axis=2) < 250).mean()
    assert 0.02 < dark < 0.2


def test_rendering_nothing(tmp_path):
    artefacts = of_side(8).render(Balls([[9.0, 9.0, 9.0]]), tmp_path, ["none"])
    assert [a.path.name for a in artefacts] == ["none.png"]


def test_figures(tmp_path):
    modality = of_side(16)
    signals = [ball(16).numpy(), blobs(1, 16)[0]]
    fields = [Balls([[0.5] * 3] * 2, radius) for radius in (0.1, 0.25, 0.3)]
    artefacts = modality.figures(signals, fields, tmp_path)
    assert [a.path.name for a in artefacts] == ["fits.png", "steps.png"]
    for artefact, columns in zip(artefacts, (6, 4), strict=True):
        with Image.open(artefact.path) as image:
            assert image.width == pytest.approx(174 * columns, abs=10)
            assert np.asarray(image).std() > 10


def test_preview_and_inspect_lines(tmp_path):
    modality = prepared()
    (sheet,) = modality.preview(modality.dataset("train"), tmp_path)
    assert "32 training shapes" in sheet.caption
    lines = modality.describe(modality.dataset("test"))
    assert lines["grid"] == "32x32x32 cells"
    assert "% of the cells" in lines["filled"]


def rotations():
    """The 24 ways to turn a cube, as functions of (r, r, r)."""
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = flips
            if np.linalg.det(matrix) > 0:
                yield lambda v, order=order, flips=flips: v.transpose(order)[
                    :: flips[0], :: flips[1], :: flips[2]
                ]


def test_the_embedded_set():
    fresh = voxels()
    train_set, test_set = fresh.dataset("train"), fresh.dataset("test")
    assert (len(train_set), len(test_set)) == (300, 60)
    assert list(train_set.label_names) == list(KINDS)
    assert set(train_set.labels) == set(test_set.labels) == set(range(len(KINDS)))
    trained = np.stack(list(train_set)).reshape(300, -1).astype(np.float32)
    share = trained.mean(axis=1)
    assert share.min() > 0.01
    assert share.max() < 0.4
    turns = list(rotations())
    assert len(turns) == 24
    tested = np.stack([turn(shape).ravel() for shape in test_set for turn in turns])
    common = tested.astype(np.float32) @ trained.T
    union = tested.sum(axis=1)[:, None] + trained.sum(axis=1) - common
    assert (common / union).max() < 0.97, "no test shape is a training one, however turned"


def test_the_embedded_set_is_the_same_everywhere(monkeypatch, tmp_path):
    first = list(voxels().dataset("all"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    again = list(voxels().dataset("all"))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(
    ("options", "solver"),
    [
        ({}, "gauss-newton"),
        ({"loss": "bernoulli"}, "meta-sgd"),
        ({"near_surface": 0.5}, "gauss-newton"),
    ],
)
def test_training_learns_and_a_run_decodes(tmp_path, options, solver):
    shapes = np.stack([ball(8, r).numpy() for r in np.linspace(0.15, 0.45, 12)])
    np.save(tmp_path / "x.npy", shapes)
    config = {
        "modality": {"name": "voxels", "points": 128, **options},
        "data": {"path": str(tmp_path / "x.npy")},
        "model": {"latent_dim": 8, "width": 24, "depth": 3, "w0": 10},
        "meta": {"steps": 60, "batch_size": 4, "lr": 3e-3, "log_every": 1, "solver": solver},
    }
    run = train(config, tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    psnr = [json.loads(line)["psnr_db"] for line in lines]
    assert np.mean(psnr[-5:]) > np.mean(psnr[:5]) + 3
    again = load_run(tmp_path / "run")
    decoded = again.decode(again.encode(list(shapes)))
    assert decoded.shape == (12, 8, 8, 8)
    assert torch.equal(decoded, run.decode(run.encode(list(shapes))))
    told = [iou(d, s.astype(float)) for d, s in zip(decoded.numpy(), shapes, strict=True)]
    assert np.mean(told) > 0.4


@pytest.mark.slow
def test_a_whole_run(tmp_path):
    """Every command that a shape passes through, on 20 small ones."""
    shapes = np.stack([ball(8, r).numpy() for r in np.linspace(0.2, 0.45, 20)])
    np.savez(tmp_path / "x.npz", voxels=shapes, is_test=np.arange(20) % 5 == 0)
    run, options = tmp_path / "run", ["meta.steps=5", "model.width=8", "model.latent_dim=4"]
    options += ["tasks.generate.model=flow", "tasks.generate.flow_steps=2", "tasks.impute.steps=2"]
    options += ["tasks.interpolate.frames=3", "tasks.classify.steps=2"]
    functa(
        "run", "--modality", "voxels", "--data", tmp_path / "x.npz", "--out", run, *sets(options)
    )
    metrics = json.loads((run / "metrics.json").read_text())
    for split in ("train", "test"):
        figures = metrics["reconstruction"][split]
        assert set(figures) == {"psnr_db", "iou", "voxel_accuracy"}
        assert 0 <= figures["iou"] <= figures["voxel_accuracy"] <= 1
    assert set(metrics["baselines"]) == {"mean", "nearest", "pca"}
    assert (metrics["n_train"], metrics["n_test"]) == (16, 4)
    assert (run / "report.html").read_text().count("data:image/png") >= 3
    latents = run / "functaset" / "test.safetensors"
    functa(
        "decode", "--run", run, "--latents", latents, "--out", tmp_path / "d", "--resolution", 12
    )
    assert len(list((tmp_path / "d").glob("*.png"))) == 4


def functa(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 0


def sets(options):
    return [word for option in options for word in ("--set", option)]
