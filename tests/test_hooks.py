"""Every hook is documented, and every hook is called where the documentation says."""

from inspect import getdoc, signature
from pathlib import Path

import pytest
from distributions import functa, install

from functa_core.discovery import hookspecs

HOOKS = [name for name, thing in vars(hookspecs).items() if hasattr(thing, "functa_spec")]
DOCS = Path(__file__).parents[1] / "docs"

PLUGIN = """
import attrs, os
from functa_clips import Clips
from functa_core import Outcome, Task, hookimpl

def note(line):
    with open(os.environ["CALLS"], "a") as file:
        print(line, file=file)

@attrs.frozen
class Options:
    "None."

class Count(Task):
    name, summary, api_version, Config = "count", "Count test signals.", 1, Options

    def run(self, material, out):
        return Outcome({"signals": len(material.test)})

class Hooked(Clips):
    name, tasks = "hooked", ("count",)

@hookimpl
def functa_modalities():
    note("functa_modalities")
    return [Hooked]

@hookimpl
def functa_tasks():
    note("functa_tasks")
    return [Count]

@hookimpl
def functa_event(event):
    note("functa_event")
    note(event.kind)
"""


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """What an installed plugin that implements every hook noted in a run, and the run."""
    folder = tmp_path_factory.mktemp("hooked")
    install(folder, "hooked", "hooked", PLUGIN)
    arguments = ("--modality", "hooked", "--out", folder / "run", "--set", "meta.steps=2")
    done = functa(folder, "run", *arguments, CALLS=str(folder / "calls"))
    assert done.returncode == 0, done.stderr
    return (folder / "calls").read_text().splitlines(), folder / "run"


def test_these_are_the_hooks():
    assert HOOKS == ["functa_modalities", "functa_tasks", "functa_event"]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_called(hook, calls):
    assert hook in calls[0]


def test_what_the_hooks_announce_is_used(calls):
    lines, run = calls
    kinds = {"run started", "step finished", "checkpoint saved", "evaluated"}
    assert set(lines) - set(HOOKS) == kinds
    assert '"count"' in (run / "metrics.json").read_text()


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented(hook):
    function = getattr(hookspecs, hook)
    arguments = ", ".join(signature(function).parameters)
    assert f"`{hook}({arguments})`" in (DOCS / "plugins.md").read_text()
    assert getdoc(function)
    assert f"## `{hook}`" in (DOCS / "reference" / "hooks.md").read_text()
