"""What of a file is to be read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from functa_core import UserError
from functa_sphere.collection import Channel
from functa_sphere.options import SphereConfig


@attrs.frozen
class Wanted:
    """What to read.

    Attributes:
        config: as asked for.
        prepared: the channels of the run that it is for, or None before there is one.
    """

    config: SphereConfig
    prepared: Sequence[Channel] | None = None

    @property
    def variables(self) -> list[str] | None:
        """Names of the variables, or None for the only one."""
        if self.prepared is not None:
            return list(dict.fromkeys(channel.variable for channel in self.prepared))
        chosen = self.config.variable
        return [chosen] if isinstance(chosen, str) else None if chosen is None else list(chosen)

    @property
    def levels(self) -> list[float] | None:
        """The levels, or None for all of them."""
        if self.prepared is not None and self.config.levels_as == "channels":
            levels = dict.fromkeys(c.level for c in self.prepared if c.level is not None)
            return list(levels) or None
        chosen = self.config.level
        return [chosen] if isinstance(chosen, float) else None if chosen is None else list(chosen)


def pick_names(available: Sequence[str], wanted: Wanted, path: Path) -> list[str]:
    """The names of the variables to read.

    Raises:
        UserError: none was chosen of several, or one is not there.
    """
    names = wanted.variables
    if names is None:
        if len(available) > 1:
            raise UserError(
                f"{path} has several variables: {', '.join(available)}.\n"
                f"Choose one with --set modality.variable={available[0]}, or several as channels "
                f"with --set 'modality.variable=[{available[0]}, {available[1]}]'."
            )
        return list(available)
    if len(set(names)) < len(names) or not names:
        raise UserError("modality.variable must name each variable once, and at least one.")
    for name in names:
        if name not in available:
            raise UserError(
                f"{path} has no variable '{name}'"
                f"{', which the run was trained on' if wanted.prepared else ''}. "
                f"It has: {', '.join(available)}.{_nearest(name, available)}"
            )
    return names


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.4)
    return f" Did you mean '{close[0]}'?" if close else ""
