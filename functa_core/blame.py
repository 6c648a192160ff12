"""Whose bug it is: a plugin's must not look like the core's.

Nothing wraps a plugin's code. What it raises is traced back, once it has reached the top, to the
member of the modality or the task that raised it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import FrameType
from typing import Any

import attrs

from functa_core.errors import lacks_memory, summary


@attrs.frozen
class Suspect:
    """A class of a plugin that this process has loaded.

    Attributes:
        origin: the plugin's distribution and version, or its file.
        what: the class, as messages name it: "modality 'clips'".
        members: names of what it has.
        classes: names of the class and of those it derives from.
    """

    origin: str
    what: str
    members: frozenset[str]
    classes: frozenset[str]

    def member(self, name: str) -> str | None:
        """The member that a function of this qualified name is, or lies in."""
        return next((part for part in name.split(".") if part in self.members), None)


class WrongAnswer(Exception):
    """What a plugin's member returned is not what was agreed; the message names the member."""


_LOADED: dict[str, list[Suspect]] = {}
"""By the package, or the module, that the plugin's code lies in."""


def remember(origin: str, kind: str, cls: type[Any], module: str) -> None:
    """Note that a class of a plugin was loaded.

    Args:
        origin: the plugin's distribution and version, or its file.
        kind: "modality" or "task".
        cls: the class.
        module: dotted name of what was imported.
    """
    members = frozenset(name for name in dir(cls) if not name.startswith("__"))
    classes = frozenset(base.__name__ for base in cls.__mro__)
    suspect = Suspect(origin, f"{kind} '{cls.name}'", members, classes)
    for place in {_package(module), _package(cls.__module__)}:
        known = _LOADED.setdefault(place, [])
        if suspect not in known:
            known.append(suspect)


def accuse(cls: type[Any], member: str, problem: str) -> Exception:
    """The error that says what is wrong with what a member returned.

    Args:
        cls: the modality or the task.
        member: its name.
        problem: "gave 3 instead of an Outcome".
    """
    for suspect in _LOADED.get(_package(cls.__module__), []):
        if suspect.what.endswith(f"'{cls.name}'") and cls.__name__ in suspect.classes:
            return WrongAnswer(
                f"plugin {suspect.origin} failed: {member} of {suspect.what} {problem}"
            )
    own = cls.__module__.partition(".")[0] == __name__.partition(".")[0]
    return (TypeError if own else WrongAnswer)(f"{member} of '{cls.name}' {problem}")


def blame(error: BaseException) -> str | None:
    """A sentence that names the plugin and the member that raised, or None: no plugin did.

    Of several members that called each other the innermost is named. Memory that ran out is
    nobody's bug, wherever it did.
    """
    if isinstance(error, WrongAnswer):
        return str(error)
    if lacks_memory(error):
        return None
    found = None
    for frame in _frames(error):
        name = frame.f_code.co_qualname
        suspect = _likeliest(_suspects(frame), name)
        if suspect is None:
            continue
        member = suspect.member(name)
        if found is None or member is not None:
            found = suspect, member or name
    if found is None:
        return None
    suspect, member = found
    return f"plugin {suspect.origin} failed: {member} of {suspect.what} raised {summary(error)}"


def _likeliest(suspects: Sequence[Suspect], name: str) -> Suspect | None:
    """Of the classes in a package, the one that a function of this qualified name belongs to."""
    inside = name.split(".")

    def evidence(suspect: Suspect) -> tuple[bool, bool]:
        return bool(suspect.classes.intersection(inside)), suspect.member(name) is not None

    return max(suspects, key=evidence, default=None)


def _frames(error: BaseException) -> list[FrameType]:
    """The frames that an exception went through, outermost first."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return frames


def _suspects(frame: FrameType) -> Sequence[Suspect]:
    """Classes of the plugin that a frame's code belongs to."""
    parts = str(frame.f_globals.get("__name__", "")).split(".")
    places = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((_LOADED[place] for place in places if place in _LOADED), ())


def _package(module: str) -> str:
    """The package of a module, or the module if it has none."""
    return module.rpartition(".")[0] or module
