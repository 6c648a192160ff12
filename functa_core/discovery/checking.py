"""`functa plugins check`: the conformance kit, run in another process and explained."""

from __future__ import annotations

import json
from typing import Any

from functa_core.discovery.apart import Ended, run_apart
from functa_core.discovery.installed import find
from functa_core.discovery.probe import probe
from functa_core.errors import UserError

KIT = "functa_core.testing"
"""Module that checks one modality and prints a JSON list of name, summary, state and message."""

TIME_LIMIT = 300.0
"""Seconds for all checks of one modality."""


def check_plugin(name: str, time_limit: float = TIME_LIMIT) -> list[dict[str, str]]:
    """Every check of the conformance kit on an installed modality.

    Returns:
        For each its name, what it asks for (summary), its state ("passed", "skipped" or another,
        which means failed) and a message, "" when there is nothing to say.

    Raises:
        UserError: there is no such modality, its plugin cannot be loaded, or the checks gave no
            answer: they ran past the time limit, or the plugin ended their process.
    """
    [loaded] = probe([find(name)], time_limit)
    if loaded["state"] != "ok":
        raise UserError(loaded["reason"])
    ended = run_apart(KIT, name, "--json", time_limit=time_limit)
    rows = _answer(ended.out)
    if rows is None:
        raise UserError(f"the checks of '{name}' gave no answer: {_why(ended, time_limit)}.")
    return rows


def failed(row: dict[str, str]) -> bool:
    """Whether a check found a fault."""
    return row["state"] not in ("passed", "skipped")


def _answer(text: str) -> list[dict[str, str]] | None:
    """The list of checks in what was printed; a plugin may have printed before and after it."""
    decoder = json.JSONDecoder()
    for start in (i for i, letter in enumerate(text) if letter == "["):
        try:
            found, _ = decoder.raw_decode(text, start)
        except ValueError:
            continue
        if isinstance(found, list) and found and all(map(_is_row, found)):
            return found
    return None


def _is_row(row: Any) -> bool:
    keys = ("name", "summary", "state", "message")
    return isinstance(row, dict) and all(isinstance(row.get(key), str) for key in keys)


def _why(ended: Ended, time_limit: float) -> str:
    if ended.code is None:
        return f"they were not done within {time_limit:g} s"
    said = ended.err.strip().splitlines()
    return f"their process ended with exit code {ended.code}" + (f" ({said[-1]})" if said else "")
