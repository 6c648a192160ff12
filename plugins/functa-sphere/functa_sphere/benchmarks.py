"""The size that `functa bench` measures global fields at."""

from collections.abc import Mapping, Sequence

import attrs
import torch
from torch import Generator

from functa_core import Benchmark
from functa_sphere.collection import Channel, Map
from functa_sphere.grids import LatLonGrid

GRID = LatLonGrid.spanned((90, -90, 46), (0, 356, 90))


def _noise(count: int, generator: Generator) -> Sequence[Map]:
    """A random value in every cell."""
    values = torch.rand((count, GRID.count, 1), generator=generator).numpy()
    return [Map(own, GRID) for own in values]


BENCHMARKS: Mapping[str, Benchmark] = {
    "sphere": Benchmark(
        summary="8 global fields of 46x90 cells, all of them",
        sections={
            "modality": {"points": None},
            "model": {"width": 256, "depth": 10, "latent_dim": 128},
            "meta": {"batch_size": 8, "lr": 1e-4, "chunk": 4096},
        },
        state={
            "label_names": [],
            "channels": [attrs.asdict(Channel("noise"))],
            "low": [0.0],
            "high": [1.0],
            "grid": GRID.plain(),
            "unseen": [],
        },
        signals=_noise,
    )
}
