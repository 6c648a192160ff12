"""A folder, a zip archive or a single file, read alike."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from functa_core import UserError

LARGEST_MEMBER = 2**30
"""Bytes of an archive's member that are unpacked at most: a few kilobytes may claim terabytes."""


class Files:
    """Files by their relative paths with forward slashes.

    Attributes:
        root: what the user named.
        names: of all files, sorted; hidden ones are left out.
    """

    def __init__(self, root: Path) -> None:
        """List the files. Raises `UserError` if they cannot be listed."""
        self.root = root
        self._zip: zipfile.ZipFile | None = None
        if root.is_dir():
            found = _walk(root)
        elif root.suffix.lower() == ".zip":
            self._zip = _opened(root)
            found = [n for n in self._zip.namelist() if not n.endswith("/")]
        else:
            found = [root.name]
        self.names = sorted(name for name in found if not _is_junk(name))

    def read(self, name: str) -> bytes:
        """The contents of one file. Raises `UserError` if they cannot be had."""
        try:
            if self._zip is not None:
                with self._zip.open(name) as stream:
                    return stream.read(LARGEST_MEMBER)
            path = self.root / name if self.root.is_dir() else self.root
            return path.read_bytes()
        except Exception as error:  # a damaged or encrypted zip raises almost anything
            raise UserError(f"'{name}' in '{self.root}' cannot be read: {error}.") from error


def _walk(root: Path) -> list[str]:
    """All files below a folder. Links to folders are followed, each real folder once."""

    def refuse(error: OSError) -> None:
        raise UserError(
            f"folder {error.filename} cannot be read: {error.strerror}.\n"
            "Change its permissions or leave it out of the data."
        )

    names, seen = [], set()
    for folder, below, files in os.walk(root, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below.sort()
        names += [(Path(folder).relative_to(root) / file).as_posix() for file in files]
    return names


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} cannot be read as a zip archive: {error}.\n"
            "Copy it again, or unpack it and give the folder."
        ) from error


def _is_junk(name: str) -> bool:
    """Files that operating systems leave behind and nobody means."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
