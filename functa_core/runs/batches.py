"""What each outer update trains on."""

from __future__ import annotations

from typing import Any

import attrs
import torch

from functa_core.dataset import Dataset
from functa_core.distributed import largest_share
from functa_core.meta.learner import Learner
from functa_core.meta.memory import Plan, chosen
from functa_core.meta.precision import kept_type
from functa_core.meta.problem import Problem
from functa_core.modality import Modality, seeded
from functa_core.observations import Observations
from functa_core.runs.config import RunConfig
from functa_core.seeding import derive


@attrs.define(eq=False)
class Batches:
    """The batches of a run: of each update a function of the seed and the step alone.

    Attributes:
        modality: prepared.
        train: the training signals.
        config: of the run.
    """

    modality: Modality[Any]
    train: Dataset[Any]
    config: RunConfig
    _draws: bool | None = attrs.field(default=None, init=False)
    _order: tuple[int, list[int]] = attrs.field(default=(-1, []), init=False)

    @property
    def size(self) -> int:
        """Signals of a batch."""
        return min(self.config.meta.batch_size, len(self.train))

    def batch(self, step: int) -> Observations:
        """What update `step` trains on.

        Every process has all of it, because a modality may draw one random part for all signals.
        Signals come in an order that is shuffled anew for each pass over the data.
        """
        count = len(self.train)
        signals = []
        for place in range(step * self.size, (step + 1) * self.size):
            epoch, position = divmod(place, count)
            signals.append(self.train[self._shuffled(epoch)[position]])
        generator = seeded(derive(self.config.seed, "observations", step))
        return self.modality.observations(signals, generator)

    def problem(self, learner: Learner, batch: Observations, step: int, part: slice) -> Problem:
        """The fit of some signals of update `step`'s batch, where the batch is."""
        device = next(learner.parameters()).device
        whole = Problem(
            network=learner.network,
            modality=self.modality,
            observations=batch,
            l2_weight=self.config.meta.l2_weight,
            precision=kept_type(self.config.meta.precision, learner, device),
        )
        if self._draws is None:
            self._draws = whole.to(device).draws()
        if self._draws:
            whole = attrs.evolve(whole, noise_seed=derive(self.config.seed, "forward noise", step))
        return whole.signals(part.start, part.stop)

    def plan(self, learner: Learner, device: torch.device) -> Plan | None:
        """How to cut updates so that they fit `meta.max_memory`.

        Args:
            learner: of the sizes that will be trained, on the device; it stays as it is.
            device: where updates are to fit.

        Returns:
            None where there is no limit.

        Raises:
            UserError: they do not fit.
        """
        if self.config.meta.max_memory is None:
            return None
        problem = self.problem(learner, self.batch(0), 0, largest_share(self.size))
        return chosen(learner, problem.to(device), self.config.meta)

    def _shuffled(self, epoch: int) -> list[int]:
        if self._order[0] != epoch:
            generator = seeded(derive(self.config.seed, "epoch", epoch))
            self._order = (epoch, torch.randperm(len(self.train), generator=generator).tolist())
        return self._order[1]
