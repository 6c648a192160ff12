"""Things made once and kept: the XDG cache folder, under `functa`."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/functa`, or `~/.cache/functa`. Safe to delete at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "functa"


def cached(key: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills once.

    Args:
        key: names content and version ("clips-v1"); a new key is a new folder.
        make: writes into the empty folder it is given. The folder appears under its key only when
            `make` has returned, so an interrupted one leaves nothing half-made behind, and two
            processes at once do no harm.

    Returns:
        The filled folder.
    """
    final = cache_folder() / key
    if final.is_dir():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    try:
        make(draft)
        try:
            draft.rename(final)
        except OSError:
            if not final.is_dir():  # otherwise another process was first, with the same content
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return final
