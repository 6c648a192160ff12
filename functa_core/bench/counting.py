"""How many multiply-adds an update takes, by its mathematics."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from functa_core.bench.case import Case


def update_multiply_adds(case: Case, *, shared_first_step: bool) -> int:
    """Multiply-adds of the matrix products of one outer update by meta-SGD.

    Per coordinate let F be those of a forward pass (the sum of in · out over the layers) and A
    those of an adjoint pass, which carries a derivative from the output to the modulations: F
    without the first layer, below which there is nothing to differentiate by. Per signal let M be
    those of the map from latent to modulations. An inner step that the outer loop differentiates
    takes

        F + M     to predict,
        A + M     for the gradient by the latent,
        2 (A + M) for the derivative of that gradient, by what entered it and by the weights,
        A + F + 2 M for the derivative of the prediction, likewise,

    that is 2 F + 4 A + 6 M, about six forward passes; the loss at the end takes F + M and A + F +
    2 M, about three. With three steps these are the 21 passes of the plain algorithm.

    Where the first step is shared by B signals (see `functa_core.meta.shared`), it takes its
    predictions once and its adjoints once for each of C channels, 2 F + A + 3 C · A per coordinate
    for the whole batch; and for each signal the product of N · C residuals with derivatives by all
    modulations, and twice that to differentiate it. With three steps that leaves 15 passes a
    signal, and (3 + 3 C) / B of the shared step.

    What is done twice to save memory is not counted, and neither is anything that is no matrix
    product.

    Args:
        case: its sizes.
        shared_first_step: whether the implementation has it.
    """
    signals, steps = len(case.observations), case.meta.inner_steps
    count = signals * asked_coordinates(case)
    sizes, to_modulations = _sizes(case)
    forward, map_ = _products(sizes), signals * _products(to_modulations)
    adjoint = forward - sizes[0] * sizes[1]
    step = count * (2 * forward + 4 * adjoint) + 6 * map_
    last = count * (2 * forward + adjoint) + 3 * map_
    if not shared_first_step:
        return steps * step + last
    channels = sizes[-1]
    once = (2 * forward + adjoint + 3 * channels * adjoint) * count // signals
    residuals = 3 * count * channels * to_modulations[-1]
    return (steps - 1) * step + last + once + residuals + 6 * map_


def first_step_is_shared(case: Case) -> bool:
    """Whether the engine shares the first step of a batch, as `Problem.first_gradient` decides."""
    passes = 1 + case.modality.spec.channels
    return case.observations.shared and passes < 2 * len(case.observations)


def asked_coordinates(case: Case) -> int:
    """Coordinates at which the forward operator asks the field, for each signal."""
    counter = _Counter(len(case.observations), case.modality.spec.channels, case.device)
    with torch.no_grad():
        case.modality.forward(counter, case.observations.queries)
    return counter.asked


class _Counter:
    """A field that is 0 everywhere, and counts where it was asked."""

    def __init__(self, count: int, channels: int, device: torch.device) -> None:
        self.count, self.channels, self.device = count, channels, device
        self.asked = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, chosen: slice) -> _Counter:
        raise NotImplementedError("a forward operator that treats signals differently")

    def __call__(self, coords: Tensor) -> Tensor:
        self.asked += coords.shape[-2]
        return torch.zeros(self.count, coords.shape[-2], self.channels, device=self.device)


def _sizes(case: Case) -> tuple[list[int], list[int]]:
    """Units from layer to layer: of the network, and of the map from latent to modulations."""
    model, spec = case.model, case.modality.spec
    hidden = model.depth - 1
    units = model.width * hidden * (2 if model.modulate_scale else 1)
    sizes: list[Any] = [spec.domain.dim, *[model.width] * hidden, spec.channels]
    return sizes, [model.latent_dim, *model.map_hidden, units]


def _products(sizes: list[int]) -> int:
    return sum(a * b for a, b in itertools.pairwise(sizes))
