"""Which scenes are for training and which for testing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal

from functa_core import Dataset, DataSource, Split

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")


def part_of(folder: str) -> Part | None:
    """The split that a folder is named after, as `train` and `cars_train` are."""
    for part in PARTS:
        if folder == part or folder.endswith(f"_{part}"):
            return part
    return None


def held_out_part(parts: Sequence[Part | None]) -> Part | None:
    """What is for testing: `test`, `val` where there is no test, None where there is neither."""
    return next((part for part in ("test", "val") if part in parts), None)


def chosen(names: Sequence[str], split: Split, source: DataSource) -> tuple[list[str], list[str]]:
    """The scenes of a split, and notes on how they were split.

    By folders on the way to a scene that are named after a split; where they say nothing at random
    by seed. A single scene is in both.
    """
    parts = [_part_on_the_way(name) for name in names]
    held_out = held_out_part(parts)
    if len(names) == 1:
        return list(names), []
    if held_out is not None and set(parts) - {"test", "val"}:
        idle = parts.count("val") if held_out == "test" else 0
        notes = [f"{idle} validation scenes are in neither split."] if idle else []
        if split == "all":
            return list(names), notes
        wanted: tuple[Part | None, ...] = (held_out,) if split == "test" else ("train", None)
        return [n for n, part in zip(names, parts, strict=True) if part in wanted], notes
    listed = Dataset(list(names), names.__getitem__).split(split, source)
    return list(listed.ids), ["The data names no split: test scenes are drawn by data.seed."]


def _part_on_the_way(name: str) -> Part | None:
    """The split that the first folder named after one gives."""
    parts = [part_of(folder) for folder in PurePosixPath(name).parts[:-1]]
    return next((part for part in parts if part is not None), None)
