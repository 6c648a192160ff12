"""Latents with mean 0 and standard deviation 1 in every dimension."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from functa_core.errors import UnfitLatents

LEAST_SPREAD = 1e-6
"""A dimension whose range is below this part of its largest size is constant in float32."""


@attrs.frozen(eq=False)
class Standardiser:
    """Per-dimension mean and standard deviation of a table of latents.

    Dimensions that are constant carry no density. They are left out of the K standardised ones and
    put back by `invert`: one dead coordinate (a learned rate of 0, say) must not end a task.

    Attributes:
        mean: (Z) of every dimension.
        std: (Z) of every dimension, population; 1 where it is constant.
        kept: (Z) whether the dimension varies; K of them do.
    """

    mean: Float[Tensor, " Z"]
    std: Float[Tensor, " Z"]
    kept: Bool[Tensor, " Z"]

    @classmethod
    def of(cls, latents_nZ: Float[Tensor, "n Z"]) -> Standardiser:
        """The statistics of n ≥ 2 latents, computed in double precision.

        Raises:
            UnfitLatents: fewer than two, a number that is not finite, or all of them the same.
        """
        count = len(latents_nZ)
        if count < 2:
            raise UnfitLatents(f"at least 2 latents are needed to standardise them, got {count}.")
        if not bool(torch.isfinite(latents_nZ).all()):
            bad = int((~torch.isfinite(latents_nZ).all(dim=1)).sum())
            raise UnfitLatents(
                f"{bad} of {count} latents hold NaN or infinity. Encode the data again; if that "
                "does not help, train with a smaller meta.lr."
            )
        rows = latents_nZ.detach().double().cpu()
        spread = rows.amax(dim=0) - rows.amin(dim=0)
        kept = spread > LEAST_SPREAD * rows.abs().amax(dim=0)
        if not bool(kept.any()):
            raise UnfitLatents(
                f"all {count} latents are the same, so there is nothing to model. Were the "
                "weights trained (meta.steps)?"
            )
        std = torch.where(kept, rows.std(dim=0, correction=0), 1.0)
        return cls(rows.mean(dim=0).float(), std.float(), kept)

    @property
    def dimensions(self) -> int:
        """Standardised dimensions K."""
        return int(self.kept.sum())

    @property
    def log_det(self) -> Float[Tensor, ""]:
        """Logarithm of |∂ apply(x) / ∂x| over the kept dimensions: −Σ log std."""
        return -self.std[self.kept].log().sum()

    def apply(self, x: Float[Tensor, "*n Z"]) -> Float[Tensor, "*n K"]:
        """Standardise; differentiable."""
        return ((x - self.mean) / self.std)[..., self.kept]

    def invert(self, x: Float[Tensor, "*n K"]) -> Float[Tensor, "*n Z"]:
        """Undo `apply`; constant dimensions get their constants. Differentiable."""
        whole = x.new_zeros(*x.shape[:-1], len(self.mean))
        whole[..., self.kept] = x
        return whole * self.std + self.mean

    def tensors(self) -> dict[str, Tensor]:
        """What `from_tensors` needs."""
        return {"mean": self.mean, "std": self.std, "kept": self.kept}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Standardiser:
        """Undo `tensors`."""
        return cls(tensors["mean"], tensors["std"], tensors["kept"])
