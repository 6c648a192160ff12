"""A folder or a zip file, read alike."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from functa_core import UserError


class Files:
    """The files below a folder or inside a zip, by their relative paths with forward slashes.

    Attributes:
        root: what the user named.
        names: of all files, sorted.
        there: the same, for looking one up.
    """

    def __init__(self, root: Path) -> None:
        """List the files.

        Raises:
            UserError: there is nothing to list, or a zip has members that lie outside of it.
        """
        self.root = root
        self._zip: zipfile.ZipFile | None = None
        if root.is_dir():
            found = (p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
        elif root.is_file():
            self._zip = _opened(root)
            found = (_inside(n, root) for n in self._zip.namelist() if not n.endswith("/"))
        else:
            raise UserError(
                f"--data '{root}' does not exist; expected a folder or a .zip of scenes."
            )
        self.names = sorted(name for name in found if not _is_junk(name))
        self.there = frozenset(self.names)
        if not self.names:
            raise UserError(f"--data '{root}' has no files in it; expected scenes.")

    def read(self, name: str) -> bytes:
        """The contents of one file. Raises `UserError` if they cannot be had."""
        try:
            if self._zip is None:
                return (self.root / name).read_bytes()
            return self._zip.read(name)
        except Exception as error:  # a damaged or encrypted zip raises almost anything
            raise UserError(f"'{name}' in '{self.root}' cannot be read: {error}.") from error

    def text(self, name: str) -> str:
        """The contents of a text file."""
        return self.read(name).decode("utf-8", errors="replace")


def _opened(path: Path) -> zipfile.ZipFile:
    """A zip file opened for reading."""
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"--data '{path}' is neither a folder nor a zip file ({error}); "
            "expected a folder of scenes, or a zip of one."
        ) from error


def _inside(name: str, archive: Path) -> str:
    """The name of a zip's member; a `UserError` if unpacking would put it somewhere else.

    Scenes are named after their files, and outputs after scenes: such a name must go no further.
    """
    plain = name.replace("\\", "/")
    if plain.startswith("/") or ".." in plain.split("/") or re.match("[A-Za-z]:", plain):
        raise UserError(
            f"--data '{archive}' has a member '{name}', which lies outside of the zip "
            "(an absolute path, a drive or '..').\nPack the scenes again, with relative paths."
        )
    return name


def _is_junk(name: str) -> bool:
    """Files that operating systems leave behind and nobody means."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
