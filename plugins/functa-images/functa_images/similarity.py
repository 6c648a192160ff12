"""Structural similarity of reconstructed pictures."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core import Observations

SMALLEST_SIDE = 7
"""Pixels a side of the window that SSIM compares, its authors' and scikit-image's default."""


def ssim(
    predicted: Float[Tensor, "B N C"], observations: Observations, height: int, width: int
) -> Float[Tensor, " B"]:
    """SSIM of each whole picture, mean over channels, for values from 0 to 1.

    Pixels of weight 0 are taken to be predicted rightly, since nobody knows what they are.

    Args:
        predicted: values at all pixels, in the order of the grid.
        observations: the true ones.
        height, width: of the picture, N being their product.
    """
    from skimage.metrics import structural_similarity

    observed = (observations.weights > 0)[..., None]
    values = torch.where(observed, observations.values, predicted)

    def rasters(flat: Tensor) -> np.ndarray:
        return flat.double().cpu().numpy().reshape(len(flat), height, width, -1)

    # scikit-image has a typed marker and no types here.
    compare: Callable[..., float] = structural_similarity
    scores = [
        compare(a, b, data_range=1.0, channel_axis=-1, win_size=SMALLEST_SIDE)
        for a, b in zip(rasters(values), rasters(predicted), strict=True)
    ]
    return torch.tensor(scores, dtype=torch.float32)
