"""Which plugins are installed. Nothing of theirs is imported here, and no torch."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import EntryPoint, distributions

from functa_core.console import warn
from functa_core.discovery.catalogue import install_line, read_catalogue
from functa_core.errors import UserError, nearest, summary

GROUP = "functa"


def installed() -> list[EntryPoint]:
    """Entry points of all installed plugins, by name.

    A distribution whose metadata cannot be read is left out with a warning that names it:
    `importlib.metadata.entry_points` raises, without saying whose they are, and so does the import
    of torch. Of two copies of one distribution the first on the path counts, as for an import.
    """
    found: dict[str, list[EntryPoint]] = {}
    for dist in distributions():
        try:
            entries = list(dist.entry_points.select(group=GROUP))
            if entries:
                found.setdefault(normalised(dist.name or str(id(dist))), entries)
        except Exception as error:  # any distribution, a plugin or not, can be the broken one
            place = getattr(dist, "_path", dist.locate_file(""))
            _warn_once(f"the metadata in {place} cannot be read ({summary(error)}).")
    every = [entry for entries in found.values() for entry in entries]
    return sorted(every, key=lambda entry: (entry.name, entry.value, owner(entry)))


def owner(entry: EntryPoint) -> str:
    """Name and version of the distribution an entry point belongs to."""
    return f"{owner_name(entry)} {owner_version(entry)}"


def owner_name(entry: EntryPoint) -> str:
    """Name of the distribution; "?" where its metadata has none."""
    return (entry.dist.name if entry.dist else None) or "?"


def owner_version(entry: EntryPoint) -> str:
    """Version of the distribution; "?" where its metadata has none."""
    return (entry.dist.version if entry.dist else None) or "?"


def normalised(distribution: str) -> str:
    """The one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def find(name: str) -> EntryPoint:
    """The one entry point of that name.

    Raises:
        UserError: none or several.
    """
    entries = installed()
    matching = [entry for entry in entries if entry.name == name]
    if len(matching) == 1:
        return matching[0]
    if matching:
        owners = " and ".join(owner(entry) for entry in matching)
        raise UserError(
            f"'{name}' is announced by {owners}; neither is loaded. Uninstall one of them."
        )
    names = sorted({entry.name for entry in entries})
    known = {row.name: row for row in read_catalogue()}
    if name in known:
        raise UserError(
            f"modality '{name}' is known but not installed. Install it: {install_line(known[name])}"
        )
    raise UserError(
        f"there is no modality '{name}'; installed: {', '.join(names) or 'none'}."
        + nearest(name, [*names, *known])
    )


@cache
def _warn_once(text: str) -> None:
    warn(text)
