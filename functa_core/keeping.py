"""What is expensive to read is kept in memory, up to a limit."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
S = TypeVar("S")


class Kept(Generic[K, S]):
    """Reads signals, and keeps those that it read first: `kept(key)` is `read(key)`.

    What is full stays as it is. Passes over the data come in random order, and for those no rule of
    replacement does better than none.
    """

    def __init__(self, read: Callable[[K], S], size: Callable[[S], int], most: int) -> None:
        """Nothing is read yet.

        Args:
            read: a signal; the same for the same key, at any time.
            size: bytes that a signal takes.
            most: bytes that are kept in all.
        """
        self._read, self._size = read, size
        self._left = most
        self._there: dict[K, S] = {}
        self._lock = Lock()

    def __call__(self, key: K) -> S:
        """The signal, read again if it was not kept."""
        found = self._there.get(key)
        return self.keep(key, self._read(key)) if found is None else found

    def keep(self, key: K, signal: S) -> S:
        """Keep a signal that was read, if there is room; returns it."""
        with self._lock:
            size = self._size(signal)
            if size <= self._left and key not in self._there:
                self._left -= size
                self._there[key] = signal
        return signal
