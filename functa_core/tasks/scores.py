"""How good classifiers are, and what they cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

TIMED_ITEMS = 256
TIMED = 5


def confusion(truth: Tensor, predicted: Int[np.ndarray, " m"], classes: int) -> np.ndarray:
    """How often (true class, predicted class) came: (K, K)."""
    pairs = truth.numpy() * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def accuracy(counts: Int[np.ndarray, "k k"]) -> float:
    """Share of items that were told right."""
    return float(np.trace(counts) / counts.sum())


def balanced_accuracy(counts: Int[np.ndarray, "k k"]) -> float:
    """Mean over classes, of those that come in the truth, of the share that was told right."""
    totals = counts.sum(axis=1)
    there = totals > 0
    return float((np.diag(counts)[there] / totals[there]).mean())


@attrs.frozen
class Cost:
    """Of classifying.

    Attributes:
        parameters: numbers that were fitted.
        flops: floating point operations of one item, two for each multiply-add of a matrix product
            or convolution, nothing for the rest.
        milliseconds: of one item in a batch.
    """

    parameters: int
    flops: int
    milliseconds: float


def figures(matrices: Sequence[np.ndarray], cost: Cost) -> dict[str, Any]:
    """What metrics.json says of one kind of classifier.

    Args:
        matrices: a confusion matrix for each seed.
        cost: of one of them.
    """
    right = [accuracy(counts) for counts in matrices]
    return {
        "accuracy_mean": statistics.fmean(right),
        "accuracy_std": statistics.stdev(right) if len(right) > 1 else 0.0,
        "balanced_accuracy": statistics.fmean(balanced_accuracy(counts) for counts in matrices),
        "parameters": cost.parameters,
        "flops_per_item": cost.flops,
        "ms_per_item": cost.milliseconds,
    }


def parameters_of(network: nn.Module) -> int:
    """How many numbers of it are trained."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def flops_of(network: nn.Module, item: Tensor) -> int:
    """Of one item (1, …), as `Cost` counts them."""
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter:
        network(item.to(device))
    return int(counter.get_total_flops())


def milliseconds(classify: Callable[[Tensor], object], items: Tensor) -> float:
    """Time of one item when as many as there are, but not too many, come at once: the median."""
    few = items[:TIMED_ITEMS]
    classify(few)
    times = []
    for _ in range(TIMED):
        began = time.perf_counter()
        classify(few)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times) / len(few)
