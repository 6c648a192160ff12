"""Tasks that plugins announce: found by name, checked, done and blamed as the core's own are."""

import hashlib
import json
import shutil

import pytest
from distributions import install_all

from functa_core import UserError, load_run
from functa_core.testing import Subject, run_checks

TASK = """
import attrs
from functa_core import Artefact, NotApplicable, Outcome, Task, hookimpl, option

@attrs.frozen
class Options:
    factor: float = option(2.0, "what the figure is multiplied by", above=0)

class Loudest(Task):
    name = "loudest"
    summary = "Find the largest number of all latents."
    api_version = 1
    Config = Options

    def check(self, material):
        if self.config.factor > 99:
            raise NotApplicable("a factor above 99 is too loud.")

    def run(self, material, out):
        latents = material.functaset("test").latents
        value = self.config.factor * float(latents.abs().max())
        (out / "loudest.txt").write_text(str(value))
        artefacts = [Artefact(out / "loudest.txt", "text/plain", "the largest number")]
        return Outcome({"value": value, "seed": material.seed}, artefacts)
"""
HOOK = """
@hookimpl
def functa_tasks():
    return [Loudest]
"""
GOOD = TASK + HOOK

LOADING = {
    "import": ("import no_such_module", "failed at import: ModuleNotFoundError"),
    "hook": (
        GOOD.replace("return [Loudest]", "raise ValueError('boom')"),
        "failed at its hooks: ValueError: boom",
    ),
    "noclass": (GOOD.replace("[Loudest]", "[3]"), "failed at its tasks: 3 is not a Task class"),
    "version": (
        GOOD.replace("api_version = 1", "api_version = 99"),
        "failed at its version: task 'loudest' is written for api_version 99",
    ),
    "unsaid": (GOOD.replace("api_version = 1", ""), "Loudest lacks api_version"),
    "abstract": (GOOD.replace("def run", "def walk"), "Loudest lacks run"),
    "summary": (GOOD.replace("summary =", "sum ="), "Loudest lacks a summary"),
    "options": (GOOD.replace("Config = Options", "Config = dict"), "not an attrs class"),
    "place": (GOOD.replace('"loudest"', '"../loud"'), "'../loud' cannot be a task's name"),
}
"""Plugins that cannot be loaded, and what is said of each."""

RUNNING = {
    "raises": ("value = 1 / 0", "run of task 'raises' raised ZeroDivisionError"),
    "exits": ("raise SystemExit(0)", "run of task 'exits' raised SystemExit: 0"),
    "empty": ("return None", "run of task 'empty' gave None instead of an Outcome"),
    "tensor": ("return Outcome({'value': latents})", "run of task 'tensor' gave figures that are"),
    "nofile": (
        "return Outcome({}, [Artefact(out / 'no.txt', 'text/plain', '')])",
        "run of task 'nofile' wrote no file",
    ),
}
"""Tasks that fail when they are done, and what is said of each."""


def distributions():
    yield "loudest", "loudest", GOOD
    for name, (text, _) in LOADING.items():
        yield name, name, text.replace('"loudest"', f'"{name}"') if name != "version" else text
    for name, (line, _) in RUNNING.items():
        text = GOOD.replace("        value = self", f"        {line}\n        value = self")
        yield name, name, text.replace('name = "loudest"', f'name = "{name}"')
    yield "twice", "twice_a", GOOD
    yield "twice", "twice_b", GOOD


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder in which all of these are installed."""
    folder = tmp_path_factory.mktemp("site")
    install_all(folder, list(distributions()))
    return folder


@pytest.fixture(autouse=True)
def _path(site, monkeypatch):
    monkeypatch.syspath_prepend(str(site))


@pytest.fixture
def run(clips_run, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(clips_run, tmp_path / "run")


def tasks_of(run):
    return json.loads((run / "metrics.json").read_text())["tasks"]


def loudest(run):
    return float(load_run(run, "cpu").functaset("test").latents.abs().max())


def test_an_installed_task_is_a_command(functa, run, tmp_path):
    before = tasks_of(run)
    out = tmp_path / "new" / "out"
    options = ("--set", "tasks.loudest.factor=3", "--seed", 5, "--out", out, "--device", "cpu")
    code, printed, err = functa("loudest", "--run", run, *options)
    assert code == 0, err
    figures = json.loads(printed)
    assert figures == {"value": pytest.approx(3 * loudest(run)), "seed": 5}
    assert tasks_of(run) == {**before, "loudest": figures}
    assert (out / "loudest.txt").read_text() == str(figures["value"])
    assert functa("loudest", f"--run={run}")[0] == 0
    assert tasks_of(run)["loudest"] == {"value": pytest.approx(2 * loudest(run)), "seed": 0}
    assert functa("report", "--run", run)[0] == 0
    report = (run / "report.html").read_text()
    assert "Task: loudest" in report
    assert "tasks/loudest/loudest.txt" in report


def test_python_does_tasks_too(run, tmp_path):
    opened = load_run(run, "cpu")
    figures = opened.task("loudest", {"factor": 4.0}, out=tmp_path / "out", seed=7)
    assert figures == {"value": pytest.approx(4 * loudest(run)), "seed": 7}
    assert tasks_of(run)["loudest"] == figures
    assert (tmp_path / "out" / "loudest.txt").is_file()
    with pytest.raises(UserError, match="Did you mean 'loudest'"):
        opened.task("lodest")
    with pytest.raises(UserError, match="have no views"):
        opened.task("views")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["loudest"], "Missing option '--run'"),
        (["loudest", "--run", "RUN", "--set", "tasks.loudest.factr=1"], "'tasks.loudest.factor'"),
        (["loudest", "--run", "RUN", "--set", "tasks.loudest.factor=0"], "greater than 0"),
        (["loudest", "--run", "RUN", "--set", "tasks.loudest.factor=100"], "is too loud"),
        (["loudest", "--run", "RUN", "--set", "tasks.lodest.factor=1"], "mean 'tasks.loudest'"),
        (["loudest", "--run", "RUN", "--set", "meta.steps=1"], "options of its own only"),
        (["loudest", "--run", "nowhere"], "there is no run in nowhere"),
        (["lodest", "--run", "RUN"], "no command 'lodest'; see: functa --help. Did you mean 'loud"),
        (["lodest", "--run"], "no command 'lodest'"),
        (["lodest", "--help"], "If it is a task of a run's own plugin: functa lodest --run DIR"),
        (["evalute", "--run", "RUN"], "no command 'evalute'; see: functa --help. Did you mean 'ev"),
        (["evalute", "--run=nowhere"], "Did you mean 'evaluate'"),
        (["evalute"], "Did you mean 'evaluate'"),
        (["clips", "--run", "RUN"], "no task 'clips' (clips): plugin functa-clips 1.0 announces c"),
        (["twice", "--run", "RUN"], "functa-twice_a 0.1 and functa-twice_b 0.1"),
        (["run", "--modality", "loudest"], "it announces task loudest; 'loudest' was asked for"),
    ],
)
def test_what_is_refused(functa, run, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, written = tasks_of(run), sorted(run.rglob("*"))
    code, _, err = functa(*[run if argument == "RUN" else argument for argument in arguments])
    assert code == 2, err
    assert said in err
    assert tasks_of(run) == before
    assert sorted(run.rglob("*")) == written
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("name", LOADING)
def test_a_plugin_that_fails_is_named(functa, run, name):
    code, _, err = functa(name, "--run", run)
    assert code == 2
    assert err.startswith(f"functa: error: plugin functa-{name} 0.1 ")
    assert LOADING[name][1].split("'")[0] in err
    assert f"pip uninstall functa-{name}" in err or "install a core or a plugin" in err


@pytest.mark.parametrize("name", RUNNING)
def test_a_bug_of_a_task_is_the_plugins(functa, run, name):
    before = tasks_of(run)
    code, _, err = functa(name, "--run", run)
    assert code == 1
    assert f"functa: plugin functa-{name} 0.1 failed: {RUNNING[name][1]}" in err
    assert "Report it to its author" in err
    assert tasks_of(run) == before


@pytest.mark.slow
def test_the_listing_shows_tasks(functa):
    code, printed, _ = functa("plugins", "list", "--json")
    assert code == 0
    rows = {row["distribution"]: row for row in json.loads(printed)}
    good = rows["functa-loudest"]
    assert (good["state"], good["modalities"], good["tasks"]) == ("ok", [], ["loudest"])
    for name in LOADING:
        state = "incompatible" if name == "version" else "failed"
        assert rows[f"functa-{name}"]["state"] == state, rows[f"functa-{name}"]
        assert LOADING[name][1].split("'")[0] in rows[f"functa-{name}"]["reason"]
    assert rows["functa-clips"]["tasks"] == []


FILE = (
    TASK
    + """
from functa_clips import Clips

class Quietest(Loudest):
    name = "quietest"
    def run(self, material, out):
        return Outcome({"value": float(material.functaset("test").latents.abs().min())})

class Mine(Clips):
    name = "mine"
    tasks = ("quietest", "loudest")
    recipe = {**Clips.recipe, "tasks": {"quietest": {"factor": 5.0}}}
"""
)
TINY = ("--set", "meta.steps=2")


def test_a_modality_lists_tasks_of_its_plugin_and_of_others(functa, tmp_path):
    """Its plugin has one, an installed distribution the other; the recipe sets an option."""
    file, root = tmp_path / "mine.py", tmp_path / "run"
    file.write_text(FILE)
    code, printed, err = functa("config", "--plugin", file)
    assert code == 0, err
    assert "  quietest:\n    factor: 5.0  # what the figure is multiplied by" in printed
    code, _, err = functa(
        "run", "--plugin", file, "--out", root, *TINY, "--set", "tasks.loudest.factor=3"
    )
    assert code == 0, err
    found = tasks_of(root)
    assert found["loudest"]["value"] == pytest.approx(3 * loudest(root))
    assert set(found) == {"quietest", "loudest"}
    report = (root / "report.html").read_text()
    assert "Task: quietest" in report
    code, printed, _ = functa("quietest", "--run", root, "--help")
    assert code == 0
    assert "Find the largest" in printed
    code, printed, err = functa("quietest", "--run", root)
    assert code == 0, err
    assert json.loads(printed) == found["quietest"]
    code, _, err = functa("quitest", "--run", root)
    assert (code, "Did you mean 'quietest'" in err) == (2, True)
    code, _, err = functa(
        "run", "--plugin", file, "--out", tmp_path / "no", "--set", "tasks.qu.f=1"
    )
    assert (code, "there is no task 'qu' here (--set)" in err) == (2, True)
    assert not (tmp_path / "no").exists()


def test_the_core_comes_first_then_the_modalitys_plugin(functa, tmp_path):
    file, root = tmp_path / "mine.py", tmp_path / "run"
    say = "        return Outcome({'mine': 1})\n"
    own = TASK.replace("        latents =", f"{say}        latents =")
    shadow = own.replace('"loudest"', '"views"').replace("class Loudest", "class Views")
    modality = "\nfrom functa_clips import Clips\nclass Mine(Clips):\n    name = 'mine'\n"
    file.write_text(own + shadow + modality + "    tasks = ()\n")
    code, _, err = functa("train", "--plugin", file, "--out", root, *TINY)
    assert code == 0, err
    code, printed, _ = functa("loudest", "--run", root)
    assert json.loads(printed[printed.index("{") :]) == {"mine": 1}
    code, _, err = functa("views", "--run", root)
    assert (code, "have no views" in err) == (2, True)


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        (GOOD, set()),
        (GOOD.replace("return [Loudest]", "return [Loudest, Loudest]"), {"tasks"}),
        (GOOD.replace("attrs.frozen", "attrs.define"), {"tasks"}),
        ("import yaml\n" + GOOD, {"light-import"}),
        (GOOD.replace("functa_tasks", "functa_task"), {"entry-point"}),
    ],
)
@pytest.mark.slow
def test_the_conformance_kit_looks_at_a_plugin_of_tasks_alone(text, failed, tmp_path, monkeypatch):
    name = f"kit_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    install_all(tmp_path, [(name, name, text.replace('"loudest"', f'"{name}"'))])
    monkeypatch.syspath_prepend(str(tmp_path))
    results = {result.name: result for result in run_checks(Subject(name))}
    assert {key for key, result in results.items() if result.state == "failed"} == failed
    assert results["data"].state == "skipped"
    if not failed:
        assert f"announces task {name}, and no modality" in results["data"].message


def test_options_are_checked_by_the_tasks_own_class(run):
    """As values of the declared type: 3e-1 is a number though YAML calls it a text."""
    figures = load_run(run, "cpu").task("loudest", {"factor": "3e-1"})
    assert figures["value"] == pytest.approx(0.3 * loudest(run))
    with pytest.raises(UserError, match=r"tasks.loudest.factor must be a number, got \[\]"):
        load_run(run, "cpu").task("loudest", {"factor": []})
