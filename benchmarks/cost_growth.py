"""How time and memory grow with what there is to do.

    python benchmarks/cost_growth.py --out benchmarks/results/cost_growth.json

Around one size, `functa bench`'s small, one thing is changed at a time: time and peak memory of an
update, and time to encode a batch. Then the number of signals: time to open a mapped file of them,
time of an update with what it reads, and memory, each in a process of its own. Four to
fourteen minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from functa_core.bench.case import Asked
from functa_core.bench.machine import hardware, versions
from functa_core.bench.memory import peak_bytes
from functa_core.bench.ours import Functa
from functa_core.bench.timing import interleaved, sample
from functa_core.discovery.loading import load_plugin
from functa_core.meta.learner import build_learner
from functa_core.meta.outer import update
from functa_core.prefetch import ahead
from functa_core.runs.batches import Batches
from functa_core.runs.config import build_config
from functa_core.runs.directory import RunDirectory
from functa_core.runs.opening import prepare
from functa_images.benchmarks import BENCHMARKS
from functa_images.modality import Images

CPU = torch.device("cpu")
SIDES = (16, 32, 48, 64)
AXES: Mapping[str, tuple[str, str, tuple[Any, ...]]] = {
    "batch": ("meta", "batch_size", (2, 4, 8, 16, 32)),
    "width": ("model", "width", (64, 128, 256, 512)),
    "depth": ("model", "depth", (3, 5, 10, 15, 20)),
    "latent numbers": ("model", "latent_dim", (32, 128, 512, 2048)),
    "inner steps": ("meta", "inner_steps", (1, 2, 3, 6)),
    "solver": ("meta", "solver", ("meta-sgd", "gauss-newton")),
}
"""What is changed: section and key of the option, and its values."""
SIGNALS = (1_000, 10_000, 100_000, 1_000_000)
SIDE = 32
UPDATES = 6
SECONDS = 2.0
"""Of timing an operation, beyond the fewest rounds."""


def noise(side: int, count: int, generator: torch.Generator) -> list[np.ndarray]:
    """Pictures of random colours."""
    shape = (count, side, side, 3)
    return list(torch.randint(256, shape, generator=generator, dtype=torch.uint8).numpy())


class Sized(Images):
    """Pictures of several sides."""

    benchmarks = {  # noqa: RUF012
        str(side): attrs.evolve(
            BENCHMARKS["small"],
            state={**BENCHMARKS["small"].state, "height": side, "width": side},
            signals=partial(noise, side),
        )
        for side in SIDES
    }


def points() -> Iterator[tuple[str, Any, Asked]]:
    """What is changed, to what, and the case."""
    for side in SIDES:
        yield "coordinates", side**2, Asked(Sized, str(side))
    for axis, (section, key, values) in AXES.items():
        for value in values:
            yield axis, value, Asked(Sized, str(SIDE), {section: {key: value}})


def measured(asked: Asked) -> dict[str, Any]:
    """One case: seconds, their spread between quartiles, and bytes."""
    who = Functa(asked.case(CPU))
    works = {"update": who.updating(), "encode": who.encoding()}
    for work in works.values():
        work()
    samplers = {name: partial(sample, who, work) for name, work in works.items()}
    found: dict[str, Any] = {
        name: {"seconds": timed.median, "spread": timed.spread, "rounds": len(timed.seconds)}
        for name, timed in interleaved(samplers, SECONDS).items()
    }
    return {**found, "peak_bytes": peak_bytes(asked, "functa")}


def write(path: Path, count: int) -> None:
    """An array file of pictures: a thousand that are random, again and again."""
    block = np.random.default_rng(0).integers(0, 256, (1000, SIDE, SIDE, 3), np.uint8)
    shape = (count, SIDE, SIDE, 3)
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(count // len(block)):
            file.write(block.tobytes())


def opened(path: Path) -> dict[str, Any]:
    """What a data set takes: until it is open, and in updates that read from it."""
    plugin = load_plugin("images")
    sections = BENCHMARKS["small"].sections
    config = build_config(plugin.modality, [("small", sections), ("data", _data(path))])
    before = _bytes("RssAnon")
    began = time.perf_counter()
    session = prepare(plugin, config, RunDirectory(path.parent / "none"), "cpu")
    opening = time.perf_counter() - began
    batches = Batches(session.modality, session.train, config)
    learner = build_learner(session.modality.spec, config.model, config.meta, 0)
    optimiser = torch.optim.Adam(learner.parameters(), config.meta.lr)
    began = time.perf_counter()
    batches.batch(0)  # the first in an order that is drawn for all
    first = time.perf_counter() - began
    held = _bytes("RssAnon") - before
    alone = [_seconds(partial(batches.batch, step)) for step in range(1, UPDATES)]
    times = []
    began = time.perf_counter()
    for step, batch in enumerate(ahead(map(batches.batch, range(UPDATES)))):
        own = batches.problem(learner, batch, step, slice(0, len(batch)))
        update(learner, optimiser, own, config.meta)
        times.append(time.perf_counter() - began)
        began = time.perf_counter()
    return {
        "open_seconds": opening,
        "first_batch_seconds": first,
        "batch_seconds": float(np.median(alone)),
        "update_seconds": float(np.median(times)),
        "anonymous_bytes": held,
    }


def _data(path: Path) -> dict[str, Any]:
    return {"data": {"path": str(path), "test_fraction": 0.01}}


def _seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _bytes(key: str) -> int:
    """What this process takes now."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status[key].split()[0])


def data_sets() -> Iterator[dict[str, Any]]:
    """Each number of signals, in a process of its own."""
    for count in SIGNALS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "signals.npy"
            write(path, count)
            command = [sys.executable, __file__, "--open", str(path)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            size = path.stat().st_size
        yield {"signals": count, "file_bytes": size, **json.loads(done.stdout.splitlines()[-1])}


def main() -> None:
    """Measure everything, or a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open:
        print(json.dumps(opened(arguments.open)))
        return
    began = time.monotonic()
    found: dict[str, Any] = {"hardware": hardware(CPU), "versions": versions()}
    found["base"] = {"summary": BENCHMARKS["small"].summary, **BENCHMARKS["small"].sections}
    found["growth"] = []
    for axis, value, asked in points():
        row = {"axis": axis, "value": value, **measured(asked)}
        found["growth"].append(row)
        times = ", ".join(f"{name} {row[name]['seconds']:.3f} s" for name in ("update", "encode"))
        print(f"{axis} {value}: {times}, {row['peak_bytes'] / 1e6:.0f} MB", flush=True)
    found["data"] = []
    for row in data_sets():
        found["data"].append(row)
        print(", ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
    found["minutes"] = (time.monotonic() - began) / 60
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
