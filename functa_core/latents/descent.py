"""Gradient descent for as many updates as latents held out of it reward."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import attrs
import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from functa_core.errors import UnfitLatents

LEAST = 10
"""Latents below which nothing could be held out to stop by."""
CHECK_EVERY = 10
"""Updates between two looks at what is held out."""
LONGEST_GRADIENT = 10.0

M = TypeVar("M")


@attrs.frozen
class Descent:
    """AdamW on random batches.

    Attributes:
        steps: updates.
        batch: rows of an update, drawn with replacement.
        lr: learning rate.
        weight_decay: of AdamW.
    """

    steps: int
    batch: int
    lr: float
    weight_decay: float

    def run(
        self,
        model: nn.Module,
        loss: Callable[[Float[Tensor, "B K"]], Float[Tensor, ""]],
        rows: Float[Tensor, "n K"],
        generator: Generator,
        after: Callable[[int], None],
    ) -> None:
        """Train a model in place.

        Args:
            model: with the parameters to train.
            loss: of a batch.
            rows: to draw batches from.
            generator: of the batches.
            after: called with the number of updates done after each; `StopIteration` ends them.
        """
        optimiser = torch.optim.AdamW(
            model.parameters(), lr=self.lr, weight_decay=self.weight_decay
        )
        for step in range(1, self.steps + 1):
            chosen = torch.randint(len(rows), (min(self.batch, len(rows)),), generator=generator)
            optimiser.zero_grad()
            loss(rows[chosen]).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), LONGEST_GRADIENT)
            optimiser.step()
            try:
                after(step)
            except StopIteration:
                return


@runtime_checkable
class Lengths(Protocol):
    """The options that say how long to train."""

    @property
    def steps(self) -> int:
        """The most updates."""
        ...

    @property
    def patience(self) -> int:
        """Updates without a lower held-out loss after which to stop."""
        ...

    @property
    def held_out(self) -> float:
        """Share of the latents that is held out."""
        ...


def refitted(
    begin: Callable[[Tensor], M],
    train: Callable[[M, Tensor, int, Callable[[int], None]], None],
    score: Callable[[M, Tensor], float],
    latents_nZ: Float[Tensor, "n Z"],
    options: Lengths,
    generator: Generator,
    tick: Callable[[int], None],
) -> tuple[M, int]:
    """A model trained on all latents for as many updates as was best for those held out.

    Of a few hundred latents none should be lost to the model for good.

    Args:
        begin: latents → a model before its first update.
        train: (model, latents, updates, after): trains it, calling `after` as `Descent.run` does.
        score: (model, held-out latents) → a loss.
        latents_nZ: raw.
        options: how long, and how much is held out.
        generator: of the split.
        tick: called with the number of updates done, `2 * options.steps` at most.

    Returns:
        The model and its number of updates.

    Raises:
        UnfitLatents: fewer than `LEAST` latents.
    """
    count = len(latents_nZ)
    if count < LEAST:
        raise UnfitLatents(f"a model of latents needs at least {LEAST} of them, got {count}.")
    latents_nZ = latents_nZ.detach().float().cpu()
    order = torch.randperm(count, generator=generator)
    held = max(1, round(options.held_out * count))
    part, rest = latents_nZ[order[held:]], latents_nZ[order[:held]]
    trial = begin(part)
    best = _Best(lambda: score(trial, rest), options.patience)

    def after(step: int) -> None:
        tick(step)
        best(step)

    train(trial, part, options.steps, after)
    model = begin(latents_nZ)
    train(model, latents_nZ, best.step, lambda step: tick(options.steps + step))
    return model, best.step


class _Best:
    """Remembers after how many updates the held-out loss was least, and ends the descent."""

    def __init__(self, held_out: Callable[[], float], patience: int) -> None:
        self.held_out = held_out
        self.patience = patience
        self.step, self.loss = 0, held_out()

    def __call__(self, step: int) -> None:
        """Look at the held-out loss now and then; raise `StopIteration` when it is hopeless."""
        if step % CHECK_EVERY:
            return
        loss = self.held_out()
        if loss < self.loss:
            self.step, self.loss = step, loss
        elif step - self.step >= self.patience or not math.isfinite(loss):
            raise StopIteration
