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
from typing import Any, TypeVar

from functa_core.console import LINE_EVERY, warn

J = TypeVar("J")
R = TypeVar("R")

TRIAL = 2.0
"""Seconds of work from which on one can tell how long the rest will take."""
WORTH = 10.0
"""Seconds of work left from which on starting processes, seconds each, pays."""
QUIET = 3.0
"""Seconds without a word."""


def in_parallel(work: Callable[[J], R], jobs: Sequence[J], doing: str) -> list[R]:
    """The results of all jobs in their order; progress goes to standard error.

    It begins in this process, and goes on in new ones if much is left.

    Args:
        work: must be safe to do twice. It is sent to each new process once: a function of a
            module, or a `functools.partial` of one.
        jobs: what to call it with, one by one.
        doing: what is done, for the progress: "rendering meshes".

    Returns:
        What `work` gives for each job. What it raises ends it all.
    """
    progress = _Progress(doing, len(jobs))
    results: list[R] = []
    while len(results) < len(jobs) and not (_processors() > 1 and progress.is_long):
        results += progress.of([work(jobs[len(results)])])
    rest = jobs[len(results) :]
    return results + (_in_processes(work, rest, progress) if rest else [])


def _in_processes(work: Callable[[J], R], jobs: Sequence[J], progress: _Progress) -> list[R]:
    """New processes are spawned, not forked: torch's threads do not survive a fork."""
    count = min(_processors(), len(jobs))
    context = multiprocessing.get_context("spawn")
    results: list[R] = []
    with ProcessPoolExecutor(count, context, initializer=_start, initargs=(work,)) as pool:
        try:
            chunk = max(1, len(jobs) // (32 * count))
            for result in progress.of(pool.map(_do, jobs, chunksize=chunk)):
                results.append(result)  # noqa: PERF402 - what is done is kept if the pool breaks
        except BrokenProcessPool:
            # A worker died, for want of memory, or because a program calls this at its top level
            # without a main guard.
            results += progress.of(map(work, jobs[len(results) :]))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


_work: Callable[[Any], Any]


def _start(work: Callable[[Any], Any]) -> None:
    """In a worker: the parent handles Ctrl-C, and the workers share the processors."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"  # for a torch that is imported later
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _do(job: Any) -> Any:
    return _work(job)


class _Progress:
    """Counts results, and says so now and then once they take long."""

    def __init__(self, doing: str, total: int) -> None:
        self.doing, self.total, self.done = doing, total, 0
        self.began = time.monotonic()
        self.due = self.began + QUIET

    @property
    def is_long(self) -> bool:
        """Whether so much is left that processes are worth their start."""
        passed = time.monotonic() - self.began
        return passed >= TRIAL and self.done < self.total - 1 and self.left(passed) >= WORTH

    def left(self, passed: float) -> float:
        """Seconds left, at the pace so far."""
        return passed / max(self.done, 1) * (self.total - self.done)

    def of(self, results: Iterable[R]) -> Iterator[R]:
        """The results as they come."""
        for result in results:
            self.done += 1
            now = time.monotonic()
            if now >= self.due and self.done < self.total:
                left = self.left(now - self.began)
                warn(f"{self.doing}: {self.done}/{self.total}, {left:.0f} s left")
                self.due = now + LINE_EVERY
            yield result
