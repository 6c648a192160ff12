"""Mean and standard deviation of each number of a latent, of any number of latents.

Rows come in batches and are merged by the formula of Chan, Golub and LeVeque ("Algorithms for
computing the sample variance", The American Statistician 37, 1983, equation 2.1), which stays exact
where a sum of squares cancels.
"""

from __future__ import annotations

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 512
"""Rows that are merged at once. Being fixed, it makes the result independent of the batches."""


@attrs.frozen(eq=False)
class _Moments:
    """Count, mean and sum of squared deviations, float64."""

    count: int
    mean: Tensor
    squares: Tensor

    def merged(self, rows: Tensor) -> _Moments:
        """With more rows; at least one."""
        exact = rows.double()
        mean = exact.mean(dim=0)
        delta = mean - self.mean
        count = self.count + len(rows)
        squares = (exact - mean).square().sum(dim=0)
        return _Moments(
            count,
            self.mean + delta * (len(rows) / count),
            self.squares + squares + delta.square() * (self.count * len(rows) / count),
        )


class Statistics:
    """Accumulates mean and standard deviation over batches of latents."""

    def __init__(self, latent_shape: tuple[int, ...]) -> None:
        zeros = torch.zeros(latent_shape, dtype=torch.float64)
        self._moments = _Moments(0, zeros, zeros)
        self._rest = torch.zeros(0, *latent_shape)

    def add(self, latents: Float[Tensor, "n *latent"]) -> None:
        """Add n latents, in order."""
        rows = torch.cat([self._rest, latents]) if len(self._rest) else latents
        whole = len(rows) - len(rows) % BLOCK
        for start in range(0, whole, BLOCK):
            self._moments = self._moments.merged(rows[start : start + BLOCK])
        self._rest = rows[whole:].clone()

    def result(self) -> tuple[Float[Tensor, "*latent"], Float[Tensor, "*latent"]]:
        """Mean and standard deviation (over n, not n − 1) so far, float32; NaN of no rows."""
        moments = self._moments.merged(self._rest) if len(self._rest) else self._moments
        if moments.count == 0:
            nothing = torch.full_like(moments.mean, torch.nan, dtype=torch.float32)
            return nothing, nothing.clone()
        return moments.mean.float(), (moments.squares / moments.count).sqrt().float()


def standardise(
    latents: Float[Tensor, "n *latent"],
    mean: Float[Tensor, "*latent"],
    std: Float[Tensor, "*latent"],
) -> Float[Tensor, "n *latent"]:
    """Latents of mean 0 and standard deviation 1; a number that never varied becomes 0."""
    return (latents - mean) / torch.where(std > 0, std, 1.0)
