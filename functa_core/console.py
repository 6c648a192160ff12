"""What a command says while it works: bars on a terminal, plain lines in a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from functa_core.distributed import is_first

LINE_EVERY = 10.0  # seconds between two lines of one task when the output is a file


@runtime_checkable
class Ticker(Protocol):
    """Reports how far a task has come."""

    def __call__(self, done: int, **figures: float) -> None:
        """Say that `done` of the total is done, with figures beside it."""
        ...


def say(text: str) -> None:
    """One line on standard output, at once; of several processes the first speaks."""
    if is_first():
        print(text, flush=True)


def warn(text: str) -> None:
    """One line on standard error; of several processes the first speaks."""
    if is_first():
        print(f"functa: {text}", file=sys.stderr, flush=True)


@contextmanager
def ticking(task: str, total: int, start: int = 0) -> Iterator[Ticker]:
    """Report on a task of `total` parts, `start` of which were done before."""
    if not is_first():
        yield _silent
    elif sys.stdout.isatty():
        with _bar(task, total, start) as ticker:
            yield ticker
    else:
        lines = _Lines(task, total, start)
        yield lines
        lines.finish()


def _silent(done: int, **figures: float) -> None:
    """Report nothing."""


@contextmanager
def _bar(task: str, total: int, start: int) -> Iterator[Ticker]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    rate_and_figures = TextColumn("{task.fields[figures]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    clock = _Clock(start)
    with Progress(*columns, rate_and_figures, TimeLeft(), TextColumn("left")) as progress:
        row = progress.add_task(task, total=total, completed=start, figures="")

        def tick(done: int, **figures: float) -> None:
            text = f"{clock.rate(done):.1f}/s{_figures(figures)}"
            progress.update(row, completed=done, figures=text)

        yield tick


class _Clock:
    """Parts per second since it was made."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.began = time.monotonic()

    def rate(self, done: int) -> float:
        return (done - self.start) / max(time.monotonic() - self.began, 1e-9)


class _Lines:
    """Plain lines: one at the end, and one now and then before it."""

    def __init__(self, task: str, total: int, start: int) -> None:
        self.task, self.total = task, total
        self.clock = _Clock(start)
        self.last_line = self.clock.began
        self.latest: tuple[int, dict[str, float]] = (start, {})
        self.printed = -1

    def __call__(self, done: int, **figures: float) -> None:
        self.latest = (done, figures)
        if time.monotonic() - self.last_line >= LINE_EVERY:
            self._print()

    def finish(self) -> None:
        if self.latest[0] != self.printed:
            self._print()

    def _print(self) -> None:
        done, figures = self.latest
        self.last_line, self.printed = time.monotonic(), done
        rate = self.clock.rate(done)
        left = (self.total - done) / rate if rate > 0 else 0.0
        say(f"{self.task}: {done}/{self.total}{_figures(figures)}, {rate:.1f}/s, {left:.0f} s left")


def _figures(figures: dict[str, float]) -> str:
    return "".join(f", {name} {value:.4g}" for name, value in figures.items())
