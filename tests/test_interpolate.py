"""Ways between signals: where they begin and end, how long they are, the command."""

import json
from copy import deepcopy

import attrs
import pytest
import torch

from functa_core import UserError, load_run
from functa_core.latents.flow import Flow, FlowOptions
from functa_core.modality import seeded
from functa_core.tasks.interpolate import choose_pairs, length, nearest, path, spherical


@pytest.fixture(scope="module")
def run(clips_run):
    return load_run(clips_run)


@pytest.fixture(scope="module")
def flow(run):
    return Flow.fit(run.functaset("train").latents, FlowOptions(steps=20), 0)


def metrics_of(run):
    return json.loads((run / "metrics.json").read_text())


@pytest.mark.parametrize("way", ["straight", "base"])
def test_the_ends_decode_to_their_signals(run, flow, way):
    ends = run.functaset("test").latents[:2]
    frames = path(ends, 7, way, flow)
    assert len(frames) == 7
    assert torch.equal(frames[[0, -1]], ends)
    torch.testing.assert_close(run.decode(frames[[0, -1]]), run.decode(ends), atol=1e-5, rtol=0)
    steps = (frames[1:] - frames[:-1]).norm(dim=1)
    assert float(steps.max()) < 4 * float(steps.median())  # no jump next to the pinned ends


def test_a_straight_way_is_the_weighted_mean_of_its_ends():
    ends = torch.tensor([[0.0, 1.0], [1.0, -1.0]])
    assert path(ends, 3, "straight")[1].tolist() == [0.5, 0.0]


def test_a_spherical_way_keeps_to_the_sphere_at_equal_angles():
    ends = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]], dtype=torch.float64)
    share = torch.linspace(0, 1, 4, dtype=torch.float64)[:, None]
    found = spherical(ends, share)
    torch.testing.assert_close(found.norm(dim=1), torch.full((4,), 2.0, dtype=torch.float64))
    angles = torch.atan2(found[:, 1], found[:, 0]).rad2deg()
    torch.testing.assert_close(angles, torch.tensor([0.0, 30, 60, 90], dtype=torch.float64))


def test_a_spherical_way_between_parallel_ends_is_straight():
    ends = torch.tensor([[1.0, 1.0], [3.0, 3.0]], dtype=torch.float64)
    share = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
    assert spherical(ends, share)[:, 0].tolist() == [1.0, 2.0, 3.0]


def test_a_way_is_never_shorter_than_the_distance_of_its_ends(run):
    latents = run.functaset("test").latents[:2]
    seen = run.modality.observations([run.dataset("test")[0]])
    assert length(run.encoder, latents, seen) == pytest.approx(1.0)
    assert length(run.encoder, path(latents, 9, "straight"), seen) >= 1 - 1e-5
    there_and_back = torch.stack([latents[0], latents[1], latents[0], latents[1]])
    assert length(run.encoder, there_and_back, seen) == pytest.approx(3.0, rel=1e-4)


def test_the_nearest_distance_is_in_standard_deviations():
    train = torch.randn(50, 4, generator=seeded(0)) * torch.tensor([1.0, 10, 100, 0.1])
    assert nearest(train[3:5], train).tolist() == [0.0, 0.0]
    away = train[:1] + train.std(dim=0, correction=0)
    found = nearest(away, train)
    assert float(found) <= 1.0 + 1e-6
    dead = torch.full((50, 1), 5.0)
    assert torch.equal(
        nearest(torch.cat([away, dead[:1] + 1e-3], 1), torch.cat([train, dead], 1)), found
    )
    with pytest.raises(UserError, match="at least 2 latents"):
        nearest(away, train[:1])


def test_latents_are_moved_to_the_network_that_decodes_them(run):
    """To where nothing is computed but shapes, since nobody has a GPU here."""
    meta = torch.device("meta")
    encoder = attrs.evolve(run.encoder, learner=deepcopy(run.encoder.learner).to(meta), device=meta)
    seen = run.modality.observations([run.dataset("test")[0]])
    predicted = encoder.predict(run.functaset("test").latents[:1], seen.to("meta"))
    assert (predicted.device, predicted.shape) == (meta, seen.values.shape)


def test_pairs_are_of_different_signals_and_a_function_of_the_seed():
    pairs = choose_pairs(7, 3, seed=1)
    assert len({i for pair in pairs for i in pair}) == 6
    assert pairs == choose_pairs(7, 3, seed=1) != choose_pairs(7, 3, seed=2)
    assert len(choose_pairs(3, 10, seed=0)) == 1


def test_interpolate_is_a_part_of_a_run_and_of_its_report(clips_run):
    found = metrics_of(clips_run)["tasks"]["interpolate"]
    assert len(found["pairs"]) == 1  # of two test signals
    for way in ("straight", "base"):
        assert found[way]["length"] >= 0.99
        assert found[way]["nearest_training_latent"] > 0
    assert found["baseline"]["cross-fade"]["length"] == 1.0
    drawn = sorted((clips_run / "tasks/interpolate").glob("*-to-*/base-*.csv"))
    assert len(drawn) == len(found["pairs"]) * found["frames"]
    assert "Task: interpolate" in (clips_run / "report.html").read_text()


def test_the_command_goes_straight_alone_without_a_flow(clips_run, functa, tmp_path, monkeypatch):
    monkeypatch.setattr(Flow, "fit", lambda *_: pytest.fail("a flow was fitted"))
    kept = (clips_run / "metrics.json").read_text()
    options = ("ways=[straight]", "frames=3", "pairs=1")
    sets = [text for one in options for text in ("--set", f"tasks.interpolate.{one}")]
    code, printed, err = functa("interpolate", "--run", clips_run, "--out", tmp_path / "o", *sets)
    (clips_run / "metrics.json").write_text(kept)
    assert code == 0, err
    figures = json.loads(printed[printed.index("{") :])
    assert "base" not in figures
    assert len(list((tmp_path / "o").glob("*/straight-*.csv"))) == 3


def test_the_flow_of_generate_is_used_if_it_belongs_to_the_latents(run, flow, tmp_path):
    from functa_core.tasks.base import Material
    from functa_core.tasks.priors import belongs_to, find_flow

    train = run.functaset("train")
    material = Material(
        run.encoder, run.dataset("train"), run.dataset("test"), run.functaset, 0, tmp_path
    )
    file = tmp_path / "generate" / "flow.safetensors"
    flow.save(file, {**belongs_to(train), "more": 1})
    assert find_flow(material).options == flow.options
    flow.save(file, {**belongs_to(train), "weights_sha256": "others"})
    assert find_flow(material).options != flow.options


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("ways=[]", "at least one"),
        ("ways=[curved]", "one of straight, base"),
        ("frames=2", "at least 3"),
        ("pairs=0", "at least 1"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_written(clips_run, functa, tmp_path, option, said):
    out = tmp_path / "out"
    code, _, err = functa(
        "interpolate", "--run", clips_run, "--out", out, "--set", f"tasks.interpolate.{option}"
    )
    assert code == 2
    assert said in err
    assert not out.exists()
