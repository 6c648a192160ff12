"""Libraries that only some models of latents need, imported where they are used."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from functa_core.errors import UserError

INSTALL = "pip install 'functa-core[tasks]'"


def missing(libraries: Iterable[str]) -> str | None:
    """What to say of libraries that are not installed; None if all of them are."""
    absent = [name for name in libraries if find_spec(name) is None]
    if not absent:
        return None
    verb = "is" if len(absent) == 1 else "are"
    return f"{' and '.join(absent)} {verb} not installed. Install the tasks' libraries: {INSTALL}"


def require(*libraries: str) -> None:
    """Raise a `UserError` that says what to install, unless all are."""
    if (reason := missing(libraries)) is not None:
        raise UserError(reason)
