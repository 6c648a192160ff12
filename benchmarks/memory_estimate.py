"""What `functa train --estimate` tells beside what training takes.

    python benchmarks/memory_estimate.py --out benchmarks/results/memory_estimate.json

For each size that `functa bench` has, on the processor: the estimate of an update and of the whole
process, how much resident memory grew at most in the first update, and the most that a process took
which trained for two. Each is a process of its own. Signals are made up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch

from functa_core import Dataset
from functa_core.bench.case import SEED, Asked
from functa_core.bench.machine import hardware, versions
from functa_core.bench.memory import peak_bytes
from functa_core.discovery.loading import load_plugin, load_working
from functa_core.modality import seeded
from functa_core.runs.config import build_config
from functa_core.runs.directory import RunDirectory
from functa_core.runs.estimate import estimate
from functa_core.runs.opening import Session
from functa_core.runs.pipeline import run_training

CPU = torch.device("cpu")


def session(name: str, modality: str, out: Path) -> Session:
    """A run of a benchmark's size, on its signals."""
    plugin = load_plugin(modality)
    case = Asked(plugin.modality, name).case(CPU)
    signals = case.benchmark.signals(case.meta.batch_size, seeded(SEED))
    data = Dataset([str(i) for i in range(len(signals))], signals.__getitem__)
    config = attrs.evolve(
        build_config(plugin.modality),
        modality=case.modality.config,
        model=case.model,
        meta=attrs.evolve(case.meta, steps=2),
    )
    return Session(RunDirectory(out), plugin, config, case.modality, data, data, CPU)


def told(name: str, modality: str) -> dict[str, Any]:
    """The estimate, in bytes. Of an update: what comes to its weights and its batch."""
    with tempfile.TemporaryDirectory() as folder:
        found = estimate(session(name, modality, Path(folder)))
    there = 4 * found.parameters + found.update.batch
    return {
        "update": found.update.peak - there,
        "process": found.peak,
        "measured_from": found.update.measured,
        "of": (found.signals, found.observations),
    }


def trained(name: str, modality: str) -> dict[str, Any]:
    """The most that this process takes."""
    with tempfile.TemporaryDirectory() as folder:
        run_training(session(name, modality, Path(folder)))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"process": 1024 * int(status["VmHWM"].split()[0])}


def grown(name: str, modality: str) -> dict[str, Any]:
    """By how much memory grows in the first update."""
    return {"update": peak_bytes(Asked(load_plugin(modality).modality, name), "functa")}


STEPS = {"told": told, "grown": grown, "trained": trained}


def apart(step: str, name: str, modality: str) -> dict[str, Any]:
    """A step in a process of its own."""
    command = [sys.executable, __file__, "--step", step, name, modality]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compared(name: str, modality: str) -> dict[str, Any]:
    """Everything about one size."""
    found = {step: apart(step, name, modality) for step in STEPS}
    estimated = found["told"]
    measured = {**found["grown"], **found["trained"]}
    ratios = {key: estimated[key] / measured[key] for key in measured}
    return {"config": name, "estimated": estimated, "measured": measured, "ratio": ratios}


def line(row: Mapping[str, Any]) -> str:
    """For people to read."""
    parts = (
        f"{key} {row['estimated'][key] / 1e6:,.0f} MB estimated, "
        f"{row['measured'][key] / 1e6:,.0f} measured ({100 * (row['ratio'][key] - 1):+.0f} %)"
        for key in ("update", "process")
    )
    return f"{row['config']}: {'; '.join(parts)}"


def main() -> None:
    """Measure all sizes, or do one step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--config", action="append", help="a size; all if left out")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        step, name, modality = arguments.step
        print(json.dumps(STEPS[step](name, modality)))
        return
    sizes = [
        (name, plugin.modality.name)
        for plugin in load_working()[0]
        for name in plugin.modality.benchmarks
        if arguments.config is None or name in arguments.config
    ]
    rows = []
    for name, modality in sizes:
        rows.append(compared(name, modality))
        print(line(rows[-1]), flush=True)
    if arguments.out:
        found = {"hardware": hardware(CPU), "versions": versions(), "results": rows}
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
