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

from functa_core.meta import by_hand
from functa_core.meta.by_hand import NotByHand
from functa_core.meta.shared import Known, NotShared, pulled_back, shared_gradient
from functa_core.modality import Field, Modality, seeded
from functa_core.networks.base import ModulatedNetwork, Network, NetworkField
from functa_core.networks.passes import SirenPasses
from functa_core.observations import Observations, at_least_tiny, weighted_sum
from functa_core.seeding import derive


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
        chunk: at most this many observations of each signal in memory at a time. Where a graph is
            kept they are then computed again on the way back; None for all.
        precision: of the network's products and of what they keep; None for the weights'.
        place: of the first signal in its batch, of which these may be a part.
        whole: signals of that batch; None if these are all.
        known: of earlier fits with the same frozen weights; None if there are none to come.
    """

    network: Network
    modality: Modality[Any]
    observations: Observations
    l2_weight: float = 0.0
    noise_seed: int | None = None
    chunk: int | None = None
    precision: torch.dtype | None = None
    place: int = 0
    whole: int | None = None
    known: Known | None = None

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

    def outcome(
        self, latent: Float[Tensor, "B *latent"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, "B N C"]]:
        """`loss`, differentiable once, and what was predicted, without a graph."""
        passes, network = self._passes(), self.network
        if passes is not None and isinstance(network, ModulatedNetwork):
            predicted: dict[int, Tensor] = {}
            asks = [
                partial(self._loss_of_field, part=part, number=number, predicted=predicted)
                for number, part in enumerate(self.parts())
            ]
            with suppress(NotByHand):
                modulations = network.modulate(latent)
                data = by_hand.losses(passes, asks, modulations, network.passed())
                return data + self._penalty(latent), torch.cat(list(predicted.values()), dim=1)
        whole = self.predict(latent)
        return self.loss(latent, whole), whole.detach()

    def gradient(
        self, latent: Float[Tensor, "B *latent"], differentiable: bool
    ) -> Float[Tensor, "B *latent"]:
        """Gradient of the summed losses: of each signal's loss by its own latent.

        A sum and not a mean over the batch, so that the batch size never changes a latent.

        Args:
            latent: where; must require a gradient.
            differentiable: keep the graph, so that the outer loop sees second derivatives.
        """
        if not differentiable:
            return self.loss_and_gradient(latent)[1]
        passes, network = self._passes(), self.network
        if passes is not None and isinstance(network, ModulatedNetwork):
            with suppress(NotByHand):
                modulations = network.modulate(latent)
                slope = by_hand.gradient(passes, self._asks(), modulations, network.passed())
                return self._pulled_back(latent, modulations, slope, differentiable=True)
        loss = self._data_loss(self.predict(latent), self.observations).sum()
        (total,) = torch.autograd.grad(loss, latent, create_graph=True)
        return total + self._slope_of_penalty(latent)

    def loss_and_gradient(
        self, latent: Float[Tensor, "B *latent"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, "B *latent"]]:
        """Each signal's loss and its gradient by the latent, in bounded memory, without a graph."""
        leaf = latent.detach().requires_grad_()
        passes, network = self._passes(), self.network
        losses, total = self._penalty(leaf).detach(), self._slope_of_penalty(leaf).detach()
        with torch.enable_grad():
            if passes is not None and isinstance(network, ModulatedNetwork):
                with suppress(NotByHand):
                    modulations = network.modulate(leaf)
                    data, slope = by_hand.losses_and_gradient(
                        passes, self._asks(), modulations.detach()
                    )
                    total = self._pulled_back(leaf, modulations, slope, differentiable=False)
                    return losses + data, total.detach()
            for part in self.parts():
                loss = self._data_loss(self.predict(leaf, part), part)
                losses = losses + loss.detach()
                total = total + torch.autograd.grad(loss.sum(), leaf)[0]
        return losses, total

    @torch.no_grad()
    def losses(self, latent: Float[Tensor, "B *latent"]) -> Float[Tensor, " B"]:
        """Each signal's loss, in bounded memory and without a graph."""
        losses = self._penalty(latent)
        for part in self.parts():
            losses = losses + self._data_loss(self.predict(latent, part), part)
        return losses

    def first_gradient(self, differentiable: bool) -> Float[Tensor, "B *latent"] | None:
        """Gradient at the start, where all signals can share it: see `functa_core.meta.shared`.

        None where they cannot, or where one forward and C backward passes for all are no gain
        over one of each for every signal; and where a graph is kept in pieces, because that of a
        shared step holds all observations.
        """
        if differentiable and self.chunk is not None and self.chunk < self.observations.count:
            return None
        passes = 1 + self.modality.spec.channels
        shared = self.observations.shared and passes < 2 * len(self.observations)
        if shared and isinstance(self.network, ModulatedNetwork):
            parts = [self.observations] if differentiable else self.parts()
            losses = (partial(self._loss_of_field, part=part) for part in parts)
            with suppress(NotShared):
                known = None if differentiable else self.known
                data = shared_gradient(
                    self.network, self.start(), losses, differentiable, self.precision, known
                )
                return data + self._slope_of_penalty(self.start())
        return None

    def signals(self, start: int, stop: int) -> Problem:
        """The fit of some of the signals.

        Noise of the forward operator is theirs alone where the signals have queries of their own;
        what they share, they share its noise too. It depends on which signal of the batch comes
        first: parts of parts have the noise that the same parts of the whole have.
        """
        return attrs.evolve(
            self,
            observations=self.observations.signals(start, stop),
            place=self.place + start,
            whole=self.batch,
        )

    def to(self, device: torch.device) -> Problem:
        """The same fit with its observations on a device."""
        return attrs.evolve(self, observations=self.observations.to(device))

    @property
    def batch(self) -> int:
        """Signals of the batch that these are of."""
        return len(self.observations) if self.whole is None else self.whole

    def parts(self) -> Iterator[Observations]:
        """The observations in pieces of at most `chunk` a signal."""
        count = self.observations.count
        size = self.chunk or max(count, 1)
        for start in range(0, count, size):
            yield self.observations.slice(start, start + size)

    @torch.no_grad()
    def draws(self) -> bool:
        """Whether the forward operator makes anything of the randomness that it is given."""
        generator = seeded(0, self.observations.values.device)
        before = generator.get_state()
        few = self.observations.slice(0, 1)
        self.modality.forward(NetworkField(self.network, self.start()), few.queries, generator)
        return not torch.equal(generator.get_state(), before)

    def measure(self, field: Field, part: Observations) -> Float[Tensor, "B N C"]:
        """What the forward operator makes of a field at a part's queries."""
        noise = None
        if self.noise_seed is not None:
            seed = self.noise_seed
            if self.place and not self.observations.shared:
                seed = derive(seed, "signals", self.place)
            noise = seeded(seed, part.queries.device)
        return self.modality.forward(field, part.queries, noise)

    def _passes(self) -> SirenPasses | None:
        if isinstance(self.network, ModulatedNetwork):
            return self.network.passes(self.precision)
        return None

    def _asks(self) -> list[by_hand.Ask]:
        """What asks a field for the loss of each part of the observations."""
        return [partial(self._loss_of_field, part=part) for part in self.parts()]

    def _pulled_back(
        self, latent: Tensor, modulations: Tensor, slope: Tensor, *, differentiable: bool
    ) -> Tensor:
        """From the data's gradient by the modulations to the whole one by the latent."""
        total = pulled_back(modulations, latent, slope, differentiable)
        return total + self._slope_of_penalty(latent)

    def _loss_of_field(
        self,
        field: Field,
        part: Observations,
        number: int = 0,
        predicted: dict[int, Tensor] | None = None,
    ) -> Tensor:
        found = self.measure(field, part)
        if predicted is not None:
            predicted[number] = found.detach()
        return self._data_loss(found, part)

    def _data_loss(self, predicted: Tensor, part: Observations) -> Tensor:
        """What (part of) the observations add to each signal's mean loss (B,)."""
        per_observation = self.modality.loss(predicted, part.known_values)
        total = self.observations.weights.sum(dim=1)
        return weighted_sum(per_observation, part.weights) / at_least_tiny(total)

    def _penalty(self, latent: Tensor) -> Tensor:
        return self.l2_weight * latent.flatten(1).square().sum(dim=1)

    def _slope_of_penalty(self, latent: Tensor) -> Tensor:
        return 2 * self.l2_weight * latent


@torch.no_grad()
def predict_all(problem: Problem, latent: Float[Tensor, "B *latent"]) -> Float[Tensor, "B N C"]:
    """Predictions at all observations in bounded memory, without a graph."""
    return torch.cat([problem.predict(latent, part) for part in problem.parts()], dim=1)
