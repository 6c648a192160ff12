"""Loading each plugin in a process of its own, so that nothing it does can spoil a listing."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from functa_core.discovery.apart import run_apart
from functa_core.discovery.installed import find, installed, owner, owner_name, owner_version
from functa_core.errors import UserError

TIME_LIMIT = 60.0
"""Seconds for loading one plugin; importing torch on a busy machine takes a few."""


def list_plugins(time_limit: float = TIME_LIMIT) -> list[dict[str, Any]]:
    """One row for each installed entry point.

    Returns:
        name, distribution, version, modalities (all that the plugin announces), state ("ok",
        "failed", "incompatible" or "duplicate") and reason ("" if ok).
    """

    def row(entry: EntryPoint) -> dict[str, Any]:
        about = {
            "name": entry.name,
            "distribution": owner_name(entry),
            "version": owner_version(entry),
        }
        return about | probe(entry, time_limit)

    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(row, installed()))


def probe(entry: EntryPoint, time_limit: float = TIME_LIMIT) -> dict[str, Any]:
    """What becomes of loading an entry point in another process: modalities, state and reason."""
    try:
        find(entry.name)
    except UserError as error:
        return {"modalities": [], "state": "duplicate", "reason": str(error)}
    with tempfile.TemporaryDirectory() as folder:
        # What the plugin prints is kept apart: the answer comes by file.
        answer = Path(folder) / "answer.json"
        ended = run_apart(__name__, entry.name, str(answer), time_limit=time_limit)
        try:
            found: dict[str, Any] = json.loads(answer.read_text())
        except (OSError, ValueError):
            problem = f"plugin {owner(entry)} ended the process that loaded it"
            if ended.code is None:
                problem = f"plugin {owner(entry)} did not load within {time_limit:g} s"
            return {"modalities": [], "state": "failed", "reason": problem}
        return found


def main(name: str, answer: str) -> None:
    """In the other process: load one plugin and write what became of it."""
    from functa_core.discovery.loading import PluginError, load_entry

    found: dict[str, Any] = {"modalities": [], "state": "ok", "reason": ""}
    try:
        found["modalities"] = list(load_entry(find(name)).announced)
    except UserError as error:
        old = isinstance(error, PluginError) and error.stage == "its version"
        found |= {"state": "incompatible" if old else "failed", "reason": str(error)}
    Path(answer).write_text(json.dumps(found))
    os._exit(0)  # threads that the plugin started do not keep the listing waiting


if __name__ == "__main__":
    main(*sys.argv[1:])
