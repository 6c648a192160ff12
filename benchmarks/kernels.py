"""Which tile of the fused kernels is the fastest on a GPU, and how far each is from the ceilings.

    python benchmarks/kernels.py [--width 512] [--signals 16] [--coordinates 4096]

For each line of the equations (`functa_core/networks/layers.py`) between two hidden layers: the
time with each tile (in "bend" of four parts) and with PyTorch's own operations, in turns, the
median of several rounds. Beside it the least time in which the GPU could multiply as much, and move
what is read and written. What cannot be compiled is null, with the reason. It imports what `gpu.py`
does.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import standins  # noqa: F401 - in place of what is missing

# isort: split
import attrs
import torch

from functa_core.bench.ceilings import ceilings
from functa_core.bench.machine import hardware, versions
from functa_core.networks import fused
from functa_core.networks.buffers import Buffers
from functa_core.networks.fused import LARGE, SMALL, FusedLayers, Tile
from functa_core.networks.layers import Layers, PlainLayers

TILES = (
    SMALL,
    attrs.evolve(SMALL, parts=1, stages=4),
    attrs.evolve(SMALL, warps=8),
    LARGE,
    attrs.evolve(LARGE, parts=4),
    attrs.evolve(LARGE, stages=4),
    attrs.evolve(LARGE, registers=0),
    attrs.evolve(LARGE, columns=256, parts=4, registers=0),
    attrs.evolve(LARGE, rows=256, parts=4, registers=0),
)
HALF = torch.bfloat16
CHANNELS = 3


class Fresh(Buffers):
    """Nothing is used again: what goes into a line here goes into the next one too."""

    def give(self, tensors: Any) -> None:
        """Leave them."""


@attrs.frozen
class Line:
    """One line of the equations.

    Attributes:
        call: does it, by some layers.
        moved: layers (W, G, n) that it reads and writes.
        multiplied: whether it has a product of two hidden layers.
    """

    call: Callable[[Layers], Any]
    moved: int
    multiplied: bool = True


def lines(width: int, signals: int, count: int, device: torch.device) -> dict[str, Line]:
    """All lines of the equations."""
    torch.manual_seed(0)
    matrix = (torch.randn(width, width, device=device) / width**0.5).to(HALF)
    x, s, a, z = torch.rand(4, width, signals, count, device=device).to(HALF).unbind()
    c = torch.ones_like(x)  # what is multiplied in place call after call stays what it is
    shift, along = torch.randn(2, width, signals, 1, device=device).unbind()
    last = torch.randn(CHANNELS, width, device=device)
    few = torch.randn(CHANNELS, signals, count, device=device)
    return {
        "wave": Line(lambda it: it.wave(matrix, x, shift[..., 0], keep=True), 3),
        "back": Line(lambda it: it.back(matrix.T, x, c), 4),
        "along": Line(lambda it: it.along(matrix, x, along, c), 4),
        "fold": Line(lambda it: it.fold(matrix.T, x, c), 3),
        "bend": Line(lambda it: it.bend(matrix.T, x, s, c, a, z, spent=False), 8),
        "mix": Line(lambda it: it.mix(last, x), 1, multiplied=False),
        "share": Line(lambda it: it.share(few, x), 1, multiplied=False),
    }


@contextmanager
def only(tile: Tile | None) -> Iterator[None]:
    """This tile, whatever the size."""
    before = fused.LARGE, fused.MANY
    if tile is not None:
        fused.LARGE, fused.MANY = tile, 1
    try:
        yield
    finally:
        fused.LARGE, fused.MANY = before


def seconds(
    call: Callable[[Layers], Any], layers: Layers, device: torch.device, calls: int
) -> float:
    """Of one call, of so many that are asked for at once."""
    began = time.perf_counter()
    for _ in range(calls):
        call(layers)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - began) / calls


def compared(line: Line, device: torch.device, rounds: int, calls: int) -> dict[str, Any]:
    """Median seconds of each way, by its name; None, with the reason, where it cannot be had."""
    own = FusedLayers(PlainLayers(HALF, torch.float32, Fresh()), Fresh())
    ways: dict[str, tuple[Layers, Tile | None]] = {"PyTorch": (own.plain, None)}
    if line.multiplied:
        ways |= {named(tile): (own, tile) for tile in TILES}
    else:
        ways["kernel"] = (own, None)
    found: dict[str, list[float]] = {name: [] for name in ways}
    reasons: dict[str, str] = {}
    for _ in range(rounds + 1):  # the first compiles
        for name, (layers, tile) in ways.items():
            if name in reasons:
                continue
            try:
                with only(tile):
                    found[name].append(seconds(line.call, layers, device, calls))
            except Exception as error:  # whatever a compiler has to say
                reasons[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    median = {
        name: None if name in reasons else statistics.median(all_[1:])
        for name, all_ in found.items()
    }
    return {"seconds": median, "reasons": reasons}


def named(tile: Tile) -> str:
    """Rows and columns, and how they are made."""
    return (
        f"{tile.rows}x{tile.columns}x{tile.terms}, {tile.warps} warps, {tile.stages} stages, "
        f"{tile.parts} parts, {tile.registers or 'any'} registers"
    )


def measured(
    device: torch.device, sizes: tuple[int, int, int], rounds: int, calls: int
) -> dict[str, Any]:
    """The whole document, of a layer of (width, signals, coordinates)."""
    width, signals, count = sizes
    most = ceilings(device, shrink=1 if device.type == "cuda" else 8)
    numbers = width * signals * count
    found = {}
    for name, line in lines(*sizes, device).items():
        multiplying = width * numbers / most["matmul_bfloat16"] if line.multiplied else 0.0
        found[name] = {
            "least_seconds": {
                "multiplying": multiplying,
                "moving": line.moved * numbers * HALF.itemsize / most["copy"],
            },
            **compared(line, device, rounds, calls),
        }
    return {
        "date": f"{datetime.date.today()}",
        "hardware": hardware(device),
        "versions": versions(),
        "ceilings": most,
        "sizes": {"width": width, "signals": signals, "coordinates": count},
        "lines": found,
    }


def table(found: dict[str, Any]) -> Iterator[str]:
    """Each line's ways, the fastest first, in microseconds."""
    for name, line in found["lines"].items():
        least = line["least_seconds"]
        yield (
            f"{name}: at least {1e6 * least['multiplying']:.0f} us of multiplying, "
            f"{1e6 * least['moving']:.0f} of moving"
        )
        there = {way: taken for way, taken in line["seconds"].items() if taken is not None}
        for way, taken in sorted(there.items(), key=lambda item: item[1]):
            yield f"  {1e6 * taken:8.1f}  {way}"
        for way, reason in line["reasons"].items():
            yield f"      null  {way}: {reason}"


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--signals", type=int, default=16)
    parser.add_argument("--coordinates", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--calls", type=int, default=20, help="asked for at once: what asking takes does not count"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    device = torch.device(given.device)
    if not fused.usable(device):
        parser.error(f"there is no Triton, or no GPU that multiplies bfloat16: {device}")
    sizes = given.width, given.signals, given.coordinates
    found = measured(device, sizes, given.rounds, given.calls)
    path = given.out / f"kernels-{found['date']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(path)
    for told in table(found):
        print(told)


if __name__ == "__main__":
    main()
