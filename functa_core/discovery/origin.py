"""Where a plugin comes from, and how its failures are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs

from functa_core.errors import UserError, summary

T = TypeVar("T")


@attrs.frozen
class Origin:
    """Where a plugin comes from.

    Attributes:
        label: its distribution and version, or its file, as messages name it.
        version: of the distribution, or of the file's content.
        fix: what to do when it fails.
        file: absolute path, for a plugin that is a file.
        sha256: of that file.
    """

    label: str
    version: str
    fix: str
    file: str | None = None
    sha256: str | None = None


class PluginError(UserError):
    """A plugin could not be loaded: names where it comes from, the stage and the fix.

    Attributes:
        stage: "import", "its hooks", "its modalities", "its tasks" or "its version".
    """

    def __init__(self, origin: Origin, stage: str, problem: str, fix: str | None = None) -> None:
        super().__init__(f"plugin {origin.label} failed at {stage}: {problem}. {fix or origin.fix}")
        self.stage = stage


def attempt(origin: Origin, stage: str, act: Callable[[], T]) -> T:
    """What `act` returns; whatever else it does is a failure of the plugin.

    Raises:
        PluginError: it raised, or tried to end the program.
    """
    try:
        return act()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit: a plugin must not end the program
        raise PluginError(origin, stage, summary(error)) from error
