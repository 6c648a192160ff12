"""Which files hold heights, in a folder, in a zip, or alone."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from functa_core import UserError

from functa_terrain.rasters import DRIVERS

KINDS = "GeoTIFF (.tif, .tiff) or PNG files, a zip of them, one such file, or an .npz"

Content = Callable[[], Path | bytes]
"""Where a file is, or what is in it, once it is asked for."""


def files(path: Path) -> Iterator[tuple[str, Content]]:
    """Name and content of each file that may hold heights, in the order of their names.

    Raises:
        UserError: `path` is nothing of the kind, or there is no such file in it.
    """
    if not path.exists():
        raise UserError(f"there is no {path}. Terrain is read from a folder of {KINDS}.")
    if path.is_dir():
        names = [each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file()]
        yield from ((name, partial(path.joinpath, name)) for name in _wanted(names, path))
    elif path.suffix.lower() in DRIVERS:
        yield path.name, lambda: path
    elif path.suffix.lower() == ".zip":
        yield from _members(path)
    else:
        raise UserError(f"{path} cannot be read. Terrain is read from a folder of {KINDS}.")


def _members(path: Path) -> Iterator[tuple[str, Content]]:
    """The same of a zip; nothing is unpacked to disk."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a whole zip file: {error}.") from error
    with archive:
        for name in _wanted(archive.namelist(), path):
            yield name, partial(_member, archive, path, name)


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> bytes:
    try:
        return archive.read(name)
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise UserError(f"{name} of {path} cannot be unpacked: {error}.") from error


def _wanted(names: list[str], path: Path) -> list[str]:
    """Names of files with heights, in order, without those that a system hides or adds."""
    parts = {name: PurePosixPath(name) for name in set(names)}
    found = sorted(
        name
        for name, each in parts.items()
        if each.suffix.lower() in DRIVERS
        and not any(part.startswith((".", "__MACOSX")) for part in each.parts)
    )
    if not found:
        raise UserError(f"there is no GeoTIFF (.tif, .tiff) and no PNG file in {path}.")
    return found
