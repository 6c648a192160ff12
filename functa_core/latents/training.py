"""Training small classifiers: a fixed number of AdamW steps, options chosen by validation."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import attrs
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

T = TypeVar("T")


@runtime_checkable
class Items(Protocol):
    """What a classifier is trained on, read a few at a time: a tensor (n, …), for one."""

    def __len__(self) -> int: ...
    def __getitem__(self, places: Tensor) -> Tensor: ...


@attrs.frozen
class Budget:
    """What training may cost; the same for every network that is compared.

    Attributes:
        steps: of the optimiser.
        batch_size: items of a step.
        lr: first rate of AdamW, which falls to 0 along half a cosine.
        weight_decay: of AdamW.
    """

    steps: int
    batch_size: int
    lr: float
    weight_decay: float


class ClassifierNetwork(nn.Module, ABC):
    """A network from items to logits."""

    @abstractmethod
    def forward(self, items: Tensor, generator: Generator | None = None) -> Float[Tensor, "B K"]:
        """Logits of B items; with a generator as in training, with dropout."""


def dropout(values: Tensor, share: float, generator: Generator | None) -> Tensor:
    """Zero a share of the values at random and scale the others up; as they are without one."""
    if generator is None or share == 0:
        return values
    drawn = torch.rand(values.shape, generator=generator, device=values.device)
    return torch.where(drawn >= share, values / (1 - share), 0.0)


def initialise(network: nn.Module, generator: Generator) -> None:
    """He's normal initialisation of all weights (arXiv 1502.01852, eq. 10); biases are 0."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            assert module.bias is not None
            nn.init.zeros_(module.bias)


def train_network(
    network: ClassifierNetwork,
    items: Items,
    labels: Int[Tensor, " n"],
    budget: Budget,
    generator: Generator,
    after: Callable[[], object] = lambda: None,
) -> None:
    """Minimise the cross-entropy, in place.

    Args:
        network: initialised, on the device it is trained on.
        items, labels: to learn; every step sees the next of a random order.
        budget: how long and how fast.
        generator: on the CPU; of the order and of dropout.
        after: called after each step.
    """
    device = next(network.parameters()).device
    dropping = Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=budget.lr, weight_decay=budget.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * step / budget.steps))
    )
    order = torch.empty(0, dtype=torch.long)
    for _ in range(budget.steps):
        while len(order) < min(budget.batch_size, len(labels)):
            order = torch.cat([order, torch.randperm(len(labels), generator=generator)])
        few, order = order[: budget.batch_size], order[budget.batch_size :]
        logits = network(items[few].to(device), dropping)
        loss = F.cross_entropy(logits, labels[few].to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        after()


@torch.no_grad()
def logits_of(network: ClassifierNetwork, items: Items, batch: int = 256) -> Float[Tensor, "n K"]:
    """Logits of all items, on the CPU."""
    device = next(network.parameters()).device
    places = torch.split(torch.arange(len(items)), batch)
    return torch.cat([network(items[few].to(device)).cpu() for few in places])


def validation_part(
    labels: Int[Tensor, " n"], share: float, generator: Generator
) -> Bool[Tensor, " n"]:
    """A random share of every class, at least one of each and never all of one with two."""
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels):
        places = (labels == label).nonzero()[:, 0]
        count = min(max(1, round(share * len(places))), len(places) - 1)
        chosen[places[torch.randperm(len(places), generator=generator)[:count]]] = True
    return chosen


@attrs.frozen(eq=False)
class Part:
    """Some of the items.

    Attributes:
        items: all of them.
        places: which.
    """

    items: Items
    places: Int[Tensor, " m"]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, places: Tensor) -> Tensor:
        return self.items[self.places[places]]


@attrs.frozen(eq=False)
class Contest:
    """What all classifiers that are compared have in common.

    Attributes:
        labels: (n) of the training items, from 0 to K − 1.
        held: (n) which of them only choose options.
        budget: of each training.
        drops: shares of dropout to choose from.
        seeds: of trainings, one network for each.
        device: to train on.
    """

    labels: Int[Tensor, " n"]
    held: Bool[Tensor, " n"]
    budget: Budget
    drops: Sequence[float]
    seeds: Sequence[int]
    device: torch.device

    @property
    def steps(self) -> int:
        """Of the optimiser, in all trainings of one kind of network."""
        tried = len(self.drops) if len(self.drops) > 1 else 0
        return (tried + len(self.seeds)) * self.budget.steps

    def enter(
        self,
        make: Callable[[float], ClassifierNetwork],
        items: Items,
        tick: Callable[[int], object] = lambda done: None,
    ) -> tuple[list[ClassifierNetwork], float]:
        """Choose the dropout by validation with the first seed, then train on everything.

        Args:
            make: a network with that share of dropout, whose numbers are drawn anew here.
            items: n of them.
            tick: called with the number of steps done, `steps` at the end.

        Returns:
            A network for each seed, and the share that was chosen.
        """
        learnt, held = (~self.held).nonzero()[:, 0], self.held.nonzero()[:, 0]
        done = itertools.count(1)

        def train(drop: float, items: Items, labels: Tensor, seed: int) -> ClassifierNetwork:
            network, generator = self._drawn(make, drop, seed)
            train_network(network, items, labels, self.budget, generator, lambda: tick(next(done)))
            return network

        def logits_with(drop: float) -> Tensor:
            network = train(drop, Part(items, learnt), self.labels[learnt], self.seeds[0])
            return logits_of(network, Part(items, held))

        chosen = best_option(self.drops, logits_with, self.labels[held])
        return [train(chosen, items, self.labels, seed) for seed in self.seeds], chosen

    def _drawn(
        self, make: Callable[[float], ClassifierNetwork], drop: float, seed: int
    ) -> tuple[ClassifierNetwork, Generator]:
        """A network with first weights, and the generator to train it with."""
        generator = Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):  # torch's layers draw numbers that are not used
            network = make(drop)
        initialise(network, generator)
        return network.to(self.device), generator


def best_option(
    options: Sequence[T], logits_with: Callable[[T], Float[Tensor, "m K"]], truth: Int[Tensor, " m"]
) -> T:
    """The option with the highest accuracy on the validation part; of equal ones the least loss.

    Args:
        options: to choose from.
        logits_with: trains without the validation part and gives its logits.
        truth: labels of the validation part.
    """
    if len(options) == 1:
        return options[0]
    scores = []
    for option in options:
        logits = logits_with(option)
        right = float((logits.argmax(dim=1) == truth).double().mean())
        scores.append((right, -float(F.cross_entropy(logits, truth))))
    return options[scores.index(max(scores))]
