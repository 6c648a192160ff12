"""Loading each plugin in a process of its own, so that nothing it does can spoil a listing."""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from functa_core.discovery.installed import find, installed, owner, owner_name, owner_version
from functa_core.errors import UserError

TIME_LIMIT = 60.0
"""Seconds for loading plugins, all at once."""

NOTHING: dict[str, Any] = {"modalities": [], "tasks": []}
"""What a plugin announces that was not loaded."""

_FORKED = multiprocessing.get_context("forkserver")
# The core, and torch with it, is imported once, and every process is forked from there.
_FORKED.set_forkserver_preload(["functa_core.discovery.loading"])


def list_plugins(time_limit: float = TIME_LIMIT) -> list[dict[str, Any]]:
    """One row for each installed entry point.

    Returns:
        name, distribution, version, modalities and tasks (all that the plugin announces), state
        ("ok", "failed", "incompatible" or "duplicate") and reason ("" if ok).
    """
    entries = installed()
    return [
        {
            "name": entry.name,
            "distribution": owner_name(entry),
            "version": owner_version(entry),
            **found,
        }
        for entry, found in zip(entries, probe(entries, time_limit), strict=True)
    ]


def probe(entries: Sequence[EntryPoint], time_limit: float = TIME_LIMIT) -> list[dict[str, Any]]:
    """What becomes of loading entry points in other processes: all but whose they are."""
    with tempfile.TemporaryDirectory() as folder:
        # What a plugin prints is kept apart: the answer comes by file.
        answers = [Path(folder) / f"{i}.json" for i in range(len(entries))]
        started = [_start(e.name, answer) for e, answer in zip(entries, answers, strict=True)]
        deadline = time.monotonic() + time_limit
        rows = []
        for entry, answer, process in zip(entries, answers, started, strict=True):
            process.join(max(0.0, deadline - time.monotonic()))
            late = process.is_alive()
            process.kill()
            process.join()
            rows.append(
                _row(entry, answer, f"did not load within {time_limit:g} s" if late else "")
            )
    return rows


def _start(name: str, answer: Path) -> BaseProcess:
    process = _FORKED.Process(target=_load, args=(name, str(answer)))
    try:
        process.start()
    except (
        EOFError,
        OSError,
    ) as error:  # the process to fork from has ended
        raise UserError(
            "torch cannot be imported here, so no plugin can be loaded; see what it says: "
            'python -c "import torch"'
        ) from error
    return process


def _row(entry: EntryPoint, answer: Path, problem: str) -> dict[str, Any]:
    """What the process that loaded a plugin wrote, or why it wrote nothing."""
    try:
        found: dict[str, Any] = json.loads(answer.read_text())
    except (OSError, ValueError):
        reason = f"plugin {owner(entry)} {problem or 'ended the process that loaded it'}"
        return {**NOTHING, "state": "failed", "reason": reason}
    return found


def _load(name: str, answer: str) -> None:
    """In the other process: load one plugin and write what became of it."""
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(quiet, stream)
    Path(answer).write_text(json.dumps(_loaded(name)))
    os._exit(0)  # threads that the plugin started do not keep the listing waiting


def _loaded(name: str) -> dict[str, Any]:
    from functa_core.discovery.loading import load_entry
    from functa_core.discovery.origin import PluginError

    try:
        entry = find(name)
    except UserError as error:
        return {**NOTHING, "state": "duplicate", "reason": str(error)}
    try:
        announced = load_entry(entry)
    except PluginError as error:
        state = "incompatible" if error.stage == "its version" else "failed"
        return {**NOTHING, "state": state, "reason": str(error)}
    return {
        "modalities": [cls.name for cls in announced.modalities],
        "tasks": [cls.name for cls in announced.tasks],
        "state": "ok",
        "reason": "",
    }
