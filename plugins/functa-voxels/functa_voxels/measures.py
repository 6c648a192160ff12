"""Figures of merit of occupancies: what is above 0.5 is filled."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from functa_core import Metric, Observations

THRESHOLD = 0.5


def accuracy(predicted: Float[Tensor, "B N 1"], observations: Observations) -> Float[Tensor, " B"]:
    """Share of cells that are told right."""
    right = _filled(predicted) == _filled(observations.known_values)
    seen = observations.weights > 0
    return (right & seen).sum(dim=1) / seen.sum(dim=1)


def iou(predicted: Float[Tensor, "B N 1"], observations: Observations) -> Float[Tensor, " B"]:
    """Intersection over union of the filled cells; 1 where both are empty."""
    seen = observations.weights > 0
    ours, theirs = _filled(predicted) & seen, _filled(observations.known_values) & seen
    union = (ours | theirs).sum(dim=1)
    return torch.where(union > 0, (ours & theirs).sum(dim=1) / union.clamp_min(1), 1.0)


def _filled(values: Float[Tensor, "B N 1"]) -> Tensor:
    return values[..., 0] > THRESHOLD


METRICS = (Metric("iou", "", True, iou), Metric("voxel_accuracy", "", True, accuracy))
