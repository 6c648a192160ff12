"""The Fréchet inception distance, by torchmetrics."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

FEATURES = 2048
LEAST = 2 * FEATURES
"""Pictures of each set, below which the covariance of so many features is mostly noise."""
WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
"""In torch.hub's folder of checkpoints: what torch-fidelity, which torchmetrics asks, downloads."""
BATCH = 64


def fid(samples: Float[Tensor, "n h w C"], held_out: Float[Tensor, "m h w C"]) -> float | None:
    """FID of pictures with values from 0 to 1.

    Returns:
        None if there are too few pictures, or torchmetrics, torch-fidelity or Inception's weights
        are not installed; nothing is ever downloaded, and nothing else is called FID.
    """
    if min(len(samples), len(held_out)) < LEAST or not _installed():
        return None
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=FEATURES, normalize=True)
    for pictures, real in ((held_out, True), (samples, False)):
        for few in torch.split(pictures, BATCH):
            metric.update(_rgb(few), real=real)
    return float(metric.compute())


def _installed() -> bool:
    if find_spec("torchmetrics") is None or find_spec("torch_fidelity") is None:
        return False
    return (Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS).is_file()


def _rgb(pictures: Float[Tensor, "B h w C"]) -> Float[Tensor, "B 3 h w"]:
    """Three channels first: grey three times, alpha left out."""
    channels = pictures.movedim(-1, 1)
    return channels.expand(-1, 3, -1, -1) if channels.shape[1] == 1 else channels[:, :3]
