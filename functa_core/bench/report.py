"""What a run of the benchmark says: one JSON document, and a table of it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from functa_core.bench.case import Asked
from functa_core.bench.counting import first_step_is_shared, update_multiply_adds
from functa_core.bench.kinds import KINDS
from functa_core.bench.machine import hardware, versions
from functa_core.bench.measure import Row


def is_result(path: Path) -> bool:
    """Whether a file is what a benchmark wrote."""
    try:
        tree = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(tree, dict) and {"ceilings", "results", "ratios"} <= set(tree)


def document(
    cases: Sequence[tuple[Asked, list[Row]]], rates: Mapping[str, float], device: torch.device
) -> dict[str, Any]:
    """Everything, as plain numbers and words.

    Args:
        cases: what was measured, and what was found.
        rates: `ceilings` of the same run.
        device: on which.
    """
    results, ratios = [], []
    for asked, rows in cases:
        counts = multiply_adds(asked)
        results += [attrs.asdict(row) | _work(row, counts, rates) for row in rows]
        ratios += _ratios(rows)
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "hardware": hardware(device),
        "versions": versions(),
        "ceilings": dict(rates),
        "configs": {
            asked.name: asked.modality.benchmarks[asked.name].summary for asked, _ in cases
        },
        "results": results,
        "ratios": ratios,
    }


def multiply_adds(asked: Asked) -> dict[str, int]:
    """Of one update, by implementation; none for those whose mathematics is another."""
    case = asked.case(torch.device("cpu"))
    shared = first_step_is_shared(case)
    return {
        kind.name: update_multiply_adds(case, shared_first_step=shared and kind.ours)
        for kind in KINDS
        if kind.name != "functa gauss-newton"
    }


def _work(row: Row, counts: Mapping[str, int], rates: Mapping[str, float]) -> dict[str, Any]:
    """Multiply-adds of an update, and what fraction of the ceilings their rate is."""
    count = counts.get(row.implementation) if row.operation == "update" else None
    if count is None or row.median is None:
        return {"multiply_adds": count, "of_matmul": None, "of_product": None}
    rate = count / row.median
    return {
        "multiply_adds": count,
        "of_matmul": rate / rates[f"matmul_{row.dtype}"],
        "of_product": rate / rates[f"product_{row.dtype}"],
    }


def _ratios(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Of each of ours against each peer: how many times the seconds and the bytes they need."""
    ours = {kind.name for kind in KINDS if kind.ours}
    return [
        {
            "config": row.config,
            "operation": row.operation,
            "implementation": row.implementation,
            "against": peer.implementation,
            "time": _ratio(peer.median, row.median),
            "memory": _ratio(peer.peak_bytes, row.peak_bytes),
        }
        for row in rows
        for peer in rows
        if row.implementation in ours
        and peer.implementation not in ours
        and peer.operation == row.operation
        and row.median is not None
    ]


def _ratio(theirs: float | None, ours: float | None) -> float | None:
    return theirs / ours if theirs and ours else None


def table(found: Mapping[str, Any]) -> list[str]:
    """Lines for people: the ceilings, and one for each result."""
    rates = found["ceilings"]
    products = [name for name in rates if name.startswith(("matmul", "product"))]
    lines = [", ".join(f"{name} {2 * rates[name] / 1e9:.0f} GFLOP/s" for name in products)]
    lines.append(f"sine {rates['sine_float32'] / 1e9:.2f} G/s, copy {rates['copy'] / 1e9:.1f} GB/s")
    head = ("config", "operation", "implementation", "median", "spread", "of best product", "peak")
    cells = [head, *(_cells(row) for row in found["results"] if row["median"] is not None)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines += [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
    ]
    absent = {
        (row["config"], row["implementation"]): row["reason"]
        for row in found["results"]
        if row["median"] is None
    }
    lines += [f"{config}: {name}: {reason}" for (config, name), reason in absent.items()]
    return lines


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    fraction, peak = row["of_product"], row["peak_bytes"]
    return (
        row["config"],
        row["operation"],
        row["implementation"],
        f"{1e3 * row['median']:.1f} ms",
        f"{1e3 * row['spread']:.1f} ms",
        "" if fraction is None else f"{100 * fraction:.0f} %",
        "" if peak is None else f"{peak / 1e6:.0f} MB",
    )
