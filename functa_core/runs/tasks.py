"""Doing tasks with a trained run, and keeping what they find."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from functa_core.blame import accuse
from functa_core.errors import UnfitLatents, UserError
from functa_core.files import remove_drafts
from functa_core.functaset import Functaset
from functa_core.modality import Artefact
from functa_core.runs.directory import RunDirectory, make_folder, read_json, write_json
from functa_core.tasks.base import Material, NotApplicable, Outcome, Task

OUTCOME = "outcome.json"
"""In a task's folder: its figures, and its artefacts by their paths in that folder."""


def run_task(
    task: Task, material: Material, directory: RunDirectory, out: Path | None = None
) -> Mapping[str, Any]:
    """Do one task, and replace its entry in the run's metrics.json.

    Args:
        task: with its options.
        material: of the trained run.
        directory: of the run.
        out: folder for what the task writes; `tasks/<name>` in the run if None.

    Returns:
        The task's figures.

    Raises:
        NotApplicable: it cannot be done with this run; nothing is written.
    """
    task.check(material)
    folder = out or directory.task(task.name)
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    make_folder(folder)
    if out is None:  # what the user named may hold anything, and much of it
        remove_drafts(folder)
    try:
        outcome = _checked(task, task.run(_finite(material), folder), folder)
    except UserError as reason:
        _remove_empty(folder, there)
        if isinstance(reason, UnfitLatents):  # which no check looks at
            raise NotApplicable(str(reason)) from reason
        raise  # a file that cannot be read, say: --resume does the task again
    artefacts = [
        attrs.asdict(artefact) | {"path": artefact.path.relative_to(folder).as_posix()}
        for artefact in outcome.artefacts
    ]
    write_json(folder / OUTCOME, {"figures": dict(outcome.figures), "artefacts": artefacts})
    directory.update_metrics(tasks={task.name: dict(outcome.figures)})
    return outcome.figures


def run_declared(tasks: Sequence[Task], material: Material, directory: RunDirectory) -> None:
    """Do those tasks of a `functa run` that are not done yet; what cannot be done is skipped.

    Args:
        tasks: with their options.
        material: of the trained run.
        directory: of the run.
    """
    done = directory.read_metrics().get("tasks", {})
    for task in tasks:
        if task.name in done:
            continue
        try:
            run_task(task, material, directory)
        except NotApplicable as reason:
            directory.update_metrics(tasks={task.name: {"skipped": str(reason)}})


def task_artefacts(directory: RunDirectory) -> dict[str, list[Artefact]]:
    """What tasks drew in the run, by task: where it belongs to the figures in metrics.json.

    Raises:
        UserError: an outcome.json is damaged.
    """
    found = {}
    for name, figures in directory.read_metrics().get("tasks", {}).items():
        path = directory.task(name) / OUTCOME
        outcome = read_json(path) if path.is_file() else {}
        if outcome.get("figures") != figures:  # the task was last done into another folder
            continue
        try:
            found[name] = [
                Artefact(**{**one, "path": path.parent / one["path"]})
                for one in outcome["artefacts"]
            ]
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path} is damaged. Do the task again: functa {name} --run {directory.root}"
            ) from error
    return found


def _finite(material: Material) -> Material:
    """The same, but latents that are not finite, which would be figures in silence, are refused."""

    def functaset(split: str) -> Functaset:
        found = material.functaset(split)
        finite = torch.isfinite(found.latents.flatten(1)).all(dim=1).tolist()
        bad = [name for name, fine in zip(found.ids, finite, strict=True) if not fine]
        if bad:
            raise UnfitLatents(
                f"latents of {len(bad)} {split} signals hold NaN or infinity, such as that of "
                f"'{bad[0]}'.\nLook at what is in these signals, or train with a smaller meta.lr."
            )
        return found

    return attrs.evolve(material, functaset=functaset)


def _checked(task: Task, outcome: Any, folder: Path) -> Outcome:
    """What a task returned, if that is figures for a JSON file and files in its folder."""
    cls = type(task)
    if not isinstance(outcome, Outcome):
        raise accuse(cls, "run", f"gave {outcome!r} instead of an Outcome")
    try:
        json.dumps(dict(outcome.figures))
    except (TypeError, ValueError) as error:
        raise accuse(cls, "run", f"gave figures that are no plain numbers: {error}") from error
    for artefact in outcome.artefacts:
        if not isinstance(artefact, Artefact):
            raise accuse(cls, "run", f"gave {artefact!r} instead of an Artefact")
        if not (artefact.path.is_file() and artefact.path.is_relative_to(folder)):
            raise accuse(cls, "run", f"wrote no file {artefact.path} in {folder}")
    return outcome


def _remove_empty(folder: Path, stop: Path) -> None:
    """Remove a folder and its parents below one that stays, as far as nothing is in them."""
    for place in (folder.absolute(), *folder.absolute().parents):
        if place == stop.absolute() or any(place.iterdir()):
            return
        place.rmdir()
