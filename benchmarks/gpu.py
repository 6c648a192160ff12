"""The benchmark on one GPU, in eight minutes: `functa bench` without anything to install.

    python benchmarks/gpu.py [--device cuda] [--out benchmarks/results]

It imports torch, numpy, jax where it is there, and `functa_core` from the folder above, and needs
nothing else installed (see `standins.py`). No plugin is needed: the pictures are declared here. A
table comes last; everything is in `gpu-DATE.json`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import standins  # noqa: F401 - in place of what is missing

# isort: split
import attrs
import torch
from torch import Generator, Tensor

from functa_core.bench.case import Asked
from functa_core.bench.measure import Effort
from functa_core.bench.report import table
from functa_core.bench.run import run
from functa_core.bench.syncs import waits
from functa_core.benchmark import Benchmark
from functa_core.coordinates import grid
from functa_core.dataset import Dataset, Split
from functa_core.modality import Artefact, Box, Field, Modality, Spec
from functa_core.observations import Observations

SECONDS = 440.0
"""After which nothing new is begun; what was begun before ends within the eight minutes."""
EFFORT = Effort(seconds={"update": 20.0, "encode": 5.0, "decode": 5.0})


@attrs.frozen
class NoOptions:
    """Nothing to choose."""


class Colours(Modality[Tensor]):
    """Square pictures (side, side, 3) of floats, all pixels, as the paper's."""

    name = "colours"
    api_version = 1
    Config = NoOptions

    @property
    def spec(self) -> Spec:
        """The unit square; values from 0 to 1."""
        return Spec(domain=Box((0.0, 0.0), (1.0, 1.0)), channels=3)

    def dataset(self, split: Split) -> Dataset[Tensor]:
        """None: signals are made up."""
        return Dataset(ids=(), load=partial(torch.zeros, 0))

    def observations(
        self, signals: Sequence[Tensor], generator: Generator | None = None
    ) -> Observations:
        """All pixels, their places shared."""
        side = self.state["side"]
        values = torch.stack([signal.reshape(-1, 3) for signal in signals])
        return Observations(
            queries=grid((side, side)), values=values, weights=torch.ones(values.shape[:2])
        )

    def render(
        self, field: Field, out: Path, names: Sequence[str], resolution: int | None = None
    ) -> list[Artefact]:
        """Nothing to look at."""
        return []

    benchmarks: ClassVar[Mapping[str, Benchmark]] = {}


def _noise(side: int, count: int, generator: Generator) -> Sequence[Tensor]:
    return list(torch.rand((count, side, side, 3), generator=generator))


def _benchmark(side: int, model: Mapping[str, Any], meta: Mapping[str, Any]) -> Benchmark:
    return Benchmark(
        summary=f"{meta['batch_size']} pictures of {side}x{side} pixels, all of them",
        sections={"model": model, "meta": meta},
        state={"label_names": [], "side": side},
        signals=partial(_noise, side),
    )


Colours.benchmarks = {
    # The paper's for CelebA-HQ comes first: it must not be what the time runs out for.
    "images": _benchmark(
        64,
        {"width": 512, "depth": 15, "latent_dim": 128},
        {"batch_size": 16, "lr": 3e-6, "chunk": 4096},
    ),
    "small": _benchmark(
        32, {"width": 256, "depth": 10, "latent_dim": 128}, {"batch_size": 8, "lr": 1e-4}
    ),
}


def measured(
    device: torch.device, effort: Effort, changes: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """The whole document, with how often an update of ours waits for the GPU.

    Args:
        device: where.
        effort: how long.
        changes: of the configurations, to make them smaller.
    """
    asked = [Asked(Colours, name, changes or {}) for name in Colours.benchmarks]
    found = run(asked, device, effort)
    found["waits"] = {each.name: waits(each, device) for each in asked}
    return found


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="after which nothing new is begun"
    )
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU that this PyTorch can use; --device cpu takes hours")
    found = measured(device, attrs.evolve(EFFORT, until=time.monotonic() + given.seconds))
    path = given.out / f"gpu-{datetime.date.today().isoformat()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(path)
    for name, count in found["waits"].items():
        print(f"{name}: an update of ours waits for the GPU {count} times")
    for line in table(found):
        print(line)


if __name__ == "__main__":
    main()
