"""Writing files so that a crash at any instant leaves the old one or the new one."""

import fcntl
import glob
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from safetensors.torch import save
from torch import Tensor

DRAFT = ".functa-part"
"""How names of half-written files end, which are nobody else's."""


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A new file beside `path`, flushed to disk and renamed over it when the block ends well.

    Makes parent folders.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path)
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself has to reach the disk too
    finally:
        os.close(folder)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write beside `path`, flush to disk, then rename over it. Makes parent folders."""
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_new(path: Path, content: str) -> None:
    """Write a file that must not be there yet, whole or not at all.

    Raises:
        FileExistsError: it is there; of two processes at once only one succeeds.
    """
    draft = _draft(path)
    write_atomic(draft, content)
    try:
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _draft(path: Path) -> Path:
    """Where this process writes what becomes `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}{DRAFT}")


def remove_drafts(folder: Path) -> None:
    """Remove what a killed process left half-written below a folder."""
    for draft in folder.rglob(f".*{DRAFT}"):
        draft.unlink(missing_ok=True)


def remove_drafts_of(path: Path) -> None:
    """Remove what killed processes left half-written of one file."""
    for draft in path.parent.glob(f".{glob.escape(path.name)}.*{DRAFT}"):
        draft.unlink(missing_ok=True)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """A block that other processes (and threads) wait for before they begin theirs of this folder.

    Where the file system has no locks, nobody waits.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # which lets the next one in


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(plain, dict(metadata)))


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
