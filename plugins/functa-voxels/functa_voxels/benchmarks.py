"""The size that `functa bench` measures shapes at."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Generator

from functa_core import Benchmark

SIDE = 64


def _noise(count: int, generator: Generator) -> Sequence[np.ndarray]:
    """Cells that are filled at random."""
    return list((torch.rand((count, SIDE, SIDE, SIDE), generator=generator) < 0.5).numpy())


BENCHMARKS: Mapping[str, Benchmark] = {
    "voxels": Benchmark(
        summary="8 shapes of 64x64x64 cells, 4,096 of them",
        sections={
            "modality": {"points": 4096},
            "model": {"width": 256, "depth": 10, "latent_dim": 128},
            "meta": {"batch_size": 8, "lr": 1e-4},
        },
        state={"label_names": [], "resolution": SIDE},
        signals=_noise,
    )
}
