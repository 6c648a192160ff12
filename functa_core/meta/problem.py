"""What the inner loop minimises: how badly latents explain the observations of their signals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.meta.shared import NotShared, shared_gradient
from functa_core.modality import Field, Modality, seeded
from functa_core.networks.base import ModulatedNetwork, Network, NetworkField
from functa_core.observations import Observations, at_least_tiny, weighted_sum


@attrs.frozen(eq=False)
class Problem:
    """B signals to be fitted by B latents, with the network's weights given.

    Attributes:
        network: the shared weights.
        modality: its forward operator and loss.
        observations: the context, on the network's device.
        l2_weight: of the squared norm of a latent.
        noise_seed: seeds the forward operator's own noise, the same at every evaluation; None for
            none, as in every evaluation outside training.
        chunk: at most this many observations of each signal at a time where no graph is kept.
    """

    network: Network
    modality: Modality[Any]
    observations: Observations
    l2_weight: float = 0.0
    noise_seed: int | None = None
    chunk: int | None = None

    def start(self) -> Float[Tensor, "B *latent"]:
        """Where every fit begins: exactly 0, and not learned."""
        shape = (len(self.observations), *self.network.latent_shape)
        values = self.observations.values
        return torch.zeros(shape, dtype=values.dtype, device=values.device)

    def predict(
        self, latent: Float[Tensor, "B *latent"], observations: Observations | None = None
    ) -> Float[Tensor, "B N C"]:
        """The values that the latents predict at the queries of (part of) the observations."""
        return self.measure(NetworkField(self.network, latent), observations or self.observations)

    def loss(
        self, latent: Float[Tensor, "B *latent"], predicted: Float[Tensor, "B N C"]
    ) -> Float[Tensor, " B"]:
        """Each signal's own weighted mean loss, plus the penalty on its latent."""
        return self._data_loss(predicted, self.observations) + self._penalty(latent)

    def gradient(
        self, latent: Float[Tensor, "B *latent"], differentiable: bool
    ) -> Float[Tensor, "B *latent"]:
        """Gradient of the summed losses: of each signal's loss by its own latent.

        A sum and not a mean over the batch, so that the batch size never changes a latent.

        Args:
            latent: where; must require a gradient.
            differentiable: keep the graph, so that the outer loop sees second derivatives.
        """
        objective = self._penalty(latent).sum()
        parts = [self.observations] if differentiable else self.parts()
        total = torch.autograd.grad(objective, latent, create_graph=differentiable)[0]
        for part in parts:
            loss = self._data_loss(self.predict(latent, part), part).sum()
            total = total + torch.autograd.grad(loss, latent, create_graph=differentiable)[0]
        return total

    def loss_and_gradient(
        self, latent: Float[Tensor, "B *latent"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, "B *latent"]]:
        """Each signal's loss and its gradient by the latent, in bounded memory, without a graph."""
        leaf = latent.detach().requires_grad_()
        with torch.enable_grad():
            penalty = self._penalty(leaf)
            losses, total = penalty.detach(), torch.autograd.grad(penalty.sum(), leaf)[0]
            for part in self.parts():
                loss = self._data_loss(self.predict(leaf, part), part)
                losses = losses + loss.detach()
                total = total + torch.autograd.grad(loss.sum(), leaf)[0]
        return losses, total

    def first_gradient(self, differentiable: bool) -> Float[Tensor, "B *latent"]:
        """Gradient at the start: one for all signals where they share what they are measured at.

        One forward and C backward passes for all, against one of each for every signal: for a
        signal or two alone that would be no gain.
        """
        passes = 1 + self.modality.spec.channels
        shared = self.observations.shared and passes < 2 * len(self.observations)
        if shared and isinstance(self.network, ModulatedNetwork):
            parts = [self.observations] if differentiable else self.parts()
            losses = (partial(self._loss_of_field, part=part) for part in parts)
            with suppress(NotShared):
                return shared_gradient(self.network, self.start(), losses, differentiable)
        return self.gradient(self.start().requires_grad_(), differentiable)

    def parts(self) -> Iterator[Observations]:
        """The observations in pieces of at most `chunk` a signal."""
        count = self.observations.count
        size = self.chunk or max(count, 1)
        for start in range(0, count, size):
            yield self.observations.slice(start, start + size)

    def measure(self, field: Field, part: Observations) -> Float[Tensor, "B N C"]:
        """What the forward operator makes of a field at a part's queries."""
        noise = None
        if self.noise_seed is not None:
            noise = seeded(self.noise_seed, part.queries.device)
        return self.modality.forward(field, part.queries, noise)

    def _loss_of_field(self, field: Field, part: Observations) -> Tensor:
        return self._data_loss(self.measure(field, part), part)

    def _data_loss(self, predicted: Tensor, part: Observations) -> Tensor:
        """What (part of) the observations add to each signal's mean loss (B,)."""
        per_observation = self.modality.loss(predicted, part.known_values)
        total = self.observations.weights.sum(dim=1)
        return weighted_sum(per_observation, part.weights) / at_least_tiny(total)

    def _penalty(self, latent: Tensor) -> Tensor:
        return self.l2_weight * latent.flatten(1).square().sum(dim=1)


@torch.no_grad()
def predict_all(problem: Problem, latent: Float[Tensor, "B *latent"]) -> Float[Tensor, "B N C"]:
    """Predictions at all observations in bounded memory, without a graph."""
    return torch.cat([problem.predict(latent, part) for part in problem.parts()], dim=1)
