"""The first inner step, shared by all signals of a batch.

Every fit begins at latent 0, so there every signal has the same modulations, and at shared
coordinates the same features f (n, C) and the same derivatives of them. One forward pass over n
coordinates and C backward passes serve the whole batch; what is left for each signal is a product
of its residuals with those derivatives. This is exact: the same numbers as a gradient for each
signal, for a fraction of the work, and differentiable by the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.modality import Field
from functa_core.networks.base import ModulatedNetwork

LossOf = Callable[[Field], Tensor]


class NotShared(Exception):
    """The forward operator asked the field at coordinates of each signal's own."""


def shared_gradient(
    network: ModulatedNetwork,
    start: Float[Tensor, "B *latent"],
    losses: Iterable[LossOf],
    differentiable: bool,
) -> Float[Tensor, "B *latent"]:
    """Gradient of each signal's loss by its latent, at the latent that all start from.

    Args:
        network: whose field is measured.
        start: the same latent in every row.
        losses: field of B latents → (B,); the loss is their sum.
        differentiable: keep the graph for the outer loop.

    Raises:
        NotShared: a loss asked the field at coordinates that are not shared.
    """
    latent = start.requires_grad_()
    modulations = network.modulate(latent)
    cotangent = torch.zeros_like(modulations)
    for loss_of in losses:
        field = StartField(network, modulations[:1], len(start), differentiable)
        loss = loss_of(field).sum()
        residuals: tuple[Tensor | None, ...] = torch.autograd.grad(
            loss,
            [asked.everywhere for asked in field.asked],
            create_graph=differentiable,
            allow_unused=True,
        )
        for asked, residual in zip(field.asked, residuals, strict=True):
            if residual is None:  # the operator looked, but made nothing of it
                continue
            derivatives = derivatives_of(asked.features, asked.copies, differentiable)
            for channel, derivative in enumerate(derivatives):
                cotangent = cotangent + residual[..., channel] @ derivative
    (gradient,) = torch.autograd.grad(
        modulations, latent, grad_outputs=cotangent, create_graph=differentiable
    )
    return gradient


def derivatives_of(
    values: Float[Tensor, "1 n C"], copies: Float[Tensor, "1 n M"], differentiable: bool
) -> list[Float[Tensor, "n M"]]:
    """Derivative of each channel at each coordinate by the modulations there.

    What is at a coordinate depends on its own copy of the modulations alone, so the gradient of
    the sum over coordinates by the copies is each coordinate's own derivative.
    """
    found = []
    for channel in values.unbind(-1):
        (own,) = torch.autograd.grad(
            channel.sum(), copies, create_graph=differentiable, retain_graph=True
        )
        found.append(own[0])
    return found


@attrs.frozen(eq=False)
class Asked:
    """One evaluation of the shared field.

    Attributes:
        coords: (n, D) as they were given.
        copies: (1, n, M) the modulations, once for each coordinate.
        features: (1, n, C) under them.
        everywhere: (B, n, C) the same for every signal.
    """

    coords: Tensor
    copies: Tensor
    features: Tensor
    everywhere: Tensor


class StartField:
    """The field of B signals that all have the same latent; notes where it was asked."""

    def __init__(
        self,
        network: ModulatedNetwork,
        modulations: Float[Tensor, "1 M"],
        count: int,
        differentiable: bool,
    ) -> None:
        self.network = network
        self.modulations = modulations
        self.count = count
        self.differentiable = differentiable
        self.asked: list[Asked] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, chosen: slice) -> Field:
        raise NotShared  # a forward operator that treats signals differently

    def __call__(self, coords: Float[Tensor, "*B n D"]) -> Float[Tensor, "B n C"]:
        """The same features for every signal, at shared coordinates only."""
        if coords.ndim != 2:
            raise NotShared
        copies = self.modulations.unsqueeze(1).expand(1, len(coords), -1)
        if not self.differentiable:
            copies = copies.detach().requires_grad_()
        features = self.network.evaluate(coords.to(copies.device), copies)
        everywhere = features.expand(self.count, -1, -1)
        if everywhere.requires_grad:  # a look without gradients moves no latent
            self.asked.append(Asked(coords, copies, features, everywhere))
        return everywhere
