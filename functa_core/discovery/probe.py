"""Loading each plugin in a process of its own, so that nothing it does can spoil a listing."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from functa_core.discovery.loading import find, installed, load_entry, owner
from functa_core.errors import UserError

TIME_LIMIT = 60.0  # seconds; importing torch on a busy machine takes a few


def list_plugins() -> list[dict[str, Any]]:
    """One row for each installed entry point: name, distribution, version, state, reason."""
    entries = installed()
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(_probe, entries))


def _probe(entry: EntryPoint) -> dict[str, Any]:
    row = {
        "name": entry.name,
        "distribution": entry.dist.name if entry.dist else "?",
        "version": entry.dist.version if entry.dist else "?",
        "modalities": [],
    }
    try:
        find(entry.name)
    except UserError as error:
        return {**row, "state": "duplicate", "reason": str(error)}
    return {**row, **_load_in_child(entry)}


def _load_in_child(entry: EntryPoint) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "functa_core.discovery.probe", entry.name, str(answer)]
        try:
            # What the plugin prints is kept apart: the answer comes by file.
            subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIME_LIMIT
            )
        except subprocess.TimeoutExpired:
            problem = f"plugin {owner(entry)} did not load within {TIME_LIMIT:.0f} s"
            return {"state": "failed", "reason": problem}
        try:
            found: dict[str, Any] = json.loads(answer.read_text())
        except (OSError, ValueError):
            problem = f"plugin {owner(entry)} ended the process that loaded it"
            return {"state": "failed", "reason": problem}
        return found


def main(name: str, answer: str) -> None:
    """In the child: load one plugin and write what became of it."""
    try:
        plugin = load_entry(find(name))
        found = {"state": "ok", "reason": "", "modalities": [plugin.modality.name]}
    except UserError as error:
        state = "incompatible" if "api_version" in str(error) else "failed"
        found = {"state": state, "reason": str(error)}
    Path(answer).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
