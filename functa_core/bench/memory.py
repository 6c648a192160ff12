"""The most memory that an update takes, in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from functa_core.bench.case import Asked
from functa_core.bench.implementation import Absent
from functa_core.bench.kinds import KINDS
from functa_core.errors import lacks_memory

SHARE = 0.9
"""Of the free memory that a process may take: one that needs more is ended, not the machine."""
STATUS = Path("/proc/self/status")


def peak_bytes(asked: Asked, implementation: str) -> int | None:
    """What the first update of an implementation takes at its peak, on the processor.

    That is by how much the resident memory of a new process grew at most from when the
    implementation was ready (weights and batch in place, what is compiled compiled) to the end of
    its first update, Adam's moments with it; None where the system does not tell (not Linux).

    Args:
        asked: the case; made again in the new process.
        implementation: name of its kind.

    Raises:
        Absent: it cannot be had, or not in the memory that there is.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        try:
            found, reason = pool.submit(_measure, asked, implementation).result()
        except BrokenProcessPool as error:
            raise Absent("its process was ended, most likely for want of memory") from error
    if reason is not None:
        raise Absent(reason)
    return found


def _measure(asked: Asked, implementation: str) -> tuple[int | None, str | None]:
    """The bytes, or why there are none; exceptions of peers' libraries need not be picklable."""
    kind = next(kind for kind in KINDS if kind.name == implementation)
    free = _free()
    _limit(free)
    try:
        made = kind.make(asked.case(torch.device("cpu")))
        work = made.updating()
        before = _status("VmRSS")
        _forget_peak()
        made.finish(work())
        peak = _status("VmHWM")
        return (None if peak is None or before is None else max(0, peak - before)), None
    except Absent as error:
        return None, str(error)
    except Exception as error:
        if lacks_memory(error):
            return None, f"an update needs more than the {free / 1e9:.0f} GB that are free"
        raise


def _limit(free: int) -> None:
    """Refuse this process more than a share of what is free."""
    if not STATUS.exists():
        return
    import resource  # not on Windows

    used = _status("VmData") or 0
    most = used + int(SHARE * free)
    resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))


def _free() -> int:
    return _kilobytes(Path("/proc/meminfo")).get("MemAvailable", 0)


def _status(key: str) -> int | None:
    return _kilobytes(STATUS).get(key) if STATUS.exists() else None


def _kilobytes(path: Path) -> Mapping[str, int]:
    """Bytes by name, of the lines that are in kB."""
    rows: list[Any] = [line.split() for line in path.read_text().splitlines()]
    return {row[0][:-1]: 1024 * int(row[1]) for row in rows if len(row) == 3 and row[2] == "kB"}


def _forget_peak() -> None:
    """Let VmHWM begin anew at what is resident now."""
    clear = Path("/proc/self/clear_refs")
    if os.access(clear, os.W_OK):
        clear.write_text("5")
