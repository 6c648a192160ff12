"""Which signals a run was started with.

A random split is drawn anew whenever data is read. With a file more or less it comes out otherwise,
and what was trained on would be tested on, so a run goes on with the signals that it began with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from functa_core.dataset import Dataset
from functa_core.errors import UserError
from functa_core.runs.config import Tree
from functa_core.runs.directory import RunDirectory, read_json


def describe_signals(splits: Mapping[str, Dataset[Any]]) -> Tree:
    """Number of signals and digest of their ids, by split."""
    return {split: _told(signals) for split, signals in splits.items()}


def check_signals(directory: RunDirectory, splits: Mapping[str, Dataset[Any]]) -> None:
    """Raise a `UserError` unless a run began with these signals.

    Args:
        directory: of the run. An imported one began with none and takes any.
        splits: "train", "test" or "all", as they are read now.
    """
    began = read_json(directory.modality).get("signals")
    if began is None:
        return
    for split, signals in splits.items():
        found = _told(signals)
        if split == "all":
            same = found["signals"] == sum(part["signals"] for part in began.values())
        else:
            same = found == began[split]
        if not same:
            counts = " and ".join(f"{part['signals']} {name}" for name, part in began.items())
            raise UserError(
                f"the data of the run in {directory.root} is not what it was: it began with "
                f"{counts} signals, and there are {found['signals']} ({split}) now, or others.\n"
                "Put the data back as it was, or name it where it is new data: --data PATH."
            )


def _told(signals: Dataset[Any]) -> Tree:
    digest = hashlib.sha256(json.dumps(list(signals.ids)).encode())
    return {"signals": len(signals), "ids_sha256": digest.hexdigest()}
