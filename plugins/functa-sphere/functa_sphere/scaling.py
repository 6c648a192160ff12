"""Values between their own units and the range that the network sees."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from functa_core import Observations


@attrs.frozen(eq=False)
class Scaling:
    """One linear map for each channel: the training range becomes [0, 1].

    Attributes:
        low: (C) least training value.
        width: (C) greatest less least.
    """

    low: Float[Tensor, " C"]
    width: Float[Tensor, " C"]

    @classmethod
    def of(cls, low: Sequence[float], high: Sequence[float]) -> Scaling:
        """From the ends of the ranges."""
        lowest = torch.tensor(low, dtype=torch.float64)
        return cls(lowest, torch.tensor(high, dtype=torch.float64) - lowest)

    def scaled(self, values: Float[Tensor, "*n C"]) -> Float[Tensor, "*n C"]:
        """Own units to what the network sees."""
        return ((values.double() - self.low) / self.width).float()

    def own(self, values: Float[Tensor, "*n C"]) -> Float[Tensor, "*n C"]:
        """What the network gives to own units, on the CPU."""
        return (values.cpu().double() * self.width + self.low).float()

    def rmse(
        self, predicted: Float[Tensor, "B N C"], observations: Observations, channel: int
    ) -> Float[Tensor, " B"]:
        """Root of the weighted mean squared error of a channel, in its own unit."""
        error = (predicted - observations.known_values)[..., channel].square()
        weights = observations.weights
        mean = (torch.where(weights > 0, error, 0.0) * weights).sum(dim=1) / weights.sum(dim=1)
        return mean.sqrt() * float(self.width[channel])


def runs_of(mask: Bool[np.ndarray, " n"]) -> list[list[int]]:
    """Where a mask is True, as [start, stop] pairs: short enough for JSON."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return edges.reshape(-1, 2).tolist()


def mask_of(runs: Sequence[Sequence[int]], count: int) -> Bool[np.ndarray, " n"]:
    """The mask that `runs_of` was given."""
    mask = np.zeros(count, bool)
    for start, stop in runs:
        mask[start:stop] = True
    return mask
