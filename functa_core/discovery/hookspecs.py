"""The hooks a plugin may implement. None of them is called inside the training loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import pluggy

if TYPE_CHECKING:
    from functa_core.modality import Modality
    from functa_core.tasks.base import Task

PROJECT = "functa"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@attrs.frozen
class Event:
    """Something that happened in a run.

    Attributes:
        kind: "run started", "step finished", "checkpoint saved" or "evaluated".
        run: the run directory.
        step: outer updates done.
        figures: numbers that belong to it (loss, PSNR in dB), by name.
    """

    kind: str
    run: str
    step: int = 0
    figures: dict[str, float] = attrs.Factory(dict)


@hookspec
def functa_modalities() -> Sequence[type[Modality[Any]]]:  # type: ignore[empty-body]
    """Announce this plugin's modalities: a list of subclasses of `functa_core.Modality`."""


@hookspec
def functa_tasks() -> Sequence[type[Task]]:  # type: ignore[empty-body]
    """Announce this plugin's tasks: a list of subclasses of `functa_core.Task`."""


@hookspec
def functa_event(event: Event) -> None:
    """Observe a run. What it raises is reported once and changes nothing."""
