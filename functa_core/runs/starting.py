"""Starting a run, or going on with one: everything that can be refused is refused here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from functa_core.discovery.loading import Plugin
from functa_core.errors import UserError
from functa_core.runs.config import RunConfig, build_config, differing, read_yaml
from functa_core.runs.directory import RunDirectory, check_fresh
from functa_core.runs.opening import (
    Session,
    choose_plugin,
    modality_name,
    plugin_file,
    prepare,
    read_run,
)
from functa_core.runs.opening import resume as resume_session

Layers = Sequence[tuple[str, Mapping[str, Any]]]


def open_session(
    modality: str | None,
    layers: Layers,
    *,
    out: str | Path | None,
    resume: bool,
    device: str,
) -> Session:
    """A session that can `begin`, or of a directory that holds a run if `resume`.

    Args:
        modality: its name; may be left out when a layer or the run to be resumed names it, or a
            layer names a plugin file that has exactly one.
        layers: (where from, nested options), later ones win.
        out: run directory; `runs/<modality>-<time>` if None.
        resume: go on with the run in `out`; with none there, start it.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        UserError: anything the user asked for that cannot be done.
    """
    if resume and out is None:
        raise UserError("--resume needs --out, the directory of the run to go on with.")
    if resume and out is not None and RunDirectory(Path(out)).holds_run:
        directory = RunDirectory(Path(out))
        check_same_run(directory, modality, layers)
        return resume_session(directory, device)
    return prepare(*_asked_for(modality, layers, out), device)


def _asked_for(
    modality: str | None, layers: Layers, out: str | Path | None
) -> tuple[Plugin, RunConfig, RunDirectory]:
    """What a new run is made of."""
    plugin = asked_plugin(modality, layers)
    config = build_config(plugin.modality, layers, plugin.tasks)
    directory = RunDirectory(_timestamped(config.modality_name) if out is None else Path(out))
    check_fresh(directory)
    return plugin, config, directory


def asked_plugin(modality: str | None, layers: Layers) -> Plugin:
    """The plugin that a command line asks for.

    Args:
        modality: its name as given with `--modality`; a layer may name it too.
        layers: (where from, nested options), later ones win.

    Raises:
        UserError: none is named, or it cannot be loaded.
    """
    names = [name for _, tree in layers if (name := modality_name(dict(tree)))]
    files = [file for _, tree in layers if (file := plugin_file(tree))]
    return choose_plugin(modality or next(iter(names), None), files[-1] if files else None)


def check_same_run(directory: RunDirectory, modality: str | None, layers: Layers) -> None:
    """Raise a `UserError` unless the run in `directory` is the one that is asked for.

    Looks at its configuration alone: a finished run needs neither its data nor its device.
    """
    there = modality_name(read_yaml(directory.config))
    if modality is not None and modality != there:
        raise UserError(
            f"{directory.root} holds a run of modality '{there}', but '{modality}' was asked for. "
            "Choose another --out."
        )
    plugin, config = read_run(directory)
    stored = config.tree()
    both = [(str(directory.config), stored), *layers]
    asked = build_config(plugin.modality, both, plugin.tasks).tree()
    for key in differing(asked, stored):
        raise UserError(
            f"the run in {directory.root} was started with another {key}. "
            "Resume it without that option, or start a new run in another --out."
        )


def _timestamped(modality: str) -> Path:
    return Path("runs") / f"{modality}-{datetime.now():%Y%m%d-%H%M%S-%f}"
