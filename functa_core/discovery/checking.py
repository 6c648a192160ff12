"""`functa plugins check`: the conformance kit, run in another process and explained."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from functa_core.discovery.apart import Ended, run_apart
from functa_core.discovery.installed import find
from functa_core.discovery.probe import probe
from functa_core.errors import UserError

KIT = "functa_core.testing"
"""Module that checks one modality and writes a JSON list of name, summary, state and message."""

TIME_LIMIT = 300.0
"""Seconds for all checks of one modality."""


def check_plugin(
    name: str, time_limit: float = TIME_LIMIT, arguments: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Every check of the conformance kit on an installed modality.

    Args:
        name: of the modality.
        time_limit: seconds for all checks.
        arguments: more of the kit's own: `--data PATH`, `--set modality.KEY=VALUE`.

    Returns:
        For each its name, what it promises (summary), its state ("passed", "skipped" or "failed")
        and a message, "" when there is nothing to say.

    Raises:
        UserError: there is no such modality, its plugin cannot be loaded, or the checks gave no
            answer: they ran past the time limit, or the plugin ended their process.
    """
    [loaded] = probe([find(name)], time_limit)
    if loaded["state"] != "ok":
        raise UserError(loaded["reason"])
    with tempfile.TemporaryDirectory() as folder:
        # By file: what the plugin prints is nobody's answer.
        answer = Path(folder) / "results.json"
        ended = run_apart(KIT, name, *arguments, "--json", str(answer), time_limit=time_limit)
        if not answer.is_file():
            raise UserError(f"the checks of '{name}' gave no answer: {_why(ended, time_limit)}.")
        rows: list[dict[str, str]] = json.loads(answer.read_text())
    return rows


def _why(ended: Ended, time_limit: float) -> str:
    if ended.code is None:
        return f"they were not done within {time_limit:g} s"
    said = ended.err.strip().splitlines()
    return f"their process ended with exit code {ended.code}" + (f" ({said[-1]})" if said else "")
