"""Improved precision and recall of samples (Kynkäänniemi et al. 2019)."""

from __future__ import annotations

import attrs
import torch
from jaxtyping import Bool, Float
from torch import Tensor


@attrs.frozen
class PrecisionRecall:
    """How good samples are, and how much of the data they cover, from 0 to 1.

    Attributes:
        precision: share of samples within the manifold of the data.
        recall: share of the data within the manifold of the samples.
    """

    precision: float
    recall: float


def precision_recall(
    samples: Float[Tensor, "n F"], data: Float[Tensor, "m F"], neighbours: int = 3
) -> PrecisionRecall:
    """Compare samples with data that they were not made from.

    The manifold of a set is the union of balls around its points, each as wide as the distance to
    its k-th nearest neighbour (k = 3 in the paper). Sets of one size make the two comparable.

    Args:
        samples, data: features; more than `neighbours` of each.
        neighbours: k.
    """
    samples, data = samples.double(), data.double()
    return PrecisionRecall(
        precision=float(_within(samples, data, neighbours).double().mean()),
        recall=float(_within(data, samples, neighbours).double().mean()),
    )


def _within(
    points: Float[Tensor, "n F"], manifold: Float[Tensor, "m F"], neighbours: int
) -> Bool[Tensor, " n"]:
    """Whether each point lies in a ball around one of the manifold's points."""
    # The nearest of all is the point itself.
    radii = _distances(manifold, manifold).kthvalue(neighbours + 1, dim=1).values
    return (_distances(points, manifold) <= radii).any(dim=1)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Exact: a point's distance from itself has to be 0, which a matrix product would not give."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
