"""Installing and uninstalling plugins with the pip of the running environment."""

from __future__ import annotations

import shlex
import subprocess
import sys

from functa_core.console import say
from functa_core.discovery.catalogue import catalogue_path, local_source, read_catalogue
from functa_core.discovery.installed import installed, normalised, owner, owner_name
from functa_core.errors import UserError, nearest


def install(name: str) -> None:
    """Install a plugin of the catalogue: from its folder where that is here, else by its name.

    Raises:
        UserError: the catalogue does not have it, or pip cannot install it.
    """
    known = {row.name: row for row in read_catalogue()}
    if name not in known:
        raise UserError(
            f"the plugin catalogue has no '{name}'; it has: {', '.join(known) or 'nothing'} "
            f"({catalogue_path()}).{nearest(name, known)}"
        )
    row = known[name]
    folder = local_source(row)
    if folder is not None:
        say(f"'{name}' is in the folder {folder}, as {catalogue_path()} says.")
    else:
        say(f"There is no folder {row.source} beside {catalogue_path()}: pip looks for it.")
    if _pip("install", str(folder or row.distribution)) == 0:
        say(f"Installed. See whether it works: functa plugins check {name}")
        return
    if folder is not None:
        raise UserError(f"pip could not install {folder}; what it said is above.")
    raise UserError(
        f"'{name}' cannot be had: there is no folder {row.source} beside {catalogue_path()}, and "
        f"pip could not install {row.distribution}; what it said is above."
    )


def uninstall(name: str) -> None:
    """Uninstall the distribution of a plugin.

    Args:
        name: of the modality, or of the distribution.

    Raises:
        UserError: no plugin has that name, several have, or pip cannot uninstall it.
    """
    entries = installed()
    chosen = [e for e in entries if e.name == name]
    chosen = chosen or [e for e in entries if normalised(owner_name(e)) == normalised(name)]
    distributions = sorted({owner_name(entry) for entry in chosen})
    if not chosen:
        names = ", ".join(sorted({entry.name for entry in entries})) or "none"
        raise UserError(f"'{name}' is no plugin of functa; installed: {names}.")
    if len(distributions) > 1:
        raise UserError(
            f"'{name}' is announced by {' and '.join(map(owner, chosen))}; "
            f"name one: functa plugins uninstall {distributions[0]}"
        )
    if _pip("uninstall", "--yes", distributions[0]) != 0:
        raise UserError(f"pip could not uninstall {distributions[0]}; what it said is above.")


def _pip(*arguments: str) -> int:
    """Say what pip is asked to do, let it, and return its exit code."""
    command = [sys.executable, "-m", "pip", *arguments]
    say(f"running: {shlex.join(command)}")
    return subprocess.run(command).returncode
