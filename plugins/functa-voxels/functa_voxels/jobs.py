"""Work for all processors, with a word on how far it has come."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

J = TypeVar("J")
R = TypeVar("R")

WORTH_PROCESSES = 40
"""Jobs from which on starting processes, seconds each, pays."""
LINE_EVERY = 10.0
"""Seconds between two lines of progress."""


def in_parallel(work: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
    """The results of all jobs in their order; progress goes to standard error.

    `work` must be safe to do twice. New processes are spawned, not forked: torch's threads do not
    survive a fork.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if count < 2 or len(jobs) < WORTH_PROCESSES:
        return list(_told(map(work, jobs), len(jobs)))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_quiet) as pool:
        try:
            return list(_told(pool.map(work, jobs, chunksize=4), len(jobs)))
        except BrokenProcessPool:
            # A worker died, for want of memory, or because a program calls this at its top level
            # without a main guard. What was done is in the cache; the rest is done here.
            return list(_told(map(work, jobs), len(jobs)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _quiet() -> None:
    """In a worker: the parent handles Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _told(results: Iterable[R], total: int) -> Iterator[R]:
    """The results, with a line now and then once they take long."""
    began = last = time.monotonic()
    for done, result in enumerate(results, start=1):
        yield result
        now = time.monotonic()
        if now - last >= LINE_EVERY and done < total:
            left = (now - began) / done * (total - done)
            print(
                f"functa: voxelising meshes: {done}/{total}, {left:.0f} s left; they are kept",
                file=sys.stderr,
                flush=True,
            )
            last = now
