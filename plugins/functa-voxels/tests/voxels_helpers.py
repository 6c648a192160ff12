"""What tests of `voxels` share: fields without networks, and shapes in files."""

from pathlib import Path

import numpy as np
import torch

from functa_core import Dataset, DataSource, Split
from functa_voxels.config import VoxelsConfig
from functa_voxels.modality import Voxels


class Balls:
    """B balls; occupancy falls from 1 to 0 across their surface, over about a twelfth."""

    def __init__(self, centres, radius=0.3, steepness=12.0):
        self.centres = torch.tensor(centres).reshape(-1, 1, 3)
        self.radius, self.steepness = radius, steepness

    def __len__(self):
        return len(self.centres)

    def __getitem__(self, chosen):
        return Balls(self.centres[chosen, 0].tolist(), self.radius, self.steepness)

    def __call__(self, coords):
        inside = self.radius - (coords - self.centres).norm(dim=-1, keepdim=True)
        return 0.5 + self.steepness * inside


def voxels(path: Path | None = None, state=None, skip_bad=False, seed=0, **options) -> Voxels:
    """The modality on some data."""
    return Voxels(VoxelsConfig(**options), DataSource(path, seed=seed, skip_bad=skip_bad), state)


def of_side(side: int, **options) -> Voxels:
    """The modality, prepared for shapes of a size."""
    return voxels(None, {"label_names": [], "resolution": side}, **options)


def prepared(path: Path | None = None, **options) -> Voxels:
    """The modality with the state that its own data gives."""
    fresh = voxels(path, **options)
    return voxels(path, fresh.prepare(fresh.dataset("train")), **options)


def read(path: Path, split: Split = "all", **options) -> Dataset[np.ndarray]:
    """One split of some data."""
    return voxels(path, **options).dataset(split)


def blobs(count=4, side=8, seed=0) -> np.ndarray:
    """Random shapes (n, r, r, r), none of them empty."""
    return np.random.default_rng(seed).random((count, side, side, side)) < 0.3


def binvox(cells: np.ndarray) -> bytes:
    """A .binvox file by hand: one run for each cell, which is allowed."""
    r = cells.shape[0]
    header = f"#binvox 1\ndim {r} {r} {r}\ntranslate 0 0 0\nscale 1\ndata\n".encode()
    runs = b"".join(
        bytes([int(cells[x, y, z]), 1]) for x in range(r) for z in range(r) for y in range(r)
    )
    return header + runs
