"""A million latents written and read in bounded memory.

    python benchmarks/functaset_streaming.py --out benchmarks/results/functaset_streaming.json

Each step runs in a process of its own, so that its peak memory is its own: write in batches, go
through in order, an epoch in random order through a DataLoader, and the statistics. What a process
needs for nothing but its imports is measured too. Files are in a temporary folder, removed
afterwards; a read right after a write comes from the page cache, not from the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import functa_core
from functa_core import Functaset, ShardWriter, StoredFunctaset

BATCH = 8_192


def batches(count: int, numbers: int) -> Iterator[Functaset]:
    """Random latents, drawn a batch at a time."""
    generator = torch.Generator().manual_seed(0)
    for start in range(0, count, BATCH):
        rows = min(BATCH, count - start)
        yield Functaset(
            latents=torch.randn(rows, numbers, generator=generator),
            psnr_db=torch.rand(rows, generator=generator) * 40,
            labels=torch.randint(10, (rows,), generator=generator),
            ids=[f"signals/{start + row:09d}" for row in range(rows)],
            modality="benchmark",
            spec={},
            state={"label_names": [str(label) for label in range(10)]},
            split="all",
            weights_sha256="0" * 64,
            inner_steps=3,
            versions={},
        )


def write(folder: Path, count: int, numbers: int, shard_size: int) -> None:
    """Write shards."""
    with ShardWriter(folder, shard_size) as writer:
        for batch in batches(count, numbers):
            writer.add(batch)


def read(folder: Path, count: int, numbers: int, shard_size: int) -> None:
    """Go through all latents in order, and compare them with what was written."""
    stored = StoredFunctaset.open(folder)
    read, made = 0, batches(count, numbers)
    expected = next(made)
    place = 0
    for batch in stored.batches(BATCH):
        done = 0
        while done < len(batch):
            if place == len(expected):
                expected, place = next(made), 0
            rows = min(len(batch) - done, len(expected) - place)
            same = torch.equal(
                batch.latents[done : done + rows], expected.latents[place : place + rows]
            )
            if not same or batch.ids[done] != expected.ids[place]:
                raise SystemExit("what was read is not what was written")
            done, place = done + rows, place + rows
        read += len(batch)
    if read != count:
        raise SystemExit(f"{read} latents were read of {count}")


def shuffle(folder: Path, count: int, numbers: int, shard_size: int) -> None:
    """One epoch in random order, standardised. All shards are mapped: pages count, and yield."""
    data = StoredFunctaset.open(folder).as_dataset(standardised=True)
    generator = torch.Generator().manual_seed(0)
    total, seen = torch.zeros(numbers, dtype=torch.float64), 0
    for latents, _ in DataLoader(data, BATCH, shuffle=True, generator=generator):
        total += latents.double().sum(dim=0)
        seen += len(latents)
    if seen != count or float((total / count).abs().max()) > 1e-4:
        raise SystemExit("an epoch is not all latents, standardised")


def nothing(folder: Path, count: int, numbers: int, shard_size: int) -> None:
    """Import, and end."""


STEPS = {"nothing": nothing, "write": write, "read": read, "shuffle": shuffle}


def memory() -> dict[str, float]:
    """Peak resident memory of this process, and what of today's is not file pages, in MB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "peak_rss_mb": round(peak, 1),
        "anonymous_mb": round(int(status["RssAnon"].split()[0]) / 1024, 1),
    }


def measure(name: str, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Run one step in a process of its own."""
    sizes = [arguments.count, arguments.numbers, arguments.shard_size]
    command = [sys.executable, __file__, "--step", name, "--folder", str(folder)]
    options = ["--count", "--numbers", "--shard-size"]
    for option, size in zip(options, sizes, strict=True):
        command += [option, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def hardware() -> dict[str, object]:
    """What it ran on."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "functa-core": functa_core.__version__,
    }


def main() -> None:
    """Measure all steps, or do one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=1_000_000, help="latents")
    parser.add_argument("--numbers", type=int, default=128, help="numbers of a latent")
    parser.add_argument("--shard-size", type=int, default=65_536, help="latents in a shard")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        began = time.monotonic()
        sizes = arguments.count, arguments.numbers, arguments.shard_size
        STEPS[arguments.step](arguments.folder, *sizes)
        seconds = round(time.monotonic() - began, 2)
        print(json.dumps({"seconds": seconds, **memory()}))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "shards"
        steps = {name: measure(name, folder, arguments) for name in STEPS}
        size = sum(path.stat().st_size for path in folder.iterdir())
    result = {
        "latents": arguments.count,
        "numbers": arguments.numbers,
        "shard_size": arguments.shard_size,
        "batch": BATCH,
        "data_mb": round(size / 2**20, 1),
        "steps": steps,
        "hardware": hardware(),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
