"""Things made once and kept: the XDG cache folder, under `functa`."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from functa_core.errors import UserError
from functa_core.parallel import in_parallel

J = TypeVar("J")


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/functa`, or `~/.cache/functa`. Safe to delete at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "functa"


def cached(key: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills once.

    Args:
        key: names content and version ("clips-v1"); a new key is a new folder. `fingerprint` makes
            keys that cannot be out of date.
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


def cached_all(
    jobs: Mapping[str, J], make: Callable[[J, Path], None], doing: str
) -> dict[str, UserError]:
    """Fill the folders of many keys, on all processors where that pays.

    Afterwards `cached` finds them. A program that calls this at its top level needs a main guard
    (`if __name__ == "__main__":`), as for all of Python's processes.

    Args:
        jobs: what `make` has to know, by key; it must be possible to pickle them. Those whose
            folder is there are left alone.
        make: writes what a job asks for into an empty folder, as for `cached`. A function of a
            module, or a `functools.partial` of one, because it may run in other processes.
        doing: what is done, for the progress on standard error: "rendering meshes".

    Returns:
        What is wrong with the jobs for which `make` raised `UserError`, by key. Any other exception
        ends it all.
    """
    missing = [(key, job) for key, job in jobs.items() if not (cache_folder() / key).is_dir()]
    faults = in_parallel(partial(_attempt, make), missing, f"{doing} (once: they are kept)")
    found = zip(missing, faults, strict=True)
    return {key: fault for (key, _), fault in found if fault is not None}


def _attempt(make: Callable[[J, Path], None], named_job: tuple[str, J]) -> UserError | None:
    """Fill one folder; what is wrong if it cannot be."""
    key, job = named_job
    try:
        cached(key, partial(make, job))
    except UserError as error:
        return error
    return None


def fingerprint(*parts: bytes | str | ModuleType) -> str:
    """A digest, 32 hexadecimal digits, of all that a thing in the cache was made from.

    Args:
        parts: contents of files; settings and versions of libraries in words; modules, which stand
            for their source code, so that no change of it is ever overlooked.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, ModuleType):
            part = Path(str(part.__file__)).read_bytes()
        data = part.encode() if isinstance(part, str) else part
        digest.update(b"%d " % len(data) + data)  # so that no two lists of parts run together
    return digest.hexdigest()[:32]
