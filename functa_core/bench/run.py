"""A run of the benchmark: ceilings, configurations, ceilings again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from functa_core.bench.case import Asked
from functa_core.bench.ceilings import best, ceilings
from functa_core.bench.measure import Effort, measure
from functa_core.bench.report import document
from functa_core.console import warn


def run(asked: Sequence[Asked], device: torch.device, effort: Effort) -> dict[str, Any]:
    """Measure configurations one after the other; see `document` for what comes out.

    Args:
        asked: what to measure.
        device: where.
        effort: how long, for each.
    """
    before = ceilings(device, effort.shrink)
    cases = []
    for each in asked:
        warn(f"measuring {each.name}: {each.modality.benchmarks[each.name].summary}")
        cases.append((each, measure(each, device, effort)))
    return document(cases, best(before, ceilings(device, effort.shrink)), device)
