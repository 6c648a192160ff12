"""Short ways to make pictures and to read them, for the tests of `images`."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from functa_core import Dataset, DataSource, Split
from functa_images.modality import Images
from functa_images.options import ImagesConfig


class Ramp:
    """A field whose first channel is the row coordinate, the others the column; B latents."""

    def __init__(self, count: int, channels: int) -> None:
        self.count, self.channels = count, channels

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, chosen: slice) -> "Ramp":
        return Ramp(len(range(self.count)[chosen]), self.channels)

    def __call__(self, coords: Tensor) -> Tensor:
        columns = [coords[..., 0], *[coords[..., 1]] * (self.channels - 1)]
        values = torch.stack(columns, dim=-1)
        return values.expand(self.count, *values.shape) if values.ndim == 2 else values


def images(path: Path | None, state=None, skip_bad=False, seed=0, **options) -> Images:
    """The modality on some data."""
    return Images(ImagesConfig(**options), DataSource(path, seed=seed, skip_bad=skip_bad), state)


def read(path: Path, split: Split = "all", **options) -> Dataset[np.ndarray]:
    """One split of some data."""
    return images(path, **options).dataset(split)


def prepared(path: Path | None, **options) -> Images:
    """The modality with the state that its own data gives."""
    fresh = images(path, **options)
    return images(path, state=fresh.prepare(fresh.dataset("train")), **options)


def picture(height: int = 8, width: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random uint8 pixels."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
