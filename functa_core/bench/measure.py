"""One configuration measured: everybody checked first, then timed in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

import attrs
import torch
from torch import Tensor

from functa_core.bench.case import Asked, Case
from functa_core.bench.host import WORKS, Apart, Here, Host
from functa_core.bench.implementation import Absent
from functa_core.bench.kinds import KINDS, REFERENCE, Kind
from functa_core.bench.timing import interleaved
from functa_core.errors import lacks_memory

TOLERANCE = {"update": 1e-5, "encode": 1e-3, "decode": 1e-4}
"""Relative to the largest number. Losses are means and agree best; latents are differences."""
T = TypeVar("T")


@attrs.frozen
class Effort:
    """How long to measure one configuration.

    Attributes:
        seconds: of timing for each operation, beyond the fewest rounds.
        memory: whether to measure peaks.
        apart: whether each implementation has a process of its own, on a processor.
        until: as `time.monotonic` has it; nothing is begun after it. None for no end.
        shrink: see `ceilings`.
    """

    seconds: Mapping[str, float] = {"update": 20.0, "encode": 6.0, "decode": 4.0}
    memory: bool = True
    apart: bool = True
    until: float | None = None
    shrink: int = 1

    def check(self) -> None:
        """Raise `Absent` if the time is over."""
        if self.until is not None and time.monotonic() > self.until:
            raise Absent("there was no time left")


@attrs.frozen
class Row:
    """What was found about an operation of an implementation, as in the JSON.

    Attributes:
        config: name of the configuration.
        operation: update, encode, or decode by the name that its benchmark gives it.
        implementation, dtype: whose.
        median, spread: seconds; of the spread, between the quartiles.
        rounds: samples that they are of.
        per_second: signals of an update or of encoding, queries of decoding.
        peak_bytes: of an update; see `peak_bytes`.
        loss: of the first update.
        error: how far it is from ours in float32: losses, latents or values, relative.
        reason: why there is nothing, else None.
    """

    config: str
    operation: str
    implementation: str
    dtype: str
    median: float | None = None
    spread: float | None = None
    rounds: int = 0
    per_second: float | None = None
    peak_bytes: int | None = None
    loss: float | None = None
    error: float | None = None
    reason: str | None = None


def measure(asked: Asked, device: torch.device, effort: Effort) -> list[Row]:
    """All operations of all implementations on one case.

    An implementation that is not there, does not fit in memory or whose numbers are not ours is
    a row without figures that says why; it is never timed.

    Args:
        asked: the case.
        device: where.
        effort: how long.
    """
    case = asked.case(device)
    hosts: dict[str, Host] = {}
    peaks: dict[str, int | None] = {}
    reasons: dict[str, str] = {}
    with ExitStack() as stack:
        for kind in KINDS:
            try:
                host = attempt(effort, partial(_host, asked, kind, device, effort))
                stack.callback(host.close)
                if effort.memory:
                    peaks[kind.name] = attempt(effort, host.peak)
                hosts[kind.name] = host
            except Absent as error:
                reasons[kind.name] = str(error)
        rows = []
        for operation in WORKS:
            found = _operation(case, operation, hosts, effort)
            for kind in KINDS:
                reason = reasons.get(kind.name)
                row = found.get(kind.name) or _row(case, operation, kind, reason=reason)
                if operation == "update" and row.reason is None:
                    row = attrs.evolve(row, peak_bytes=peaks.get(kind.name))
                rows.append(row)
    return rows


def _host(asked: Asked, kind: Kind, device: torch.device, effort: Effort) -> Host:
    if effort.apart and device.type == "cpu":
        return Apart(asked, kind.name)
    return Here(asked, kind, device)


def attempt(effort: Effort, work: Callable[[], T]) -> T:
    """The result, or `Absent` if there is no time or no memory for it."""
    effort.check()
    return _with_memory(work)


def _with_memory(work: Callable[[], T]) -> T:
    try:
        return work()
    except Exception as error:
        if lacks_memory(error):
            raise Absent("there is not enough memory") from error
        raise


def _operation(
    case: Case, operation: str, hosts: Mapping[str, Host], effort: Effort
) -> dict[str, Row]:
    """Rows of an operation, of those implementations that are there."""
    rows: dict[str, Row] = {}
    works: dict[str, Callable[[int], float]] = {}
    reference: Tensor | None = None
    for kind in KINDS:
        host = hosts.get(kind.name)
        if host is None:
            continue
        try:
            found = attempt(effort, partial(host.check, operation))
            if kind is REFERENCE:
                reference = found
            error = compare(kind, operation, found, reference)
        except Absent as error_:
            rows[kind.name] = _row(case, operation, kind, reason=str(error_))
            continue
        works[kind.name] = partial(_seconds, rows, kind.name, host, operation)
        loss = float(found[0]) if operation == "update" else None
        rows[kind.name] = _row(case, operation, kind, error=error, loss=loss)
    count = len(case.observations)
    if operation == "decode":
        count *= case.observations.count
    for name, timed in interleaved(works, effort.seconds[operation]).items():
        rows[name] = attrs.evolve(
            rows[name],
            median=timed.median,
            spread=timed.spread,
            rounds=len(timed.seconds),
            per_second=count / timed.median,
        )
    return rows


def _seconds(rows: dict[str, Row], name: str, host: Host, operation: str, calls: int) -> float:
    """Of a call; of what cannot be done any more the row says why."""
    try:
        return _with_memory(partial(host.seconds, operation, calls))
    except Absent as error:
        rows[name] = attrs.evolve(rows[name], loss=None, error=None, reason=str(error))
        raise


def _row(case: Case, operation: str, kind: Kind, **rest: Any) -> Row:
    named = case.benchmark.decoding if operation == "decode" else operation
    return Row(case.name, named, kind.name, kind.dtype, **rest)


def compare(kind: Kind, operation: str, found: Tensor, reference: Tensor | None) -> float | None:
    """How far numbers are from the reference's, relative to its largest; None without one.

    Raises:
        Absent: they must be the same, and are not.
    """
    if reference is None:
        return None
    scale = float(reference.abs().max())
    error = float((found.view_as(reference) - reference).abs().max()) / max(scale, 1e-30)
    if kind.exact and (math.isnan(error) or error > TOLERANCE[operation]):
        raise Absent(
            f"not timed: its {operation} differs from ours by {error:.1e} relative, "
            f"more than {TOLERANCE[operation]:.0e}"
        )
    return error
