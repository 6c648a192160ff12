"""Standardising latents: every dimension to mean 0 and standard deviation 1."""

from __future__ import annotations

import attrs
import torch
from jaxtyping import Float
from torch import Tensor


@attrs.frozen(eq=False)
class Standardiser:
    """Statistics of training latents, by which all others are standardised too.

    Attributes:
        mean: (Z).
        std: (Z) standard deviations; 1 where a dimension has one value only.
    """

    mean: Float[Tensor, " Z"]
    std: Float[Tensor, " Z"]

    @classmethod
    def of(cls, latents_nZ: Float[Tensor, "n Z"]) -> Standardiser:
        """From training latents."""
        std = latents_nZ.std(dim=0, correction=0)
        return cls(latents_nZ.mean(dim=0), torch.where(std > 0, std, 1.0))

    def apply(self, latents_nZ: Float[Tensor, "n Z"]) -> Float[Tensor, "n Z"]:
        """Latents to standardised ones."""
        return (latents_nZ - self.mean) / self.std

    def invert(self, standardised_nZ: Float[Tensor, "n Z"]) -> Float[Tensor, "n Z"]:
        """Standardised latents to plain ones."""
        return standardised_nZ * self.std + self.mean
