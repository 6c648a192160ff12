"""Features that sets of signals are compared by, few enough for the number of signals."""

from __future__ import annotations

import attrs
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from functa_core.errors import UnfitLatents


@attrs.frozen(eq=False)
class FeatureSpace:
    """The space that figures are computed in, fixed by the held-out data alone.

    Attributes:
        used: (F) features that are finite for all held-out signals.
        mean: (U) of those used.
        axes: (U, D) leading principal components, or None if no fewer are needed.
    """

    used: Bool[Tensor, " F"]
    mean: Float[Tensor, " U"]
    axes: Float[Tensor, "U D"] | None

    @classmethod
    def of(cls, held_out: Float[Tensor, "n F"]) -> FeatureSpace:
        """Of n ≥ 2 held-out signals: all F features if n ≥ 2 F, else n / 2 principal components.

        Raises:
            UnfitLatents: no feature is finite for all of them.
        """
        used = torch.isfinite(held_out).all(dim=0)
        if not bool(used.any()):
            raise UnfitLatents(
                f"none of the {len(used)} features is finite for all {len(held_out)} held-out "
                "signals, so there is nothing to compare by."
            )
        rows = held_out[:, used].double()
        mean = rows.mean(dim=0)
        most = len(rows) // 2
        if rows.shape[1] <= most:
            return cls(used, mean, None)
        axes = torch.linalg.svd(rows - mean, full_matrices=False).Vh[:most].T
        return cls(used, mean, axes)

    @property
    def dimensions(self) -> int:
        """Numbers that a signal becomes."""
        return len(self.mean) if self.axes is None else self.axes.shape[1]

    def __call__(self, features: Float[Tensor, "m F"]) -> Float[Tensor, "m D"]:
        """Features of other signals in this space."""
        rows = features[:, self.used].double() - self.mean
        return rows if self.axes is None else rows @ self.axes

    def describe(self, name: str) -> str:
        """What the figures are of, in words."""
        if self.axes is None:
            return name
        return f"{name}, {self.dimensions} leading principal components of the held-out signals'"
