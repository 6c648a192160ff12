"""Lists of picture files: in a folder, in a zip archive, or a single one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import attrs

from functa_core import Files, UserError

SUFFIXES = (".png", ".jpg", ".jpeg")
SPLITS = ("train", "val", "valid", "validation", "test")
"""Names of folders that are a part of the data, not a class. Only `test` is held out."""


@attrs.frozen
class Listing:
    """Picture files by id.

    Attributes:
        files: they are some of.
        names: the file of each id, a relative path with forward slashes; sorted by id.
        others: how many files of other kinds lie there, by suffix.
    """

    files: Files
    names: Mapping[str, str]
    others: Counter[str]

    def notes(self) -> list[str]:
        """A sentence on picture files of kinds that are not read, if there are any."""
        kinds = (".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".avif")
        unread = {kind: self.others[kind] for kind in kinds if self.others[kind]}
        if not unread:
            return []
        found = ", ".join(f"{count} {kind}" for kind, count in unread.items())
        return [f"not read, because only PNG and JPEG are: {found}"]


def listed(path: Path, labels: bool) -> Listing:
    """The picture files of a folder, zip archive or single file.

    Raises:
        UserError: there are none, or the folder or archive cannot be read.
    """
    files = Files(path)
    by_id = {n: n for n in files.names} if path.is_dir() else _without_top(files.names, labels)
    pictures = {i: by_id[i] for i in sorted(by_id) if _suffix(i) in SUFFIXES}
    others = Counter(_suffix(i) for i in by_id if i not in pictures)
    if not pictures:
        found = ", ".join(
            f"{count} {suffix or 'without suffix'}" for suffix, count in others.items()
        )
        raise UserError(
            f"{path} holds no PNG or JPEG image (found: {found or 'no files'}).\n"
            "Give a folder or zip of .png, .jpg or .jpeg files, or one .npy or .npz file."
        )
    return Listing(files, pictures, others)


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _without_top(members: Sequence[str], labels: bool) -> dict[str, str]:
    """Archive members by id: a lone top-level folder is dropped.

    A lone folder stays where it says something: the split, or (with `labels`) the only class.
    """
    parts = {name: PurePosixPath(name).parts for name in members}
    tops = {p[0].lower() for p in parts.values()}
    shallowest = min((len(p) for p in parts.values()), default=0)
    lone = len(tops) == 1 and not tops & set(SPLITS) and shallowest > (2 if labels else 1)
    return {"/".join(p[1:] if lone else p): name for name, p in parts.items()}


def held_out(ids: Sequence[str]) -> list[bool] | None:
    """Which pictures lie in a top-level folder `test`, or None if there is no such folder."""
    test = [PurePosixPath(name).parts[0].lower() == "test" and "/" in name for name in ids]
    return test if any(test) else None


def classes_of(ids: Sequence[str]) -> list[str | None]:
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
