"""What was measured: queries, values and weights."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from jaxtyping import Float, Int
from torch import Tensor


@attrs.frozen(eq=False)
class Observations:
    """A batch of B signals as N observations each.

    Attributes:
        queries: where: (N, Q) when all signals share them, else (B, N, Q). Q is the coordinate
            dimension D for an identity forward operator and whatever the operator reads otherwise.
        values: (B, N, C), scaled to the modality's `spec.value_range`.
        weights: (B, N), at least 0. The value of an observation of weight 0 is never read: it may
            be NaN. Its query is a place like any other. Only ratios within a signal count: its
            weights times a number give the same latent and PSNR.
        groups: (B, N) or None: the part of the signal (a camera view, say) an observation is of.
    """

    queries: Float[Tensor, "*B N Q"]
    values: Float[Tensor, "B N C"]
    weights: Float[Tensor, "B N"]
    groups: Int[Tensor, "B N"] | None = None

    @property
    def shared(self) -> bool:
        """Whether all signals of the batch are measured at the same queries."""
        return self.queries.ndim == 2

    def __len__(self) -> int:
        """The number of signals B."""
        return self.values.shape[0]

    @property
    def count(self) -> int:
        """The number of observations N of each signal."""
        return self.values.shape[1]

    @property
    def known_values(self) -> Float[Tensor, "B N C"]:
        """The values, 0 where the weight is 0: safe to differentiate through whatever is there."""
        return torch.where(self.weights.unsqueeze(-1) > 0, self.values, 0.0)

    def to(self, device: torch.device | str) -> Observations:
        """The same observations on `device`."""
        moved = {k: v.to(device) for k, v in attrs.asdict(self).items() if v is not None}
        return attrs.evolve(self, **moved)

    def tensors(self) -> list[Tensor]:
        """All that they consist of."""
        return [t for t in (self.queries, self.values, self.weights, self.groups) if t is not None]

    def holding(self, tensors: Sequence[Tensor]) -> Observations:
        """Observations of the same shape that consist of these tensors, in the order of theirs."""
        names = [
            name for name, tensor in attrs.asdict(self, recurse=False).items() if tensor is not None
        ]
        return attrs.evolve(self, **dict(zip(names, tensors, strict=True)))

    def slice(self, start: int, stop: int) -> Observations:
        """Observations `start` to `stop` of every signal."""
        return Observations(
            queries=self.queries[..., start:stop, :],
            values=self.values[:, start:stop],
            weights=self.weights[:, start:stop],
            groups=None if self.groups is None else self.groups[:, start:stop],
        )

    def signals(self, start: int, stop: int) -> Observations:
        """Observations of signals `start` to `stop` of the batch."""
        return Observations(
            queries=self.queries if self.shared else self.queries[start:stop],
            values=self.values[start:stop],
            weights=self.weights[start:stop],
            groups=None if self.groups is None else self.groups[start:stop],
        )

    def compact(self) -> Observations:
        """The same observations without those that have weight 0 in every signal of the batch.

        They are never read, so a fit without them is the same fit.
        """
        used = (self.weights > 0).any(dim=0)
        if bool(used.all()):
            return self
        return Observations(
            queries=self.queries[..., used, :],
            values=self.values[:, used],
            weights=self.weights[:, used],
            groups=None if self.groups is None else self.groups[:, used],
        )

    def masked(self, keep: Tensor) -> Observations:
        """The same observations with weight 0 wherever `keep` (B, N) is False."""
        return attrs.evolve(self, weights=torch.where(keep, self.weights, 0.0))


def weighted_mean(
    per_observation: Float[Tensor, "B N"], weights: Float[Tensor, "B N"]
) -> Float[Tensor, " B"]:
    """Mean over N under the weights, without reading where a weight is 0.

    A signal in which nothing is observed has mean 0, so that an empty context leaves a latent to
    its prior.
    """
    return weighted_sum(per_observation, weights) / at_least_tiny(weights.sum(dim=1))


def weighted_sum(
    per_observation: Float[Tensor, "B N"], weights: Float[Tensor, "B N"]
) -> Float[Tensor, " B"]:
    """Sum over N under the weights, without reading (not even a NaN) where a weight is 0."""
    return torch.where(weights > 0, per_observation, 0.0).mul(weights).sum(dim=1)


def at_least_tiny(total: Tensor) -> Tensor:
    """`total`, but never 0, so that it can be divided by."""
    return total.clamp_min(torch.finfo(total.dtype).tiny)
