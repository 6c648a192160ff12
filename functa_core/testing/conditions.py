"""Conditions that checks are run under: no network, no display, untouched random generators."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch

_LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
_SENDING = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_guards: list[list[str]] = []
_installed: list[bool] = []


@contextmanager
def no_network() -> Iterator[list[str]]:
    """Refuse every connection and name look-up that Python makes.

    Yields:
        What was tried, as it is tried.
    """
    if not _installed:
        sys.addaudithook(_refuse)  # cannot be taken away again, and does nothing without a guard
        _installed.append(True)
    attempts: list[str] = []
    _guards.append(attempts)
    try:
        yield attempts
    finally:
        _guards.remove(attempts)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if not _guards or event not in _LOOKUPS | _SENDING:
        return
    target = arguments[0] if event in _LOOKUPS else arguments[1]
    if event in _SENDING and not isinstance(target, tuple):
        return  # a socket of this machine's own, which has a path and no address
    for attempts in _guards:
        attempts.append(f"{event}({target!r})")
    raise OSError("the network is refused while the conformance kit looks at embedded data")


@contextmanager
def environment(**changes: str | None) -> Iterator[None]:
    """Set environment variables, or take them away (None), for a while."""
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def no_display() -> AbstractContextManager[None]:
    """Without a screen, and without a hint to matplotlib that there is none."""
    return environment(DISPLAY=None, WAYLAND_DISPLAY=None, MPLBACKEND=None)


@contextmanager
def scattered_generators() -> Iterator[None]:
    """Let each global random generator be in a state that no fixed seed gives, for a while.

    Otherwise one that is seeded with the same number at every call would seem untouched.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.random(), np.random.random(), torch.rand(1)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


def global_generators() -> dict[str, object]:
    """State of each global random generator, to be compared.

    Python's own is left out where types are checked by beartype, which draws from it at every call.
    """
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - it is the one that is watched
    states: dict[str, object] = {
        "numpy.random": (kind, np.asarray(keys).tobytes(), *rest),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }
    if "beartype" not in sys.modules:
        states["random"] = random.getstate()
    return states
