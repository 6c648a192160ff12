"""Whose bug it is: a plugin's must not look like the core's.

Nothing wraps a plugin's code. What it raises is traced back, once it has reached the top, to the
member of the modality that raised it.
"""

from __future__ import annotations

from types import FrameType
from typing import Any

import attrs

from functa_core.errors import summary


@attrs.frozen
class Suspect:
    """A plugin that this process has loaded.

    Attributes:
        origin: its distribution and version, or its file.
        modality: name of the modality.
        members: names of what the modality has.
    """

    origin: str
    modality: str
    members: frozenset[str]


_LOADED: dict[str, Suspect] = {}
"""By the package, or the module, that the plugin's code lies in."""


def remember(origin: str, modality: type[Any], module: str) -> None:
    """Note that a plugin was loaded.

    Args:
        origin: its distribution and version, or its file.
        modality: the class.
        module: dotted name of what was imported.
    """
    members = frozenset(name for name in dir(modality) if not name.startswith("__"))
    suspect = Suspect(origin, modality.name, members)
    for place in (module, modality.__module__):
        _LOADED[place.rpartition(".")[0] or place] = suspect


def blame(error: BaseException) -> str | None:
    """A sentence that names the plugin and the member that raised, or None: no plugin did.

    Of several members that called each other the innermost is named. Memory that ran out is
    nobody's bug, wherever it did.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return None
    found = None
    for frame in _frames(error):
        suspect = _suspect(frame)
        if suspect is None:
            continue
        name = frame.f_code.co_qualname
        member = next((part for part in name.split(".") if part in suspect.members), None)
        if found is None or member is not None:
            found = suspect, member or name
    if found is None:
        return None
    suspect, member = found
    return (
        f"plugin {suspect.origin} failed: {member} of modality '{suspect.modality}' "
        f"raised {summary(error)}"
    )


def _frames(error: BaseException) -> list[FrameType]:
    """The frames that an exception went through, outermost first."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return frames


def _suspect(frame: FrameType) -> Suspect | None:
    """The plugin that a frame's code belongs to."""
    parts = str(frame.f_globals.get("__name__", "")).split(".")
    places = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((_LOADED[place] for place in places if place in _LOADED), None)
