"""Ctrl-C (and SIGTERM) between two updates instead of in the middle of one.

An interrupt that lands inside the optimiser would leave some weights updated and some not, and a
checkpoint of that would not be a state that the run ever had.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO = 1.0
"""Seconds within which a second signal is the first one's: torchrun sends on what all have got."""


@attrs.define
class Interrupt:
    """Whether somebody has asked to stop, and when (of the monotonic clock)."""

    requested: bool = False
    at: float = math.inf


@contextmanager
def interruptible(interrupt: Interrupt) -> Iterator[None]:
    """Note the first signal and leave the block to act on it; a second Ctrl-C interrupts at once.

    SIGTERM, which batch systems and torchrun both send, never does: what the block has to save, it
    saves. Off the main thread, where Python delivers no signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, _: object) -> None:
        now = time.monotonic()
        if number == signal.SIGINT and now - interrupt.at > ECHO:
            raise KeyboardInterrupt
        interrupt.requested, interrupt.at = True, min(interrupt.at, now)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
