"""The first inner step, shared by all signals of a batch.

Every fit begins at latent 0, so there every signal has the same modulations, and at shared
coordinates the same features f (n, C) and the same derivatives of them. One forward pass over n
coordinates and C backward passes serve the whole batch; what is left for each signal is a product
of its residuals with those derivatives. This is exact: the same numbers as a gradient for each
signal, for a fraction of the work, and differentiable by the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

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
    known: Known | None = None,
) -> Float[Tensor, "B *latent"]:
    """Gradient of each signal's loss by its latent, at the latent that all start from.

    Args:
        network: whose field is measured.
        start: the same latent in every row.
        losses: field of B latents → (B,); the loss is their sum.
        differentiable: keep the graph for the outer loop.
        precision: as in `Problem`.
        known: of earlier batches; gets what is found for this one. Not with `differentiable`.

    Raises:
        NotShared: a loss asked the field at coordinates that are not shared.
    """
    latent = start.requires_grad_()
    modulations = network.modulate(latent)
    cotangent, direct = torch.zeros_like(modulations), torch.zeros_like(start)
    for loss_of in losses:
        field = StartField(network, modulations[:1], len(start), differentiable, precision, known)
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
            if asked.by_latent is None:
                cotangent = cotangent + _contracted(residual, asked.derivatives)
            else:
                direct = direct + _contracted(residual, [asked.by_latent]).view_as(direct)
    return pulled_back(modulations, latent, cotangent, differentiable) + direct


def pulled_back(
    modulations: Float[Tensor, "B M"],
    latent: Float[Tensor, "B *latent"],
    slope: Float[Tensor, "B M"],
    differentiable: bool,
) -> Float[Tensor, "B *latent"]:
    """A gradient by the latent, from one by the modulations."""
    if differentiable:
        return torch.autograd.grad(modulations, latent, slope, create_graph=True)[0]
    # The same. Given a gradient, torch imports sympy first: most of a second of each process.
    return torch.autograd.grad((modulations * slope.detach()).sum(), latent)[0]


def by_latent(
    derivatives: Sequence[Float[Tensor, "w C n"]], slope: Float[Tensor, "M Z"]
) -> Float[Tensor, "C n Z"]:
    """Derivatives of the features by the latent, from those by the modulations."""
    blocks = zip(derivatives, torch.split(slope, [len(each) for each in derivatives]), strict=True)
    return torch.stack(
        [torch.tensordot(block, columns, dims=([0], [0])) for block, columns in blocks]
    ).sum(dim=0)


class Known:
    """Features and their derivatives at the start, kept from batch to batch for frozen weights.

    With them the first step of a batch is one product of its residuals with one matrix.
    """

    MOST = 2**26
    """Numbers that are kept: 256 MB in float32. What is found first is kept."""

    def __init__(self) -> None:
        self._weights: tuple[object, ...] = ()
        self._found: list[tuple[Tensor, Tensor, Tensor]] = []
        self._left = self.MOST

    def at(
        self, network: ModulatedNetwork, coords: Float[Tensor, "n D"]
    ) -> tuple[Float[Tensor, "1 n C"], Float[Tensor, "Z C n"]] | None:
        """Features and derivatives by the latent, if they were kept."""
        weights = tuple((id(each), each._version) for each in network.parameters())
        if weights != self._weights:
            self._weights, self._found, self._left = weights, [], self.MOST
        for there, features, derivatives in self._found:
            if there.shape == coords.shape and torch.equal(there, coords):
                return features, derivatives
        return None

    def keep(self, coords: Tensor, features: Tensor, derivatives: Tensor) -> None:
        """Keep them, if there is room."""
        numbers = coords.numel() + features.numel() + derivatives.numel()
        if numbers <= self._left:
            self._left -= numbers
            self._found.append((coords.clone(), features.detach(), derivatives))


def _contracted(
    residual: Float[Tensor, "B n C"], derivatives: Sequence[Float[Tensor, "w C n"]]
) -> Float[Tensor, "B M"]:
    """Σ over coordinates and channels of residual times derivative, block after block of M."""
    rows = residual.transpose(1, 2).flatten(1)
    return torch.cat([rows @ each.flatten(1).T for each in derivatives], dim=-1)


@attrs.frozen(eq=False)
class Asked:
    """One evaluation of the shared field.

    Attributes:
        coords: (n, D) as they were given.
        features: (1, n, C) there.
        derivatives: of the features by the modulations, (w, C, n) for each block of w of them.
        everywhere: (B, n, C) the features, the same for every signal.
        by_latent: of the features by the latent (Z, C, n), in place of the derivatives; or None.
    """

    coords: Tensor
    features: Tensor
    derivatives: list[Tensor]
    everywhere: Tensor
    by_latent: Tensor | None = None


class StartField:
    """The field of B signals that all have the same latent; notes where it was asked."""

    def __init__(
        self,
        network: ModulatedNetwork,
        modulations: Float[Tensor, "1 M"],
        count: int,
        differentiable: bool,
        precision: torch.dtype | None = None,
        known: Known | None = None,
    ) -> None:
        self.network = network
        self.modulations = modulations
        self.count = count
        self.differentiable = differentiable
        self.known = known
        self.passes = network.passes(precision)
        self.asked: list[Asked] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, chosen: slice) -> Field:
        raise NotShared  # a forward operator that treats signals differently

    def __call__(self, coords: Float[Tensor, "*B n D"]) -> Float[Tensor, "B n C"]:
        """The same features for every signal, at shared coordinates only."""
        if coords.ndim != 2 or coords.requires_grad:
            raise NotShared
        given, coords = coords, coords.to(self.modulations)
        if not torch.is_grad_enabled():  # a look without gradients moves no latent
            return self.network.evaluate(coords, self.modulations.unsqueeze(1)).expand(
                self.count, -1, -1
            )
        features, derivatives, matrix = self._start(coords)
        if not self.differentiable:
            features = features.detach().requires_grad_()
            derivatives = [each.detach() for each in derivatives]
        everywhere = features.expand(self.count, -1, -1)
        self.asked.append(Asked(given, features, derivatives, everywhere, matrix))
        return everywhere.clone()  # an operator may change what it is given in place

    def _start(self, coords: Tensor) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Features, derivatives by the modulations, and, instead of these, by the latent."""
        if self.known is not None and (there := self.known.at(self.network, coords)):
            return there[0], [], there[1]
        features, derivatives = self._by_hand(coords) if self.passes else self._plainly(coords)
        if self.known is None:
            return features, derivatives, None
        start = self.modulations.new_zeros((1, *self.network.latent_shape))
        with torch.no_grad():
            found = by_latent(derivatives, self.network.slope(start)).permute(2, 0, 1).contiguous()
        self.known.keep(coords, features, found)
        return features, [], found

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
        return features, [torch.cat(found).permute(2, 0, 1)]
