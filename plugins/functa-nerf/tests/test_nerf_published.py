"""Published weights of scenes: recognised, imported, and the same numbers."""

import json
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from nerf_helpers import write_scene

from functa_core import Observations, UserError, load_run
from functa_core.cli.main import main
from functa_core.networks.base import NetworkField
from functa_core.runs.directory import RunDirectory
from functa_core.runs.importing import import_published
from functa_nerf.config import NerfConfig
from functa_nerf.modality import Nerf

PARITY = Path(__file__).parents[3] / "tests" / "data" / "parity" / "nerf_shift_linear.npz"
SCENE = {"name": "srn_cars", "num_channels": 4, "resolution": 8, "type": "scene"}


def relative(ours: torch.Tensor, theirs: np.ndarray) -> float:
    return float(np.abs(ours.detach().numpy() - theirs).max() / np.abs(theirs).max())


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The weights of the reference, published as the authors publish theirs, as a run."""
    case = np.load(PARITY)
    said = json.loads(str(case["config_json"]))
    params: dict[str, dict[str, np.ndarray]] = {}
    for key in case.files:
        if key.startswith("param:"):
            module, name = key.removeprefix("param:").rsplit("/", 1)
            params.setdefault(module, {})[name] = case[key]
    names = ("width", "depth", "latent_dim", "layer_sizes", "w0", "modulate_scale")
    config = {
        "model": {name: said[name] for name in names},
        "dataset": {**SCENE, "num_points_per_ray": said["points_per_ray"]},
    }
    folder = tmp_path_factory.mktemp("published")
    (folder / "cars.npz").write_bytes(pickle.dumps({"params": params, "config": config}))
    out = folder / "run"
    assert import_published(folder / "cars.npz", out=out, run=None, modality=None, data=None) == [
        out
    ]
    return load_run(out, "cpu")


def test_the_reference_numbers(imported):
    case = np.load(PARITY)
    beams = torch.from_numpy(case["rays"]).movedim(1, -2).flatten(-2).flatten(1, 3)
    targets = torch.from_numpy(case["targets"]).flatten(1, 3)
    observations = Observations(beams, targets, torch.ones(targets.shape[:2]))
    encoder = imported.encoder
    path = encoder.learner.solver.fit(
        encoder.problem(observations), imported.config.meta.inner_steps
    )
    for latent, expected in zip(path[1:], case["latents_by_step"][1:], strict=True):
        assert relative(latent, expected) < 1e-5
    field = NetworkField(encoder.learner.network, torch.zeros(1, 16))
    with torch.no_grad():
        colours = imported.modality.forward(field, beams[0])
    expected = case["rgb_at_init"]
    assert relative(colours.reshape(expected.shape), expected) < 1e-5


def test_the_outer_loop_is_the_authors_for_scenes(imported):
    meta = imported.config.meta
    assert (meta.steps, meta.batch_size, meta.lr, meta.lr_final) == (500_000, 1, 3e-6, 1.0)


def test_it_is_rendered_without_ever_having_seen_data(imported, tmp_path):
    views = imported.decode(torch.zeros(2, 16), resolution=6)
    assert views.shape == (2, 24, 6, 6, 3)
    assert float(views.min()) >= 0
    assert float(views.max()) <= 1 + 1e-6
    field = imported.field(torch.zeros(1, 16))
    for artefact in imported.modality.render(field, tmp_path, ["a"], resolution=4):
        assert artefact.path.is_file()
    assert (
        "srn"
        in json.loads(RunDirectory(imported.path).published.read_text())["config"]["dataset"][
            "name"
        ]
    )


@pytest.mark.slow
def test_commands_and_tasks_accept_it(imported, tmp_path):
    """With scenes of the user's own, whose cameras are at SRN's distance."""
    for part, views in (("train", 4), ("test", 130)):
        write_scene(tmp_path / "data" / f"cars_{part}" / "a", views=views, seed=views)
    file, run = imported.path.parent / "cars.npz", tmp_path / "run"
    for arguments in (
        ["import-deepmind", file, "--out", run, "--data", tmp_path / "data"],
        ["encode", "--run", run, "--split", "test", "--out", tmp_path / "z.safetensors"],
        ["evaluate", "--run", run],
        ["views", "--run", run, "--set", "tasks.views.protocol=functa"],
    ):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        assert ended.value.code == 0, arguments
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["n_train"], metrics["n_test"]) == (1, 1)
    assert metrics["reconstruction"]["test"].keys() == {"psnr_db", "context_psnr_db"}
    assert metrics["baselines"].keys() == {"mean", "nearest"}
    assert metrics["tasks"]["views"]["context"].keys() == {"1", "2", "4"}
    assert metrics["tasks"]["views"]["protocol"].startswith("the authors' code's")
    assert (run / "tasks" / "views" / "compared.png").is_file()


def test_what_a_configuration_says():
    training = {"subsample_num_views": 5, "subsample_num_points": 300, "coord_noise": True}
    config = {"dataset": {**SCENE, "num_points_per_ray": 48}, "training": training}
    found = Nerf.from_published(config)
    assert found is not None
    chosen = NerfConfig(**found.options)
    assert (chosen.resolution, chosen.points_per_ray, chosen.near, chosen.far) == (8, 48, 0.8, 1.8)
    assert (chosen.views, chosen.rays, chosen.fit_rays, chosen.coord_noise) == (5, 300, 1500, True)
    assert len(found.notes) == 1  # cameras and depths are never in it

    found = Nerf.from_published({"dataset": {"name": "srn_cars"}})
    assert found is not None
    chosen = NerfConfig(**found.options)
    assert (chosen.resolution, chosen.points_per_ray) == (128, 32)
    assert (chosen.views, chosen.rays, chosen.coord_noise) == (8, 1024, False)
    assert any("dataset.num_points_per_ray" in note for note in found.notes)
    assert any("dataset.type" in note for note in found.notes)


def test_the_assumed_lens_shows_all_between_near_and_far():
    found = Nerf.from_published({"dataset": SCENE})
    assert found is not None
    lens, radius = found.state["lens"], found.state["orbit"]["radius"]
    # The ray through the middle of an edge touches the ball of radius 0.5 around the origin.
    edge = np.array([lens["width"] / 2 / lens["focal"], -1])
    distance = radius * abs(edge[0]) / np.linalg.norm(edge)
    assert distance == pytest.approx(0.5)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"dataset": 3},
        {"dataset": {}},
        {"dataset": {"type": "image", "name": "srn_cars"}},
        {"dataset": {"name": "celeb_a_hq_custom"}},
        {"dataset": {"name": 7}},
    ],
)
def test_what_is_not_of_scenes(config):
    assert Nerf.from_published(config) is None


@pytest.mark.parametrize("side", [0, -3, "128", 12.5, None, True])
def test_impossible_views(side):
    with pytest.raises(UserError, match="resolution"):
        Nerf.from_published({"dataset": {**SCENE, "resolution": side}})


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("training", "subsample_num_points"),
        ("training", "subsample_num_views"),
        ("dataset", "num_points_per_ray"),
    ],
)
@pytest.mark.parametrize("value", [[0] * 1000, "x", 0, -1, 1.5, True, None, 10**7 + 1, 2**62])
def test_impossible_numbers_of_rays(section, key, value):
    config = {"dataset": dict(SCENE), "training": {}}
    config[section][key] = value
    with pytest.raises(UserError, match=f"{section}.{key} is not a whole number from 1 to 10,000"):
        Nerf.from_published(config)


@pytest.mark.parametrize("rays", [[0] * 1000, "x" * 1000])
def test_what_is_no_number_is_never_repeated(rays):
    """A list or a text times a number of views would be gigabytes."""
    training = {"subsample_num_points": rays, "subsample_num_views": 10**5}
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="subsample_num_points"):
            Nerf.from_published({"dataset": SCENE, "training": training})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10**6


def test_rays_of_all_views_together():
    training = {"subsample_num_points": 10**4, "subsample_num_views": 10**3}
    found = Nerf.from_published({"dataset": SCENE, "training": training})
    assert found is not None
    assert found.options["fit_rays"] == 10_000_000
    training["subsample_num_views"] += 1
    with pytest.raises(UserError, match="10,010,000 rays of a scene at once"):
        Nerf.from_published({"dataset": SCENE, "training": training})
