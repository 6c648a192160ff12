"""Tasks are commands, entries in metrics.json and parts of a run; on a stranger's modality."""

import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from functa_core import UserError, load_run
from functa_core.runs.directory import RunDirectory
from functa_core.tasks import TASKS, core_task
from functa_core.tasks.protocols import PROTOCOLS, Named
from functa_core.tasks.views import Views


@pytest.mark.parametrize("name", TASKS)
def test_the_table_of_tasks_is_true(name):
    task = core_task(name)
    assert (task.name, task.summary) == (name, TASKS[name][1])


@pytest.fixture(scope="module")
def bars_run(tmp_path_factory):
    """A finished run on clips of six bars, of which the third and the last are held out."""
    from functa_core.cli.main import main

    root = tmp_path_factory.mktemp("runs") / "bars"
    with pytest.raises(SystemExit) as ended:
        main(["run", "--modality", "clips", "--set", "modality.bars=6", "--out", str(root)])
    assert ended.value.code == 0
    return root


def metrics_of(run):
    return json.loads((run / "metrics.json").read_text())


def test_views_are_a_part_of_a_run_and_of_its_report(bars_run):
    views = metrics_of(bars_run)["tasks"]["views"]
    assert views["n_test"] == 2
    assert list(views["context"]) == ["1", "2", "4"]
    assert all(figures["baseline"] == {} for figures in views["context"].values())
    assert "evenly spread" in views["protocol"]
    report = (bars_run / "report.html").read_text()
    assert "Task: views" in report
    assert "tasks/views/compared.csv" in report
    assert (bars_run / "tasks/views/compared.csv").read_text().startswith("# 1 view, 2 views, 4")


def test_the_figure_is_that_of_a_fit_to_the_context_bars_alone(bars_run):
    """Computed again by cutting the clips by hand: with 2 of bars 0, 1, 3, 4 these are 0 and 3."""
    run = load_run(bars_run)
    found = []
    for clip in run.dataset("test"):
        bar = np.arange(len(clip)) * 6 // len(clip)
        seen = run.modality.observations([clip])
        places = torch.from_numpy(np.flatnonzero(np.isin(bar, [0, 3])))
        few = type(seen)(seen.queries[:, places], seen.values[:, places], seen.weights[:, places])
        latent = run.encoder.fit(few)[-1]
        hidden = np.isin(bar, [2, 5])
        with torch.no_grad():
            fit = run.field(latent)(seen.queries)[0, :, 0].numpy()
        found.append(10 * np.log10(4.0 / np.mean((fit - clip)[hidden] ** 2)))
    figure = metrics_of(bars_run)["tasks"]["views"]["context"]["2"]["psnr_db"]
    assert figure == pytest.approx(np.mean(found), abs=1e-4)


def test_the_command_replaces_its_entry_and_no_other(bars_run, functa, tmp_path):
    before = metrics_of(bars_run)
    out = tmp_path / "elsewhere" / "views"
    asked = ("--set", "tasks.views.context=[3]", "--out", out)
    code, printed, _ = functa("views", "--run", bars_run, *asked)
    assert code == 0
    after = metrics_of(bars_run)
    assert list(after["tasks"]["views"]["context"]) == ["3"]
    assert json.loads(printed[printed.index("{") :]) == after["tasks"]["views"]
    assert {**after, "tasks": 0} == {**before, "tasks": 0}
    assert json.loads((out / "outcome.json").read_text())["figures"] == after["tasks"]["views"]
    assert functa("report", "--run", bars_run)[0] == 0
    assert "compared.csv" not in (bars_run / "report.html").read_text()  # of other figures
    code, *_ = functa("views", "--run", bars_run)
    assert code == 0
    assert metrics_of(bars_run) == before
    assert functa("report", "--run", bars_run)[0] == 0
    assert "compared.csv" in (bars_run / "report.html").read_text()


def test_what_cannot_be_done_is_skipped_in_a_run_and_refused_by_name(clips_run, functa):
    reason = metrics_of(clips_run)["tasks"]["views"]["skipped"]
    assert "no views" in reason
    code, _, err = functa("views", "--run", clips_run)
    assert (code, err.strip()) == (2, f"functa: error: {reason}")
    assert not (clips_run / "tasks" / "views").exists()


def test_hidden_files_of_others_stay_where_a_task_draws(bars_run, functa, tmp_path):
    mine = tmp_path / "out" / "mail" / ".letter.part"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert functa("views", "--run", bars_run, "--out", tmp_path / "out")[0] == 0
    assert mine.read_text() == "mine"


def test_what_cannot_be_read_is_no_reason_to_skip_a_task(bars_run, functa, tmp_path, monkeypatch):
    run = shutil.copytree(bars_run, tmp_path / "run")
    metrics = metrics_of(run)
    del metrics["tasks"]["views"]
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "report.html").unlink()

    def away(*_):
        raise UserError("clip 3 cannot be read just now.")

    monkeypatch.setattr(Views, "run", away)
    code, _, err = functa("run", "--modality", "clips", "--out", run, "--resume")
    assert (code, "cannot be read" in err) == (2, True)
    assert metrics_of(run) == metrics
    monkeypatch.undo()
    assert functa("run", "--modality", "clips", "--out", run, "--resume")[0] == 0
    assert metrics_of(run) == metrics_of(bars_run)


def test_commands_at_once_keep_the_figures_of_each_other(tmp_path):
    (tmp_path / "modality.json").write_text("{}")  # as in every run

    def write(number):
        RunDirectory(tmp_path).update_metrics(tasks={f"task {number}": number})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert metrics_of(tmp_path)["tasks"] == {f"task {number}": number for number in range(40)}


def test_a_task_that_is_told_to_end_leaves_nothing_half_written(
    bars_run, functa, tmp_path, monkeypatch
):
    run = shutil.copytree(bars_run, tmp_path / "run")
    before = metrics_of(run)
    replace = os.replace

    def ended(draft, path, **_):
        if path.name == "outcome.json":
            os.kill(os.getpid(), signal.SIGTERM)
        return replace(draft, path)

    monkeypatch.setattr("pathlib.os.replace", ended)
    code, _, err = functa("views", "--run", run)
    assert (code, err.splitlines()[-1]) == (130, "functa: interrupted")
    assert metrics_of(run) == before
    assert not list(run.rglob("*.functa-part"))


def change_latents(run, split, change):
    path = run / "functaset" / f"{split}.safetensors"
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        about = file.metadata()
    change(tensors["latents"])
    save_file(tensors, path, about)


@pytest.mark.parametrize("name", ["generate", "interpolate"])
def test_latents_that_are_all_the_same_are_refused_and_leave_no_folder(
    clips_run, functa, tmp_path, name
):
    run = shutil.copytree(clips_run, tmp_path / "run")
    change_latents(run, "train", lambda latents: latents.zero_())
    shutil.rmtree(run / "tasks")
    code, _, err = functa(name, "--run", run, "--out", tmp_path / "new" / "out")
    assert code == 2
    assert "latents are the same" in err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["generate", "interpolate", "classify", "compress"])
def test_latents_that_are_not_finite_are_no_figures(clips_run, functa, tmp_path, name):
    run = shutil.copytree(clips_run, tmp_path / "run")
    change_latents(run, "test", lambda latents: latents[1].fill_(torch.nan))
    shutil.rmtree(run / "tasks")
    code, _, err = functa(name, "--run", run)
    assert code == 2
    assert "latents of 1 test signals hold NaN or infinity" in err
    assert repr(load_run(run).functaset("test").ids[1]) in err
    assert not (run / "tasks").exists()


@pytest.mark.slow
def test_a_latent_dimension_that_is_dead_ends_no_task(clips_run, functa, tmp_path):
    run = shutil.copytree(clips_run, tmp_path / "run")
    for split in ("train", "test"):
        change_latents(run, split, lambda latents: latents[:, 2].fill_(0.25))
    for name, *options in (
        ("generate", "tasks.generate.model=diffusion", "tasks.generate.diffusion_steps=20"),
        ("interpolate", "tasks.interpolate.ways=[straight]"),
        ("classify", "tasks.classify.steps=5"),
        ("compress",),
    ):
        sets = [argument for option in options for argument in ("--set", option)]
        code, _, err = functa(name, "--run", run, *sets)
        assert code == 0, (name, err)


def test_a_protocol_may_count_each_view_by_itself(bars_run, functa, tmp_path, monkeypatch):
    """The mean of the bars' decibels, computed again by cutting the clips by hand."""
    monkeypatch.setitem(PROTOCOLS, "pixelnerf", Named("of each bar", {1: (1,)}, by_view=True))
    run = shutil.copytree(bars_run, tmp_path / "run")
    code, _, err = functa("views", "--run", run, "--set", "tasks.views.protocol=pixelnerf")
    assert code == 0, err
    opened, found = load_run(run), []
    for clip in opened.dataset("test"):
        bar = np.arange(len(clip)) * 6 // len(clip)
        seen = opened.modality.observations([clip])
        fit = opened.encoder.fit(seen.masked(torch.from_numpy(bar == 1)[None]))[-1]
        with torch.no_grad():
            error = (opened.field(fit)(seen.queries)[0, :, 0].numpy() - clip) ** 2
        found += [np.mean([10 * np.log10(4 / error[bar == n].mean()) for n in (0, 2, 3, 4, 5)])]
    figure = metrics_of(run)["tasks"]["views"]["context"]["1"]["psnr_db"]
    assert figure == pytest.approx(np.mean(found), abs=1e-4)


def test_a_refused_task_encodes_nothing(bars_run, functa, tmp_path):
    run = shutil.copytree(bars_run, tmp_path / "run")
    shutil.rmtree(run / "functaset")
    assert functa("views", "--run", run, "--set", "tasks.views.context=[9]")[0] == 2
    assert not (run / "functaset").exists()


def test_a_damaged_outcome_is_named(bars_run, functa, tmp_path):
    run = shutil.copytree(bars_run, tmp_path / "run")
    path = run / "tasks" / "views" / "outcome.json"
    outcome = json.loads(path.read_text())
    path.write_text(json.dumps({**outcome, "artefacts": [{"path": "x"}]}))
    code, _, err = functa("report", "--run", run)
    assert code == 2
    assert "outcome.json is damaged. Do the task again" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "tasks.views.context=[1, 5]"], "only 4 beside those held out"),
        (
            ["--set", "tasks.views.protocol=functa"],
            "up to 127, counted from 0, but a test signal has 6",
        ),
        (["--set", "tasks.views.protocol=nerf"], "one of spread, functa, pixelnerf"),
        (["--set", "tasks.views.context=[]"], "at least one number"),
        (["--set", "tasks.views.context=[0]"], "context"),
        (["--set", "tasks.views.contexts=[1]"], "tasks.views.context"),
        (["--set", "tasks.vews.context=[1]"], "Did you mean 'tasks.views'"),
        (["--set", "meta.steps=4"], "options of its own only"),
        (["--seed", "-1"], "seed"),
        (["--out", "FILE"], "is a file"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_written(bars_run, functa, tmp_path, options, said):
    file = tmp_path / "file"
    file.write_text("kept")
    before = metrics_of(bars_run)
    code, _, err = functa(
        "views", "--run", bars_run, *[file if option == "FILE" else option for option in options]
    )
    assert code == 2
    assert said in err
    assert metrics_of(bars_run) == before
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_configuration_has_the_tasks_that_the_modality_declares(functa):
    _, printed, _ = functa("config", "--modality", "clips")
    assert "tasks:\n  views:\n    protocol: spread" in printed
    _, printed, _ = functa("config", "--modality", "images")
    assert "  classify:\n    seeds: 3" in printed
    assert "  compress:\n    bits: [3, 4, 5, 6, 8]" in printed
    assert "  impute:\n    masks: null" in printed
