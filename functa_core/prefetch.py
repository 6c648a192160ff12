"""The next thing is made while this one is worked with."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items in the same order, each asked for in a thread while the last is in use.

    Reading files and most of numpy and torch leave Python's lock, so a thread is enough, and it
    shares the signals that are in memory. Two items are held at a time. What making one raises
    comes where the item would have.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as worker:
        coming = worker.submit(_next, items)
        while got := coming.result():
            coming = worker.submit(_next, items)
            yield got[0]


def _next(items: Iterator[T]) -> tuple[T] | None:
    """One item, in a tuple because it may be anything; None at the end."""
    for item in items:
        return (item,)
    return None
