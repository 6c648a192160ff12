"""Timing several ways to do the same so that the figures can be compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy as np

from functa_core.bench.implementation import Absent, Implementation, Work

LEAST_SAMPLE = 0.05
"""Seconds that one sample should last: what is shorter is done several times over."""
ROUNDS = (3, 15)
"""Fewest and most."""


@attrs.frozen
class Timed:
    """Seconds of one piece of work.

    Attributes:
        seconds: of each sample, for doing it once.
    """

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return float(np.median(self.seconds))

    @property
    def spread(self) -> float:
        """Between the first and the third quartile."""
        low, high = np.percentile(self.seconds, [25, 75])
        return float(high - low)


def interleaved(works: Mapping[str, Callable[[int], float]], budget: float) -> dict[str, Timed]:
    """Time each piece of work in turn, round after round: A B C A B C …

    What slows the machine down for a while slows all of them, so that ratios of medians stand.

    Args:
        works: tells the seconds of a call from how many to take the mean of; each has been done
            before, so that nothing is compiled. What raises `Absent` is left out.
        budget: seconds after which no further round begins, beyond the fewest.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    calls = dict.fromkeys(works, 1)
    fewest, most = ROUNDS
    began, done = time.perf_counter(), -1  # the first round tells how many calls make a sample
    while done < fewest or (done < most and time.perf_counter() - began < budget):
        for name in list(seconds):
            try:
                found = works[name](calls[name])
            except Absent:
                del seconds[name]
                continue
            if done < 0:
                calls[name] = _calls(found)
            else:
                seconds[name].append(found)
        done += 1
    return {name: Timed(samples) for name, samples in seconds.items()}


def _calls(seconds: float) -> int:
    return max(1, round(LEAST_SAMPLE / max(seconds, 1e-9)))


def sample(implementation: Implementation, work: Work, calls: int) -> float:
    """Seconds of a call: one after the other, waiting for the last alone, as training does."""
    began = time.perf_counter()
    for _ in range(calls):
        result = work()
    implementation.finish(result)
    return (time.perf_counter() - began) / calls
