"""The task generate, on a stranger's modality: as a command, in metrics.json and in the report."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from test_latents_flow import seeded

from functa_core import Functaset, load_run

QUICK = ("flow_steps=20", "diffusion_steps=20", "diffusion_width=8", "samples=3", "sampler=ddim")
SETTINGS = [
    part
    for setting in (*QUICK, "sampler_steps=20")
    for part in ("--set", f"tasks.generate.{setting}")
]


@pytest.fixture(scope="module")
def generated(clips_run, tmp_path_factory):
    """A finished run in which the task was done. Read it only."""
    from functa_core.cli.main import main

    run = shutil.copytree(clips_run, tmp_path_factory.mktemp("generated") / "run")
    with pytest.raises(SystemExit) as ended:
        main(["generate", "--run", str(run), *SETTINGS])
    assert ended.value.code == 0
    return run


def figures_of(run):
    return json.loads((run / "metrics.json").read_text())["tasks"]["generate"]


def test_the_entry_has_each_model_beside_the_gaussian_and_says_what_it_is_of(generated):
    figures = figures_of(generated)
    assert (figures["n_train"], figures["n_test"], figures["dimensions"]) == (22, 2, 6)
    judged = [
        figures["flow"],
        figures["diffusion"],
        figures["baseline"]["gaussian"],
        figures["train_signals"],
    ]
    for scores in judged:
        assert scores["frechet"] >= 0
        assert 0 <= scores["precision"] <= 1
        assert 0 <= scores["recall"] <= 1
    space = figures["feature_space"]
    assert (space["n_samples"], space["n_held_out"], space["dimensions"]) == (2, 2, 1)
    assert "decoded signals at resolution 16, 1 leading principal" in space["features"]
    assert "fid" not in json.dumps(figures)


def test_the_likelihoods_are_those_of_the_saved_flow_and_of_the_gaussian(generated):
    from functa_core.latents.flow import Flow
    from functa_core.latents.gaussian import Gaussian
    from functa_core.seeding import derive

    run, figures = load_run(generated), figures_of(generated)
    train, test = (run.functaset(split).latents for split in ("train", "test"))
    flow = Flow.load(generated / "tasks/generate/flow.safetensors")
    with torch.no_grad():
        wanted = -float(flow.log_prob(test).mean()) / 6
    assert figures["nll_nats_per_dim"] == pytest.approx(wanted, rel=1e-6)
    gaussian = Gaussian.fit(train, seeded(derive(0, "gaussian")))
    wanted = -float(gaussian.log_prob(test).mean()) / 6
    beside = figures["baseline"]["gaussian"]["nll_nats_per_dim"]
    assert beside == pytest.approx(wanted, rel=1e-6)


def test_the_models_say_what_they_belong_to(generated):
    from functa_core.latents.diffusion import Diffusion
    from functa_core.latents.flow import Flow

    run = load_run(generated)
    latents = run.functaset("train").latents.numpy()
    wanted = {
        "weights_sha256": run.weights_sha256,
        "latents_sha256": hashlib.sha256(latents.tobytes()).hexdigest(),
    }
    folder = generated / "tasks/generate"
    assert Flow.load(folder / "flow.safetensors").about == wanted
    assert Diffusion.load(folder / "diffusion.safetensors").about == wanted


def test_samples_are_files_and_a_functaset_that_decode_takes(generated, functa, tmp_path):
    folder = generated / "tasks/generate"
    ids = [f"{model}-{i}" for model in ("flow", "diffusion") for i in range(3)]
    assert sorted(path.stem for path in (folder / "samples").iterdir()) == sorted(ids)
    samples = Functaset.load(folder / "samples.safetensors")
    assert (samples.ids, samples.split, tuple(samples.latents.shape)) == (ids, "samples", (6, 6))
    out = tmp_path / "decoded"
    asked = ("--latents", folder / "samples.safetensors", "--resolution", 32, "--out", out)
    assert functa("decode", "--run", generated, *asked)[0] == 0
    decoded = sorted(out.rglob("*.csv"))
    assert len(decoded) == 6
    assert len(np.loadtxt(decoded[0])) == 32
    assert functa("functaset", "info", folder / "samples.safetensors")[0] == 0


def test_the_report_shows_the_samples(generated, functa):
    assert functa("report", "--run", generated)[0] == 0
    report = (generated / "report.html").read_text()
    assert "Task: generate" in report
    assert "tasks/generate/samples/flow-0.csv" in report
    assert "feature_space" in report


@pytest.mark.slow
def test_the_same_seed_gives_the_same_samples_and_another_one_others(generated, functa, tmp_path):
    run = shutil.copytree(generated, tmp_path / "run")
    first = Functaset.load(run / "tasks/generate/samples.safetensors").latents
    for seed, same in ((0, True), (1, False)):
        out = tmp_path / str(seed)
        assert functa("generate", "--run", run, *SETTINGS, "--seed", seed, "--out", out)[0] == 0
        again = Functaset.load(out / "samples.safetensors").latents
        assert torch.equal(first, again) == same


def test_one_model_alone(generated, functa, tmp_path):
    run = shutil.copytree(generated, tmp_path / "run")
    shutil.rmtree(run / "tasks")
    chosen = ("--set", "tasks.generate.model=flow", "--set", "tasks.generate.resolution=20")
    assert functa("generate", "--run", run, *SETTINGS, *chosen)[0] == 0
    assert "diffusion" not in figures_of(run)
    folder = run / "tasks/generate"
    assert not (folder / "diffusion.safetensors").exists()
    assert len(np.loadtxt(folder / "samples/flow-0.csv")) == 20


def test_a_modality_with_features_and_distances_of_its_own_is_judged_by_them(
    generated, functa, tmp_path, monkeypatch
):
    from functa_clips import Clips

    def loudness(self, decoded):
        return decoded.abs().flatten(1).mean(dim=1, keepdim=True)

    def together(self, samples, held_out):
        return {"loudness_gap": float(abs(samples.abs().mean() - held_out.abs().mean()))}

    monkeypatch.setattr(Clips, "features", loudness)
    monkeypatch.setattr(Clips, "set_distances", together)
    run = shutil.copytree(generated, tmp_path / "run")
    chosen = ("--set", "tasks.generate.model=flow")
    assert functa("generate", "--run", run, *SETTINGS, *chosen)[0] == 0
    figures = figures_of(run)
    assert figures["feature_space"]["features"].startswith("the modality's features of decoded")
    assert figures["flow"]["loudness_gap"] >= 0


def test_a_picture_of_its_own_takes_the_place_of_single_files(
    generated, functa, tmp_path, monkeypatch
):
    from functa_clips import Clips

    from functa_core import Artefact

    def gallery(self, fields, out):
        (out / "all.csv").write_text(", ".join(f"{name} {len(f)}" for name, f in fields.items()))
        return [Artefact(out / "all.csv", "text/csv", "all of them")]

    monkeypatch.setattr(Clips, "gallery", gallery)
    run = shutil.copytree(generated, tmp_path / "run")
    chosen = ("--set", "tasks.generate.model=flow")
    assert functa("generate", "--run", run, *SETTINGS, *chosen)[0] == 0
    assert (run / "tasks/generate/all.csv").read_text() == "held out 2, flow 2, gaussian 2"
    outcome = json.loads((run / "tasks/generate/outcome.json").read_text())
    assert [artefact["path"] for artefact in outcome["artefacts"]] == ["all.csv"]


def test_too_few_signals_are_refused_with_their_numbers(functa, tmp_path):
    clips = {f"clip{i:02d}": np.sin(np.arange(24) * (i + 1) / 9) for i in range(9)}
    np.savez(tmp_path / "clips.npz", **clips)  # type: ignore[arg-type]
    run = tmp_path / "run"
    asked = ("--modality", "clips", "--data", tmp_path / "clips.npz", "--set", "meta.steps=2")
    assert functa("train", *asked, "--out", run)[0] == 0
    code, _, err = functa("generate", "--run", run)
    assert code == 2
    assert "at least 10 training signals and 2 test signals, found 8 and 1" in err
    assert not (run / "tasks").exists()


def test_a_missing_library_is_a_reason_and_not_a_traceback(generated, functa, monkeypatch):
    from functa_core.latents import needs

    monkeypatch.setattr(needs, "find_spec", lambda name: None if name == "diffusers" else name)
    code, _, err = functa("generate", "--run", generated)
    assert code == 2
    assert "diffusers is not installed" in err
    assert "pip install 'functa-core[tasks]'" in err


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("model=gan", "one of flow, diffusion, both"),
        ("samples=0", "at least 1"),
        ("sampler=euler", "one of ddpm, ddim"),
        ("sampler_steps=1001", "at most 1000"),
        ("flow_stps=3", "flow_steps"),
        ("scored=1", "at least 2"),
    ],
)
def test_bad_options_are_refused(generated, functa, setting, said):
    code, _, err = functa("generate", "--run", generated, "--set", f"tasks.generate.{setting}")
    assert code == 2
    assert said in err
