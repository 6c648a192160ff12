"""The conformance kit on the stranger's modality, and the kit itself."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from functa_clips import Clips

from functa_core import Task, UserError, option
from functa_core.testing import CHECKS, Subject, conformance, run_checks
from functa_core.testing.running import run_check

ROOT = Path(__file__).parents[1]

test_clips = conformance("clips", longest=16, points=8)
test_clips_with_held_out_bars = conformance(Clips, longest=16, points=8, bars=6)


class WrongLoss(Clips):
    def loss(self, predicted, values):
        return (predicted - values + 0.2).square().mean(dim=-1)


def state_of(results, name):
    return next((result.state, result.message) for result in results if result.name == name)


def test_an_expected_failure_says_why_and_what():
    results = run_checks(Subject(WrongLoss, {"longest": 16}), {"loss": "it is a shifted one"})
    state, message = state_of(results, "loss")
    assert state == "expected"
    assert message.startswith("it is a shifted one: Asked: the least loss")
    assert not [result for result in results if result.state == "failed"]


def test_an_expected_failure_that_passes_fails():
    results = run_checks(Subject(Clips, {"longest": 16}), {"chunks": "it used to"})
    state, message = state_of(results, "chunks")
    assert state == "failed"
    assert "Remove the expectation" in message


def test_an_unknown_check_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"no conformance check 'chunk'. Did you mean 'chunks'"):
        run_checks(Subject(Clips), {"chunk": "?"})
    with pytest.raises(UserError, match="no conformance check"):
        conformance("clips", expected_failures={"chunk": "?"})


@pytest.mark.parametrize(
    ("subject", "finder"),
    [
        pytest.param(Subject.of("clips", no_such_option=1), "config", marks=pytest.mark.slow),
        (Subject.of("clips", data=Path("nowhere.npz")), "data"),
        (Subject.of("clops"), "entry-point"),
    ],
)
def test_what_is_in_the_way_is_found_once_and_the_rest_skipped(subject, finder):
    results = run_checks(subject)
    assert [result.name for result in results if result.state == "failed"] == [finder]
    skipped = [result for result in results if result.state == "skipped"]
    assert len(skipped) > len(CHECKS) / 2
    assert all(f"'{finder}'" in result.message for result in skipped)


def test_a_plugin_that_exits_does_not_end_the_examination():
    class Exits(Clips):
        def forward(self, field, queries, generator=None):
            raise SystemExit(3)

    states = {r.name: r.state for r in run_checks(Subject(Exits, {"longest": 16}))}
    assert states["chunks"] == "failed"
    assert states["render"] == "passed"


def _metrics_of_floats(self: Any) -> list[Any]:
    compute: Any = lambda predicted, observations: 0.5  # noqa: E731
    return [attrs.evolve(metric, compute=compute) for metric in Clips.metrics(self)]


def _silent(self, *given):
    Clips.render(self, *given)


@pytest.mark.parametrize(
    ("member", "function", "check", "said"),
    [
        ("observations", lambda *given: None, "spec", "gave NoneType instead of Observations."),
        ("loss", lambda *given: 0.5, "loss", "Asked: loss() gives a torch.Tensor. Found: float."),
        (
            *("metrics", _metrics_of_floats, "metrics"),
            "Asked: metric 'worst' gives a torch.Tensor. Found: float.",
        ),
        ("render", _silent, "render", "Asked: a list of Artefact from render(). Found: None."),
        (
            *("raw", lambda *given: Clips.raw(*given).numpy(), "raw"),
            "Asked: raw() gives a torch.Tensor. Found: ndarray.",
        ),
        (
            *("features", lambda *given: Clips.features(*given).numpy(), "features"),
            "Asked: features() gives a torch.Tensor. Found: ndarray.",
        ),
        ("prepare", lambda *given: None, "state", "gave NoneType instead of a dict."),
    ],
)
def test_answers_of_another_kind(member, function, check, said):
    subject = Subject(type("Mine", (Clips,), {member: function}), {"longest": 16})
    result = run_check(subject, CHECKS[check])
    assert result.state == "failed"
    assert said in result.message
    assert "testing/" not in result.message  # a line of the kit's


def test_a_class_without_options_is_told_so():
    class Plain(Clips):
        class Config: ...

    results = run_checks(Subject(Plain))
    state, message = state_of(results, "config")
    assert state == "failed"
    assert "Config of 'clips' is not an attrs class" in message
    assert not [r for r in results if r.state == "failed" and r.name != "config"]


def test_a_class_with_a_task_of_its_own():
    @attrs.frozen
    class Options:
        many: int = option(1, "how many")

    class Count(Task):
        name, summary, api_version, Config = "count", "Count.", 1, Options

        def run(self, material, out): ...

    class Counted(Clips):
        tasks = ("count", "views", "impute")

    checks = run_checks(Subject(Counted, {"longest": 16}, own_tasks=[Count]))
    assert not [result for result in checks if result.state == "failed"]
    assert state_of(checks, "tasks")[0] == "passed"


def kit(*arguments):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "plugins"), *sys.path])
    command = [sys.executable, "-m", "functa_core.testing", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_in_a_process_of_its_own(tmp_path):
    file = tmp_path / "new" / "results.json"
    done = kit("clips", "--set", "modality.longest=16", "--json", file)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    rows = json.loads(file.read_text())
    assert [(row["name"], row["state"]) for row in rows] == [(n, "passed") for n in CHECKS]
    assert set(rows[0]) == {"name", "summary", "state", "message"}


@pytest.mark.slow
def test_an_unknown_modality_is_the_users_to_mend(tmp_path):
    done = kit("clops", "--json", tmp_path / "results.json")
    assert done.returncode == 2
    assert "Did you mean 'clips'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_documentation_lists_every_check_as_it_is():
    text = (ROOT / "docs" / "testing-plugins.md").read_text()
    listed = [line for line in text.splitlines() if line.startswith("| `")]
    assert listed == [f"| `{check.name}` | {check.summary} |" for check in CHECKS.values()]
