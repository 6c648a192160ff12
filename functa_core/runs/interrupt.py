"""Ctrl-C (and SIGTERM) between two updates instead of in the middle of one.

An interrupt that lands inside the optimiser would leave some weights updated and some not, and a
checkpoint of that would not be a state that the run ever had.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@attrs.define
class Interrupt:
    """Whether somebody has asked to stop."""

    requested: bool = False


@contextmanager
def interruptible(interrupt: Interrupt) -> Iterator[None]:
    """Note the first signal and leave the block to act on it; a second one interrupts at once.

    Off the main thread, where Python delivers no signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(*_: object) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
