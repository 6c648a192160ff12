"""The first inner step, shared by all signals of a batch.

Every fit begins at latent 0, so there every signal has the same modulations, and on shared queries
the same predictions f (N, C) and the same derivatives of them. One forward pass over N queries and
C backward passes serve the whole batch; what is left for each signal is a product of its residuals
with those derivatives. This is exact: the same numbers as a gradient for each signal, for a
fraction of the work, and differentiable by the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.networks.base import ModulatedNetwork
from functa_core.observations import Observations

LossOf = Callable[[Tensor, Observations], Tensor]


def shared_gradient(
    network: ModulatedNetwork,
    start: Float[Tensor, "B *latent"],
    parts: Iterable[Observations],
    loss_of: LossOf,
    differentiable: bool,
) -> Float[Tensor, "B *latent"]:
    """Gradient of each signal's loss by its latent, at the latent that all start from.

    Args:
        network: whose features are the predictions.
        start: the same latent in every row.
        parts: observations at shared queries; the loss is the sum over the parts.
        loss_of: (predicted (B, N, C), part) → (B,).
        differentiable: keep the graph for the outer loop.
    """
    latent = start.requires_grad_()
    modulations = network.modulate(latent)
    cotangent = torch.zeros_like(modulations)
    for part in parts:
        features, derivatives = _derivatives(network, modulations[:1], part, differentiable)
        everywhere = features.expand(len(start), -1, -1)
        loss = loss_of(everywhere, part).sum()
        (residual,) = torch.autograd.grad(loss, everywhere, create_graph=differentiable)
        for channel, derivative in enumerate(derivatives):
            cotangent = cotangent + residual[..., channel] @ derivative
    (gradient,) = torch.autograd.grad(
        modulations, latent, grad_outputs=cotangent, create_graph=differentiable
    )
    return gradient


def _derivatives(
    network: ModulatedNetwork,
    modulations: Float[Tensor, "1 M"],
    part: Observations,
    differentiable: bool,
) -> tuple[Float[Tensor, "1 N C"], list[Float[Tensor, "N M"]]]:
    """Features, and the derivative of each channel at each query by the modulations there."""
    count, size = part.count, modulations.shape[-1]
    # A query's features depend on the modulations at that query alone, so the gradient of the sum
    # over queries, by a copy of the modulations for each query, is each query's own derivative.
    copies = modulations.unsqueeze(1).expand(1, count, size)
    if not differentiable:
        copies = copies.detach().requires_grad_()
    features = network.evaluate(part.queries, copies)
    derivatives = [
        torch.autograd.grad(channel.sum(), copies, create_graph=differentiable, retain_graph=True)[
            0
        ][0]
        for channel in features.unbind(-1)
    ]
    return features, derivatives
