"""Gradient descent that ends where the loss on held-out rows is least."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

CHECK_EVERY = 10
"""Updates between two looks at the held-out rows."""


@attrs.frozen
class Descent:
    """How a model is fitted.

    Attributes:
        steps: the most updates.
        batch: rows of an update, drawn with replacement.
        lr: learning rate of AdamW.
        weight_decay: of AdamW.
        patience: updates without a lower held-out loss after which to stop.
    """

    steps: int
    batch: int
    lr: float
    weight_decay: float
    patience: int

    def run(
        self,
        model: nn.Module,
        loss: Callable[[Float[Tensor, "B K"]], Float[Tensor, ""]],
        rows: Float[Tensor, "n K"],
        generator: Generator,
        *,
        steps: int | None = None,
        after: Callable[[int], None] = lambda step: None,
    ) -> None:
        """Update the model `steps` times (`self.steps` if None) on batches of the rows.

        Args:
            model: trained in place.
            loss: of a batch.
            rows: to draw batches from.
            generator: of the batches.
            steps: updates.
            after: called with the number of updates done after each; `StopIteration` ends them.
        """
        optimiser = torch.optim.AdamW(
            model.parameters(), lr=self.lr, weight_decay=self.weight_decay
        )
        for step in range(1, (self.steps if steps is None else steps) + 1):
            chosen = torch.randint(len(rows), (min(self.batch, len(rows)),), generator=generator)
            optimiser.zero_grad()
            loss(rows[chosen]).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimiser.step()
            try:
                after(step)
            except StopIteration:
                return


class Best:
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
