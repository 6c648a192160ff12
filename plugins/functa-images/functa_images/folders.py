"""Lists of picture files: in a folder, in a zip archive, or a single one."""

import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path, PurePosixPath

import attrs

from functa_core import UserError
from functa_images.pixels import Stream

SUFFIXES = (".png", ".jpg", ".jpeg")
SPLITS = ("train", "val", "valid", "validation", "test")
"""Names of folders that are a part of the data, not a class. Only `test` is held out."""

LARGEST_MEMBER = 2**28
"""Bytes of an archive's member that are unpacked at most: a few kilobytes may claim gigabytes."""


@attrs.frozen
class Listing:
    """Picture files by id.

    Attributes:
        where: the folder or archive, for messages.
        ids: relative paths with forward slashes, sorted.
        open: the file of an id, for reading.
        others: how many files of other kinds lie there, by suffix.
    """

    where: str
    ids: Sequence[str]
    open: Callable[[str], Stream]
    others: Counter[str]

    def notes(self) -> list[str]:
        """A sentence on picture files of kinds that are not read, if there are any."""
        kinds = (".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".avif")
        unread = {kind: self.others[kind] for kind in kinds if self.others[kind]}
        if not unread:
            return []
        found = ", ".join(f"{count} {kind}" for kind, count in unread.items())
        return [f"not read, because only PNG and JPEG are: {found}"]


@contextmanager
def listed(path: Path, labels: bool) -> Iterator[Listing]:
    """The picture files of a folder, zip archive or single file, open for as long as the context.

    Raises:
        UserError: there are none, or the folder or archive cannot be read.
    """
    if path.is_dir():
        yield _listing(path, _walk(path), lambda name: (path / name).open("rb"))
    elif path.suffix.lower() == ".zip":
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(
                f"{path} cannot be read as a zip archive: {error}.\n"
                "Copy it again, or unpack it and give the folder."
            ) from error
        with archive:
            names = _without_top([n for n in archive.namelist() if not n.endswith("/")], labels)
            yield _listing(path, names, lambda name: _member(archive, names[name]))
    else:
        yield _listing(path, [path.name], lambda name: path.open("rb"))


def _member(archive: zipfile.ZipFile, name: str) -> BytesIO:
    """A member of an archive, unpacked in memory."""
    with archive.open(name) as stream:
        return BytesIO(stream.read(LARGEST_MEMBER))


def _listing(
    path: Path, names: Sequence[str] | dict[str, str], opener: Callable[[str], Stream]
) -> Listing:
    """Sort out what is a picture."""
    pictures = sorted(n for n in names if PurePosixPath(n).suffix.lower() in SUFFIXES)
    others = Counter(PurePosixPath(n).suffix.lower() for n in names) - Counter(
        PurePosixPath(n).suffix.lower() for n in pictures
    )
    if not pictures:
        found = ", ".join(
            f"{count} {suffix or 'without suffix'}" for suffix, count in others.items()
        )
        raise UserError(
            f"{path} holds no PNG or JPEG image (found: {found or 'no files'}).\n"
            "Give a folder or zip of .png, .jpg or .jpeg files, or one .npy or .npz file."
        )
    return Listing(str(path), pictures, opener, others)


def _walk(root: Path) -> list[str]:
    """All files below `root` as relative paths, hidden ones left out.

    Links to folders are followed, since class folders are often links; a folder met a second time
    is left out, so that a link to a parent ends.
    """

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
        below[:] = sorted(b for b in below if not b.startswith("."))
        relative = Path(folder).relative_to(root)
        names += [(relative / f).as_posix() for f in files if not f.startswith(".")]
    return names


def _without_top(members: Sequence[str], labels: bool) -> dict[str, str]:
    """Archive members by id: hidden and macOS's own left out, a lone top-level folder dropped.

    A lone folder stays where it says something: the split, or (with `labels`) the only class.
    """
    parts = {
        name: PurePosixPath(name).parts
        for name in members
        if not any(p.startswith(".") or p == "__MACOSX" for p in PurePosixPath(name).parts)
    }
    tops = {p[0].lower() for p in parts.values()}
    shallowest = min((len(p) for p in parts.values()), default=0)
    lone = len(tops) == 1 and not tops & set(SPLITS) and shallowest > (2 if labels else 1)
    return {"/".join(p[1:] if lone else p): name for name, p in parts.items()}


def held_out(ids: Sequence[str]) -> list[bool] | None:
    """Which pictures lie in a top-level folder `test`, or None if there is no such folder."""
    test = [PurePosixPath(name).parts[0].lower() == "test" and "/" in name for name in ids]
    return test if any(test) else None


def class_folders(ids: Sequence[str]) -> list[str | None]:
    """The class of each picture: its first folder, or the first below `train`, `test` and so on.

    Those names mean a split only if one of them is `test` or if nothing else is there: a class may
    well be called `train`. None for a picture that lies in no class folder.
    """
    tops = {PurePosixPath(name).parts[0].lower() for name in ids if "/" in name}
    splits = set(SPLITS) if "test" in tops or tops <= set(SPLITS) else set()
    classes: list[str | None] = []
    for name in ids:
        folders = PurePosixPath(name).parts[:-1]
        if folders and folders[0].lower() in splits:
            folders = folders[1:]
        classes.append(folders[0] if folders else None)
    return classes
