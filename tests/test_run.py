"""`functa run` from data to report, and what it leaves behind, on a stranger's modality."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

from functa_core import Functaset, UserError, distributed, load_run, train
from functa_core.files import MACHINE
from functa_core.runs.directory import RunDirectory
from functa_core.runs.opening import begin, resume
from functa_core.runs.starting import open_session


def test_leaves_every_file_of_a_run(clips_run):
    names = {path.relative_to(clips_run).as_posix() for path in clips_run.rglob("*.*")}
    assert {
        "config.yaml",
        "modality.json",
        "metrics.jsonl",
        "metrics.json",
        "weights.safetensors",
        "functaset/train.safetensors",
        "functaset/test.safetensors",
        "report.html",
    } <= names
    assert list((clips_run / "checkpoints").iterdir())


def test_metrics_have_the_agreed_keys(clips_run):
    metrics = json.loads((clips_run / "metrics.json").read_text())
    assert metrics["modality"] == "clips"
    assert metrics["data"] == "embedded"
    assert (metrics["n_train"], metrics["n_test"]) == (22, 2)
    assert metrics["seed"] == 0
    assert metrics["steps"] == 30
    assert metrics["seconds"] > 0
    assert metrics["latent_numbers"] == 6
    assert metrics["inner_steps"] == 3
    with safe_open(clips_run / "weights.safetensors", "pt") as file:
        assert metrics["params"] == sum(file.get_tensor(k).numel() for k in file.keys())  # noqa: SIM118
    for split in ("train", "test"):
        assert {"psnr_db", "worst"} <= metrics["reconstruction"][split].keys()
    assert metrics["baselines"] == {}  # clips share no queries, and this plugin gives none
    assert metrics["tasks"].keys() == {"views", "impute", "interpolate"}


def test_reported_psnr_is_the_mean_of_each_signals_own(clips_run):
    """Computed again with nothing but numpy from the decoded clips."""
    run = load_run(clips_run)
    signals = run.dataset("test")
    latents = run.encode(signals)
    psnrs = []
    for clip, latent in zip(signals, latents, strict=True):
        times = torch.from_numpy((np.arange(len(clip)) + 0.5) / len(clip)).float()[:, None]
        with torch.no_grad():
            fit = run.field(latent[None])(times)[0, :, 0].numpy()
        psnrs.append(10 * np.log10(2.0**2 / np.mean((fit - clip) ** 2)))
    metrics = json.loads((clips_run / "metrics.json").read_text())
    reported = metrics["reconstruction"]["test"]["psnr_db"]
    assert reported == pytest.approx(float(np.mean(psnrs)), abs=1e-3)


def test_training_helped(clips_run):
    lines = [json.loads(line) for line in (clips_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 5, 10, 15, 20, 25, 30]
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]


def test_config_is_complete_and_runs_again(clips_run, functa, tmp_path):
    config = yaml.safe_load((clips_run / "config.yaml").read_text())
    assert set(config) == {"seed", "data", "modality", "model", "meta", "tasks"}
    assert config["modality"]["name"] == "clips"
    code, out, _ = functa(
        "train", "--config", clips_run / "config.yaml", "--out", tmp_path / "again"
    )
    assert code == 0
    assert out.splitlines()[-1] == str(tmp_path / "again")
    first = (clips_run / "weights.safetensors").read_bytes()
    assert (tmp_path / "again" / "weights.safetensors").read_bytes() == first


def test_functaset_of_a_run(clips_run):
    functaset = Functaset.load(clips_run / "functaset" / "train.safetensors")
    assert functaset.latents.shape == (22, 6)
    assert functaset.latents.dtype == torch.float32
    assert functaset.psnr_db.shape == (22,)
    assert functaset.labels.shape == (22,)
    assert functaset.split == "train"
    assert functaset.inner_steps == 3
    ids = [int(i) for i in functaset.ids]
    assert ids == sorted(ids), "rows are in file order"
    run = load_run(clips_run)
    assert torch.equal(run.functaset("train").latents, functaset.latents)
    alone = run.encode([run.dataset("train")[5]])
    assert torch.allclose(alone[0], functaset.latents[5], atol=1e-6), "batches change nothing"


def test_decode_takes_options_of_the_modality_and_no_others(clips_run, functa, tmp_path):
    arguments = ["--run", clips_run, "--latents", clips_run / "functaset" / "test.safetensors"]
    out = tmp_path / "out"
    for option, said in (
        ("model.width=3", "options of its modality"),
        ("modality.bar=3", "modality.bars"),
        ("modality.bars=x", "a whole number"),
    ):
        code, _, err = functa("decode", *arguments, "--out", out, "--set", option)
        assert (code, said in err, out.exists()) == (2, True, False), err
    assert functa("decode", *arguments, "--out", out, "--set", "modality.bars=3")[0] == 0
    assert len(list(out.iterdir())) == 2
    assert load_run(clips_run, modality={"bars": 3}).config.modality.bars == 3


def test_decode_has_the_resolution_asked_for(clips_run, functa, tmp_path):
    run = load_run(clips_run)
    latents = run.functaset("test").latents
    assert run.decode(latents, resolution=10).shape == (2, 10, 1)
    arguments = ["--run", clips_run, "--latents", clips_run / "functaset" / "test.safetensors"]
    code, *_ = functa("decode", *arguments, "--out", tmp_path / "a" / "b", "--resolution", 10)
    assert code == 0
    assert [p.name for p in sorted((tmp_path / "a" / "b").iterdir())] == [
        "000000.csv",
        "000001.csv",
    ]
    assert np.loadtxt(tmp_path / "a" / "b" / "000001.csv").shape == (10,)


def test_encode_other_data(clips_run, functa, tmp_path):
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "mine.npz", a=rng.uniform(-1, 1, 30), b=rng.uniform(-1, 1, 20))
    out = tmp_path / "new" / "mine.safetensors"
    code, *_ = functa("encode", "--run", clips_run, "--data", tmp_path / "mine.npz", "--out", out)
    assert code == 0
    assert len(Functaset.load(out)) == 2
    code, text, _ = functa("functaset", "info", out, "--json")
    assert code == 0
    assert json.loads(text)["signals"] == 2


def test_resume_of_a_finished_run_does_nothing(clips_run, functa):
    before = {p: p.stat().st_mtime_ns for p in clips_run.rglob("*")}
    code, out, _ = functa("run", "--modality", "clips", "--out", clips_run, "--resume")
    assert code == 0
    assert out.splitlines() == [str(clips_run)]
    assert {p: p.stat().st_mtime_ns for p in clips_run.rglob("*")} == before


def test_a_finished_run_needs_neither_its_data_nor_its_device(functa, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", *rng.uniform(-1, 1, (4, 20)))
    run = ["run", "--modality", "clips", "--data", tmp_path / "d.npz", "--out", tmp_path / "run"]
    run += ["--set", "meta.steps=2"]
    assert functa(*run)[0] == 0
    (tmp_path / "d.npz").unlink()
    assert functa(*run, "--resume", "--device", "cuda:7")[0] == 0
    assert functa("train", *run[1:], "--resume")[0] == 0
    (tmp_path / "run" / "report.html").unlink()
    code, _, err = functa(*run, "--resume")
    assert code == 2
    assert "d.npz" in err


def test_a_run_whose_data_has_changed_is_refused(functa, tmp_path):
    clips = np.random.default_rng(0).uniform(-1, 1, (30, 20))
    np.savez(tmp_path / "d.npz", *clips)
    run = tmp_path / "run"
    train = ["train", "--modality", "clips", "--data", tmp_path / "d.npz", "--out", run]
    assert functa(*train, "--set", "meta.steps=2")[0] == 0
    assert functa("evaluate", "--run", run)[0] == 0
    np.savez(tmp_path / "d.npz", *clips, clips[0])  # the random split comes out otherwise
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    encode = ["encode", "--run", run, "--out", tmp_path / "x.safetensors"]
    for command in (
        ["evaluate", "--run", run],
        ["report", "--run", run],
        ["interpolate", "--run", run],
        ["run", "--out", run, "--resume"],
        [*encode, "--split", "test"],
        [*encode, "--split", "all"],
    ):
        code, _, err = functa(*command)
        assert code == 2
        assert "is not what it was: it began with 27 train and 3 test signals" in err
    assert {path: path.read_bytes() for path in before} == before
    assert functa(*encode, "--data", tmp_path / "d.npz")[0] == 0  # as new data it is welcome


@pytest.mark.slow
def test_a_run_of_single_steps_is_finished_by_resuming(functa, tmp_path):
    run = tmp_path / "run"
    assert functa("train", "--modality", "clips", "--out", run, "--set", "meta.steps=2")[0] == 0
    assert functa("evaluate", "--run", run)[0] == 0
    assert functa("report", "--run", run)[0] == 0
    code, said, _ = functa("run", "--out", run, "--resume")
    assert code == 0
    assert "views was skipped: " in said
    assert "interpolate" in json.loads((run / "metrics.json").read_text())["tasks"]


def test_only_one_process_goes_on_with_a_run(functa, tmp_path, clips_run):
    run = shutil.copytree(clips_run, tmp_path / "run")
    (run / "report.html").unlink()
    arguments = ("run", "--out", run, "--resume")
    with RunDirectory(run).owned():
        code, _, err = functa(*arguments)
        assert code == 2
        assert f"another process is at work on the run in {run}" in err
        assert functa("evaluate", "--run", run)[0] == 0, "which may go on beside it"
    assert functa(*arguments)[0] == 0


def test_of_two_that_begin_one_run_at_once_one_is_refused(tmp_path, clips_run):
    layers = [("config.yaml", yaml.safe_load((clips_run / "config.yaml").read_text()))]
    both = [
        open_session(None, layers, out=tmp_path / "run", resume=False, device="cpu")
        for _ in range(2)
    ]
    begin(both[0])
    with pytest.raises(UserError, match="holds a run already"):
        begin(both[1])


def test_a_trained_run_is_finished_by_any_number_of_processes(clips_run, monkeypatch):
    monkeypatch.setattr(distributed._team, "count", 99)
    assert len(resume(RunDirectory(clips_run), "cpu").train) > 0


def test_resume_starts_afresh_where_there_is_nothing(functa, tmp_path, clips_run):
    expected = (clips_run / "weights.safetensors").read_bytes()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / f".config.yaml.{MACHINE}.999999999.functa-part").write_text("seed")
    half = tmp_path / "half"
    half.mkdir()
    shutil.copy(clips_run / "config.yaml", half)  # a crash before modality.json
    for name in ("absent", "empty", "half"):
        code, _, err = functa("train", "--modality", "clips", "--out", tmp_path / name, "--resume")
        assert code == 0, err
        assert (tmp_path / name / "weights.safetensors").read_bytes() == expected


@pytest.mark.parametrize(
    "lost",
    [
        ["report.html"],
        pytest.param(["report.html", "metrics.json"], marks=pytest.mark.slow),
        pytest.param(
            ["report.html", "metrics.json", "functaset/test.safetensors"], marks=pytest.mark.slow
        ),
        ["report.html", "metrics.json", "functaset/test.safetensors", "weights.safetensors"],
    ],
    ids=lambda lost: lost[-1],
)
def test_a_run_goes_on_from_whatever_is_there(lost, functa, tmp_path, clips_run):
    run = shutil.copytree(clips_run, tmp_path / "run")
    for name in lost:
        (run / name).unlink()
    code, _, err = functa("run", "--modality", "clips", "--out", run, "--resume")
    assert code == 0, err
    assert (run / "report.html").is_file()
    for name in ("weights.safetensors", "functaset/test.safetensors", "metrics.json"):
        assert (run / name).read_bytes() == (clips_run / name).read_bytes(), name


def test_evaluate_and_report_are_commands_of_their_own(clips_run, functa, tmp_path):
    run = shutil.copytree(clips_run, tmp_path / "copy")
    before = json.loads((run / "metrics.json").read_text())
    for name in ("metrics.json", "report.html", "functaset/test.safetensors"):
        (run / name).unlink()
    assert functa("evaluate", "--run", run)[0] == 0
    assert json.loads((run / "metrics.json").read_text()) == {**before, "tasks": {}}
    assert functa("report", "--run", run)[0] == 0
    page = (run / "report.html").read_text()
    assert "clips" in page
    assert "<svg" in page
    assert not re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(?!data:)', page)


def test_train_and_load_from_python(tmp_path):
    options = {"modality": {"name": "clips", "longest": 20}, "meta": {"steps": 3}, "seed": 7}
    run = train(options, tmp_path / "run")
    assert run.config.meta.steps == 3
    assert run.config.seed == 7
    assert len(run.encode(run.dataset("test"))) == 2
    with pytest.raises(UserError, match="another seed"):
        train({**options, "seed": 8}, tmp_path / "run", resume=True)
    with pytest.raises(UserError, match="shape"):
        run.decode(torch.zeros(2, 5))


def test_a_misspelt_split_is_refused(clips_run, tmp_path):
    run = load_run(clips_run)
    with pytest.raises(UserError, match="no split 'val'; there are: train, test, all"):
        run.encode_to(tmp_path / "x.safetensors", run.dataset("test"), "val")


def test_observers_hear_of_the_run(tmp_path):
    import functa_clips

    functa_clips.EVENTS.clear()
    train({"modality": {"name": "clips"}, "meta": {"steps": 10}}, tmp_path / "run")
    kinds = [event.kind for event in functa_clips.EVENTS]
    assert kinds[0] == "run started"
    assert kinds.count("step finished") == 3
    assert kinds[-1] == "checkpoint saved"
    assert functa_clips.EVENTS[-1].step == 10


def test_an_observer_cannot_break_a_run(tmp_path, monkeypatch, capsys):
    import functa_clips

    class Broken(list):
        def append(self, event):
            raise ValueError("no room")

    monkeypatch.setattr(functa_clips, "EVENTS", Broken())
    run = train({"modality": {"name": "clips"}, "meta": {"steps": 5}}, tmp_path / "run")
    assert len(run.encode(run.dataset("test"))) == 2
    assert capsys.readouterr().err.count("no room") == 1
