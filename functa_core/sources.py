"""What the user's data lies in: a folder, a zip archive or a single file, read alike."""

from __future__ import annotations

import os
import posixpath
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

from functa_core.errors import UserError

RUN = {"config.yaml", "modality.json"}
"""What a folder that is a run holds. Its pictures are no data, wherever it was put."""
LARGEST_MEMBER = 2**30
"""Bytes that a member of an archive may unpack to: a few kilobytes may claim terabytes."""


class Files:
    """The files of a folder, a zip archive or a single file, by relative path.

    Hidden files, those that macOS adds to archives, and runs of functa in the folder are left out.
    Links to folders are followed, each real folder once. Nothing is unpacked to disk. `name in
    files` looks one up. It may be sent to other processes, where it lists its files anew.

    Attributes:
        root: what the user named.
        names: of all files, with forward slashes, sorted; of a single file its own name.
    """

    def __init__(self, root: Path) -> None:
        """List the files.

        Args:
            root: an existing folder, an archive whose name ends in .zip, or any other file.

        Raises:
            UserError: a folder or archive cannot be read, or a member of an archive lies outside
                of it. Signals are named after their files, and outputs after signals: such a name
                must go no further.
        """
        self.root = root
        self._zip: zipfile.ZipFile | None = None
        if root.is_dir():
            found = _walk(root)
        elif root.suffix.lower() == ".zip":
            self._zip = _opened(root)
            found = _members(self._zip, root)
        else:
            found = [root.name]
        self._there = frozenset(found)
        self.names = sorted(self._there)

    def __contains__(self, name: object) -> bool:
        return name in self._there

    def __reduce__(self) -> tuple[type[Files], tuple[Path]]:
        return type(self), (self.root,)

    def read(self, name: str) -> bytes:
        """The contents of one file.

        Raises:
            UserError: they cannot be had, or would unpack to more than a gibibyte; its
                `__cause__` is the reason.
        """
        try:
            if self._zip is not None:
                return _unpacked(self._zip, name)
            path = self.root / name if self.root.is_dir() else self.root
            if path.exists() and not path.is_file():  # a pipe would be waited for, for ever
                raise ValueError("it is no regular file")
            return path.read_bytes()
        except Exception as error:  # a damaged or encrypted zip raises almost anything
            raise UserError(f"'{name}' in '{self.root}' cannot be read: {error}.") from error

    def text(self, name: str) -> str:
        """The contents of a text file; what is no UTF-8 becomes a replacement character."""
        return self.read(name).decode("utf-8", errors="replace")

    def beside(self, name: str, told: str) -> str | None:
        """The file that file `name` means by a relative path `told`, as a mesh names a texture.

        None if it is not one of these files: such a path leads nowhere else.
        """
        folder = posixpath.dirname(name)
        path = posixpath.normpath(posixpath.join(folder, told.replace("\\", "/")))
        return path if path in self else None


def class_folders(folders: Sequence[Sequence[str]]) -> list[str | None]:
    """Classes of signals that are sorted into folders: the first that they do not all share.

    Args:
        folders: on the way to each signal, without those that name no class (a split, say).

    Returns:
        A class for each; None for a signal that lies too high. Where all lie in the same folders
        the last of these is the class. For `Dataset.with_classes`.
    """
    shared = 0
    while all(len(f) > shared + 1 for f in folders) and len({f[shared] for f in folders}) == 1:
        shared += 1
    return [f[shared] if len(f) > shared else None for f in folders]


def _walk(root: Path) -> list[str]:
    """All files below a folder. Class folders are often links; a link to a parent ends."""

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
        if root != Path(folder) and RUN.issubset(files):
            below.clear()
            continue
        below[:] = sorted(b for b in below if not _is_junk(b))
        relative = Path(folder).relative_to(root)
        names += [(relative / file).as_posix() for file in files if not _is_junk(file)]
    return names


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(
            f"{path} cannot be read as a zip archive: {error}.\n"
            "Copy it again, or unpack it and give the folder."
        ) from error


def _members(archive: zipfile.ZipFile, path: Path) -> list[str]:
    """The files in an archive, all of which lie inside of it."""
    files = [name for name in archive.namelist() if not name.endswith("/")]
    for name in files:
        plain = name.replace("\\", "/")
        if plain.startswith("/") or ".." in plain.split("/") or re.match("[A-Za-z]:", plain):
            raise UserError(
                f"{path} has a member '{name}', which lies outside of the zip (an absolute path, "
                "a drive or '..').\nPack the data again, with relative paths."
            )
    return [name for name in files if not any(map(_is_junk, name.split("/")))]


def _unpacked(archive: zipfile.ZipFile, name: str) -> bytes:
    # No more than what the archive says is ever unpacked, so that looking at that is enough.
    if archive.getinfo(name).file_size > LARGEST_MEMBER:
        raise ValueError(f"it would unpack to more than {LARGEST_MEMBER:,} bytes")
    return archive.read(name)


def _is_junk(part: str) -> bool:
    """Files and folders that operating systems leave behind and nobody means."""
    return part.startswith(".") or part == "__MACOSX"
