"""One configuration measured: everybody checked first, then timed in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import attrs
import numpy as np
import torch
from torch import Tensor

from functa_core.bench.case import Asked, Case
from functa_core.bench.implementation import Absent, Implementation, Work
from functa_core.bench.kinds import KINDS, REFERENCE, Kind
from functa_core.bench.memory import peak_bytes
from functa_core.bench.timing import interleaved
from functa_core.errors import lacks_memory

TOLERANCE = {"update": 1e-5, "encode": 1e-3, "decode": 1e-4}
"""Relative to the largest number. Losses are means and agree best; latents are differences."""
CHECKED = 2
"""Updates that are compared: the second one's loss shows the gradients of the first."""

T = TypeVar("T")

WORKS: Mapping[str, Callable[[Implementation], Work]] = {
    "update": lambda who: who.updating(),
    "encode": lambda who: who.encoding(),
    "decode": lambda who: who.decoding(),
}


@attrs.frozen
class Effort:
    """How long to measure one configuration.

    Attributes:
        seconds: of timing for each operation, beyond the fewest rounds.
        memory: whether to measure peaks.
        until: as `time.monotonic` has it; nothing is begun after it. None for no end.
        shrink: see `ceilings`.
    """

    seconds: Mapping[str, float] = {"update": 20.0, "encode": 6.0, "decode": 4.0}
    memory: bool = True
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
    present: dict[str, Implementation] = {}
    peaks: dict[str, int | None] = {}
    reasons: dict[str, str] = {}
    for kind in KINDS:
        try:
            present[kind.name] = attempt(effort, partial(kind.make, case))
            if effort.memory:
                peaks[kind.name] = attempt(effort, partial(_peak, asked, present[kind.name]))
        except Absent as error:
            present.pop(kind.name, None)
            reasons[kind.name] = str(error)
    rows = []
    for operation in WORKS:
        found = _operation(case, operation, present, effort)
        for kind in KINDS:
            row = found.get(kind.name) or _row(case, operation, kind, reason=reasons.get(kind.name))
            if operation == "update" and row.reason is None:
                row = attrs.evolve(row, peak_bytes=peaks.get(kind.name))
            rows.append(row)
    return rows


def _peak(asked: Asked, who: Implementation) -> int | None:
    """A GPU's memory is counted by whoever hands it out; a processor's in a process of its own."""
    if who.case.device.type == "cuda":
        return who.device_peak()
    return peak_bytes(asked, who.name)


def attempt(effort: Effort, work: Callable[[], T]) -> T:
    """The result, or `Absent` if there is no time or no memory for it."""
    effort.check()
    try:
        return work()
    except Exception as error:
        if lacks_memory(error):
            raise Absent("there is not enough memory") from error
        raise


def _operation(
    case: Case, operation: str, present: Mapping[str, Implementation], effort: Effort
) -> dict[str, Row]:
    """Rows of an operation, of those implementations that are present."""
    rows: dict[str, Row] = {}
    works: dict[str, tuple[Implementation, Work]] = {}
    reference: Tensor | None = None
    for kind in KINDS:
        who = present.get(kind.name)
        if who is None:
            continue
        try:
            work, found = attempt(effort, partial(_checked, who, operation))
            if kind is REFERENCE:
                reference = found
            error = compare(who, operation, found, reference)
        except Absent as error_:
            rows[kind.name] = _row(case, operation, kind, reason=str(error_))
            continue
        works[kind.name] = (who, work)
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


def _row(case: Case, operation: str, kind: Kind, **rest: Any) -> Row:
    named = case.benchmark.decoding if operation == "decode" else operation
    return Row(case.name, named, kind.name, kind.dtype, **rest)


def _checked(who: Implementation, operation: str) -> tuple[Work, Tensor]:
    """The work, done before, and the numbers it gives: losses, latents or values."""
    precise = who.precisely()
    calls = CHECKED if operation == "update" else 1
    work = WORKS[operation](precise)
    found = torch.stack([_numbers(precise.finish(work())) for _ in range(calls)])
    if precise is not who:
        work = WORKS[operation](who)
        who.finish(work())
    return work, found


def _numbers(result: Any) -> Tensor:
    """A result of any library, on the processor."""
    if isinstance(result, Tensor):
        return result.detach().cpu()
    return torch.from_numpy(np.array(result))


def compare(
    who: Implementation, operation: str, found: Tensor, reference: Tensor | None
) -> float | None:
    """How far numbers are from the reference's, relative to its largest; None without one.

    Raises:
        Absent: they must be the same, and are not.
    """
    if reference is None:
        return None
    scale = float(reference.abs().max())
    error = float((found.view_as(reference) - reference).abs().max()) / max(scale, 1e-30)
    if who.exact and (math.isnan(error) or error > TOLERANCE[operation]):
        raise Absent(
            f"not timed: its {operation} differs from ours by {error:.1e} relative, "
            f"more than {TOLERANCE[operation]:.0e}"
        )
    return error
