"""Writing files so that a crash at any instant leaves the old one or the new one."""

import errno
import fcntl
import glob
import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from safetensors.torch import save
from torch import Tensor

DRAFT = ".functa-part"
"""How names of half-written files end, which are nobody else's."""
MACHINE = re.sub(r"[^A-Za-z0-9-]", "-", os.uname().nodename)
"""In the names of this machine's drafts, beside the number of the process."""
ABANDONED = 24 * 3600.0
"""Seconds after which a draft that another machine left is taken for a killed process's."""


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
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        with path.open("x") as file:  # this file system has no hard links
            file.write(content)
    finally:
        draft.unlink(missing_ok=True)


def _draft(path: Path) -> Path:
    """Where this process writes what becomes `path`."""
    return path.with_name(f".{path.name}.{MACHINE}.{os.getpid()}{DRAFT}")


def remove_drafts(folder: Path) -> None:
    """Remove what killed processes left half-written below a folder."""
    _remove_abandoned(folder.rglob(f".*{DRAFT}"))


def remove_drafts_of(path: Path) -> None:
    """Remove what killed processes left half-written of one file."""
    _remove_abandoned(path.parent.glob(f".{glob.escape(path.name)}.*{DRAFT}"))


def _remove_abandoned(drafts: Iterator[Path]) -> None:
    for draft in list(drafts):
        if not _is_written(draft):
            draft.unlink(missing_ok=True)


def _is_written(draft: Path) -> bool:
    """Whether the process that began a draft may still be at it."""
    machine, _, number = draft.name.removesuffix(DRAFT).rpartition(".")
    try:
        if machine.endswith(f".{MACHINE}"):
            os.kill(int(number), 0)  # raises if there is no such process
            return True
        return time.time() - draft.stat().st_mtime < ABANDONED
    except PermissionError:  # it is another user's
        return True
    except (OSError, ValueError):
        return False


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """A block in which a file is locked against other processes and threads, of other machines too.

    Args:
        path: the file, which is neither read nor written for it.
        wait: until others have let go of it.

    Yields:
        Whether nobody else has it. Where there are no locks, or no file, or it may not be written,
        nobody is known to have.
    """
    try:
        handle = os.open(path, os.O_RDWR)  # a network's file system locks no other kind
    except OSError:
        yield True
        return
    try:
        yield _lock(handle, wait)
    finally:
        os.close(handle)  # which lets the next one in


def _lock(handle: int, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # this file system has none
        return True
    return True


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(plain, dict(metadata)))


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
