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

from functa_core.meta.by_hand import start_derivatives
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
    precision: torch.dtype | None = None,
) -> Float[Tensor, "B *latent"]:
    """Gradient of each signal's loss by its latent, at the latent that all start from.

    Args:
        network: whose field is measured.
        start: the same latent in every row.
        losses: field of B latents → (B,); the loss is their sum.
        differentiable: keep the graph for the outer loop.
        precision: as in `Problem`.

    Raises:
        NotShared: a loss asked the field at coordinates that are not shared.
    """
    latent = start.requires_grad_()
    modulations = network.modulate(latent)
    cotangent = torch.zeros_like(modulations)
    for loss_of in losses:
        field = StartField(network, modulations[:1], len(start), differentiable, precision)
        loss = loss_of(field).sum()
        residuals: tuple[Tensor | None, ...] = torch.autograd.grad(
            loss,
            [asked.everywhere for asked in field.asked],
            create_graph=differentiable,
            allow_unused=True,
        )
        for asked, residual in zip(field.asked, residuals, strict=True):
            if residual is not None:  # else the operator looked, but made nothing of it
                cotangent = cotangent + _contracted(residual, asked.derivatives)
    (gradient,) = torch.autograd.grad(
        modulations, latent, grad_outputs=cotangent, create_graph=differentiable
    )
    return gradient


def _contracted(
    residual: Float[Tensor, "B n C"], derivatives: list[Float[Tensor, "C n w"]]
) -> Float[Tensor, "B M"]:
    """Σ over coordinates and channels of residual times derivative, block after block of M."""
    rows = residual.transpose(1, 2).flatten(1)
    return torch.cat([rows @ each.flatten(0, 1) for each in derivatives], dim=-1)


@attrs.frozen(eq=False)
class Asked:
    """One evaluation of the shared field.

    Attributes:
        coords: (n, D) as they were given.
        features: (1, n, C) there.
        derivatives: of the features by the modulations, (C, n, w) for each block of w of them.
        everywhere: (B, n, C) the features, the same for every signal.
    """

    coords: Tensor
    features: Tensor
    derivatives: list[Tensor]
    everywhere: Tensor


class StartField:
    """The field of B signals that all have the same latent; notes where it was asked."""

    def __init__(
        self,
        network: ModulatedNetwork,
        modulations: Float[Tensor, "1 M"],
        count: int,
        differentiable: bool,
        precision: torch.dtype | None = None,
    ) -> None:
        self.network = network
        self.modulations = modulations
        self.count = count
        self.differentiable = differentiable
        self.passes = network.passes(precision)
        self.asked: list[Asked] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, chosen: slice) -> Field:
        raise NotShared  # a forward operator that treats signals differently

    def __call__(self, coords: Float[Tensor, "*B n D"]) -> Float[Tensor, "B n C"]:
        """The same features for every signal, at shared coordinates only."""
        if coords.ndim != 2:
            raise NotShared
        given, coords = coords, coords.to(self.modulations)
        if not torch.is_grad_enabled():  # a look without gradients moves no latent
            return self.network.evaluate(coords, self.modulations.unsqueeze(1)).expand(
                self.count, -1, -1
            )
        features, derivatives = self._by_hand(coords) if self.passes else self._plainly(coords)
        if not self.differentiable:
            features = features.detach().requires_grad_()
            derivatives = [each.detach() for each in derivatives]
        everywhere = features.expand(self.count, -1, -1)
        self.asked.append(Asked(given, features, derivatives, everywhere))
        return everywhere

    def _by_hand(self, coords: Tensor) -> tuple[Tensor, list[Tensor]]:
        assert self.passes is not None
        with torch.set_grad_enabled(self.differentiable):
            return start_derivatives(self.passes, coords, self.modulations, self.network.passed())

    def _plainly(self, coords: Tensor) -> tuple[Tensor, list[Tensor]]:
        """By autograd: what is at a coordinate depends on its own copy of the modulations alone.

        So the gradient of a sum over coordinates by the copies is each coordinate's own derivative.
        """
        copies = self.modulations.unsqueeze(1).expand(1, len(coords), -1)
        if not self.differentiable:
            copies = copies.detach().requires_grad_()
        features = self.network.evaluate(coords, copies)
        found = [
            torch.autograd.grad(
                channel.sum(), copies, create_graph=self.differentiable, retain_graph=True
            )[0]
            for channel in features.unbind(-1)
        ]
        return features, [torch.cat(found)]
