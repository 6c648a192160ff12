"""The sizes that `functa bench` measures pictures at."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Generator

from functa_core import Benchmark
from functa_images.pixels import Pixels


def _noise(side: int, count: int, generator: Generator) -> Sequence[Pixels]:
    """Random colours, square, `side` pixels a side."""
    shape = (count, side, side, 3)
    return list(torch.randint(256, shape, generator=generator, dtype=torch.uint8).numpy())


def _benchmark(side: int, model: Mapping[str, Any], meta: Mapping[str, Any]) -> Benchmark:
    """Every pixel of square colour pictures, in meta-SGD of three steps."""
    return Benchmark(
        summary=f"{meta['batch_size']} pictures of {side}x{side} pixels, all of them",
        sections={"modality": {"points": None}, "model": model, "meta": meta},
        state={"label_names": [], "height": side, "width": side, "channels": 3},
        signals=partial(_noise, side),
    )


BENCHMARKS: Mapping[str, Benchmark] = {
    "small": _benchmark(
        32,
        {"width": 256, "depth": 10, "latent_dim": 128},
        {"batch_size": 8, "lr": 1e-4},
    ),
    # The paper's, for CelebA-HQ.
    "images": _benchmark(
        64,
        {"width": 512, "depth": 15, "latent_dim": 128},
        {"batch_size": 16, "lr": 3e-6},
    ),
}
