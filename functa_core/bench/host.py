"""Where an implementation does its work: in this process, or in one of its own."""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from functa_core.bench.case import Asked
from functa_core.bench.implementation import Absent, Implementation, Work
from functa_core.bench.kinds import KINDS, Kind
from functa_core.bench.memory import peak_bytes
from functa_core.bench.timing import sample
from functa_core.errors import lacks_memory

CHECKED = 2
"""Updates that are compared: the second one's loss shows the gradients of the first."""

WORKS: Mapping[str, Callable[[Implementation], Work]] = {
    "update": lambda who: who.updating(),
    "encode": lambda who: who.encoding(),
    "decode": lambda who: who.decoding(),
}

REST = 0.02
"""Seconds before a sample in a process of its own: threads of others that have done their work wait
for more for some milliseconds before they leave the processor."""


class Host(ABC):
    """An implementation at work on a case."""

    @abstractmethod
    def check(self, operation: str) -> Tensor:
        """Do the work as it will be timed, so that nothing is compiled then.

        Returns:
            The numbers that it gives at full precision: losses, latents or values, call by call.
        """

    @abstractmethod
    def seconds(self, operation: str, calls: int) -> float:
        """Of one call of an operation that was checked, the mean of some."""

    @abstractmethod
    def peak(self) -> int | None:
        """Bytes that an update takes at most; see `peak_bytes` and `Implementation.device_peak`."""

    @abstractmethod
    def close(self) -> None:
        """Nothing more is asked."""


class Here(Host):
    """In this process."""

    def __init__(self, asked: Asked, kind: Kind, device: torch.device) -> None:
        """Make it.

        Args:
            asked: the case.
            kind: whose implementation.
            device: where.

        Raises:
            Absent: it cannot be had.
        """
        self.asked = asked
        self.who = kind.make(asked.case(device))
        self.works: dict[str, Work] = {}

    def check(self, operation: str) -> Tensor:
        """See `Host`."""
        self.works.clear()  # what the last operation kept is not in the way
        precise = self.who.precisely()
        calls = CHECKED if operation == "update" else 1
        work = WORKS[operation](precise)
        found = torch.stack([_numbers(precise.finish(work())) for _ in range(calls)])
        if precise is not self.who:
            work = WORKS[operation](self.who)
            self.who.finish(work())
        self.works[operation] = work
        return found

    def seconds(self, operation: str, calls: int) -> float:
        """See `Host`."""
        return sample(self.who, self.works[operation], calls)

    def peak(self) -> int | None:
        """See `Host`: a GPU's allocator counts; of a processor's memory a new process tells."""
        if self.who.case.device.type == "cuda":
            return self.who.device_peak()
        return peak_bytes(self.asked, self.who.name)

    def close(self) -> None:
        """See `Host`."""
        self.works.clear()


class Failed(Exception):
    """An implementation in another process ended by an error that it should not have."""


class Apart(Host):
    """On a processor, in a process of its own: what others left in memory makes nobody slower."""

    def __init__(self, asked: Asked, implementation: str) -> None:
        """Make it there.

        Args:
            asked: the case.
            implementation: name of its kind.

        Raises:
            Absent: it cannot be had.
        """
        self.asked, self.name = asked, implementation
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        given = (other, asked, implementation, torch.get_num_threads())
        self.process = context.Process(target=_serve, args=given, daemon=True)
        self.process.start()
        other.close()  # else its end would not be seen here
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def check(self, operation: str) -> Tensor:
        """See `Host`."""
        return torch.from_numpy(self._ask("check", operation))

    def seconds(self, operation: str, calls: int) -> float:
        """See `Host`."""
        return float(self._ask("seconds", operation, calls))

    def peak(self) -> int | None:
        """See `Host`: of a further process, in which nothing was done before."""
        return peak_bytes(self.asked, self.name)

    def close(self) -> None:
        """See `Host`."""
        self.connection.close()
        self.process.terminate()
        self.process.join()

    def _ask(self, method: str, *given: Any) -> Any:
        try:
            self.connection.send((method, given))
        except OSError as error:
            raise self._ended() from error
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self.connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _ended(self) -> Absent:
        self.process.join()
        code = self.process.exitcode
        memory = ", most likely for want of memory" if code == -signal.SIGKILL else ""
        return Absent(f"its process ended with exit code {code}{memory}")


def _serve(connection: Connection, asked: Asked, implementation: str, threads: int) -> None:
    """Answer until nobody asks any more; the first answer is that it is there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who asks ends it
    torch.set_num_threads(threads)
    kind = next(kind for kind in KINDS if kind.name == implementation)
    hosts: list[Here] = []

    def make() -> None:
        hosts.append(Here(asked, kind, torch.device("cpu")))

    connection.send(_outcome(make))
    with suppress(EOFError):
        while True:
            method, given = connection.recv()
            connection.send(_outcome(partial(_METHODS[method], hosts[0], *given)))


def _check(host: Here, operation: str) -> np.ndarray:
    return host.check(operation).numpy()


def _seconds(host: Here, operation: str, calls: int) -> float:
    time.sleep(REST)
    return host.seconds(operation, calls)


_METHODS: Mapping[str, Callable[..., Any]] = {"check": _check, "seconds": _seconds}


def _outcome(work: Callable[[], Any]) -> Any:
    """What it gives, or an exception that can be sent, as not all of peers' libraries' can."""
    try:
        return work()
    except Absent as error:
        return error
    except Exception as error:
        if lacks_memory(error):
            return Absent("there is not enough memory")
        return Failed("".join(traceback.format_exception(error)))


def _numbers(result: Any) -> Tensor:
    """A result of any library, on the processor."""
    if isinstance(result, Tensor):
        return result.detach().cpu()
    return torch.from_numpy(np.array(result))
