"""The training loop: outer updates from the first to the last, whatever happens in between."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import torch

from functa_core.console import ticking, warn
from functa_core.dataset import Dataset
from functa_core.discovery.hookspecs import Event
from functa_core.discovery.loading import Plugin
from functa_core.distributed import any_of, from_first, is_first, share
from functa_core.errors import UserError
from functa_core.files import save_tensors, write_atomic
from functa_core.meta.learner import Learner, build_learner
from functa_core.meta.outer import Update, rate, update
from functa_core.meta.problem import Problem
from functa_core.modality import Modality, seeded
from functa_core.observations import Observations
from functa_core.prefetch import ahead
from functa_core.runs.checkpoint import Progress, load_checkpoint, save_checkpoint
from functa_core.runs.config import RunConfig
from functa_core.runs.directory import RunDirectory
from functa_core.runs.interrupt import Interrupt, interruptible
from functa_core.seeding import derive

MAX_FAILURES = 4


class NonFinite(Exception):
    """The loss or a weight is no longer a number."""


@attrs.define(eq=False)
class Trainer:
    """Trains one learner in one run directory.

    Of several processes each has a share of every batch and the same learner; the first writes.

    Attributes:
        directory: already holds config.yaml and modality.json.
        plugin: for its observers.
        modality: prepared.
        train: the training signals.
        config: of the run.
        device: where the learner lives.
    """

    directory: RunDirectory
    plugin: Plugin
    modality: Modality[Any]
    train: Dataset[Any]
    config: RunConfig
    device: torch.device
    _order: tuple[int, list[int]] = attrs.field(default=(-1, []), init=False)

    def run(self) -> Learner:
        """Train to the last step, from the newest checkpoint if there is one.

        Raises:
            UserError: the loss stayed non-finite however low the rate.
            KeyboardInterrupt: after a checkpoint was written.
        """
        while True:
            learner, optimiser, progress = self._restored()
            try:
                return self._train(learner, optimiser, progress)
            except NonFinite:
                if is_first():
                    self._back_off()

    def _restored(self) -> tuple[Learner, torch.optim.Adam, Progress]:
        """Learner and optimiser at the newest checkpoint, or at the start."""
        meta = self.config.meta
        seed = derive(self.config.seed, "weights")
        learner = build_learner(self.modality.spec, self.config.model, meta, seed)
        learner.to(self.device)
        optimiser = torch.optim.Adam(learner.parameters(), lr=meta.lr)
        progress = Progress()
        if is_first():
            found = load_checkpoint(self.directory.checkpoints, learner, optimiser)
            progress = found or progress
        state = learner.state_dict(), optimiser.state_dict(), progress
        weights, moments, progress = from_first(state)
        learner.load_state_dict(weights)
        optimiser.load_state_dict(moments)
        return learner, optimiser, progress

    def _train(self, learner: Learner, optimiser: torch.optim.Adam, start: Progress) -> Learner:
        meta = self.config.meta
        log = _Log(self.directory.log, start.step)
        began = time.monotonic() - start.seconds
        step = start.step

        interrupt = Interrupt()
        stop = False

        def save() -> None:
            if not _all_finite(learner):
                # Whoever asked to stop gets that; the last good checkpoint is on disk already.
                raise KeyboardInterrupt if stop else NonFinite
            if is_first():
                here = Progress(step, start.lr_scale, 0, time.monotonic() - began)
                save_checkpoint(self.directory.checkpoints, learner, optimiser, here)
            self._announce("checkpoint saved", step)

        with interruptible(interrupt), ticking("train", meta.steps, step) as tick:
            for batch in ahead(self._batches(step)):
                for group in optimiser.param_groups:
                    group["lr"] = rate(step, meta) * start.lr_scale
                result = self._update(learner, optimiser, step, batch)
                step += 1
                last = step == meta.steps
                stop = any_of(interrupt.requested)  # at the same update in every process
                if step % meta.log_every == 0 or step == 1 or last:
                    if not bool(torch.isfinite(result.loss)):
                        raise KeyboardInterrupt if stop else NonFinite
                    figures = {
                        "loss": float(result.loss),
                        "psnr_db": float(result.psnr_db.nanmean()),
                    }
                    log.write(step, figures, time.monotonic() - began)
                    tick(step, **figures)
                    self._announce("step finished", step, figures)
                if step % meta.checkpoint_every == 0 or last or stop:
                    save()
                if stop:
                    raise KeyboardInterrupt
        if is_first():
            save_tensors(self.directory.weights, learner.state_dict(), {"format": "functa 1"})
        return learner

    def _update(
        self, learner: Learner, optimiser: torch.optim.Adam, step: int, batch: Observations
    ) -> Update:
        seed = self.config.seed
        whole = Problem(
            network=learner.network,
            modality=self.modality,
            observations=batch,
            l2_weight=self.config.meta.l2_weight,
            noise_seed=derive(seed, "forward noise", step),
        )
        mine = share(len(batch))
        own = whole.signals(mine.start, mine.stop).to(self.device)
        noise_seed = derive(seed, "latent noise", step)
        return update(learner, optimiser, own, self.config.meta, noise_seed)

    def _batches(self, step: int) -> Iterator[Observations]:
        """What the updates from `step` to the last train on."""
        return (self.batch(number) for number in range(step, self.config.meta.steps))

    def batch(self, step: int) -> Observations:
        """What update `step` trains on: a function of the seed and the step alone.

        Every process has all of it, because a modality may draw one random part for all signals.
        Signals come in an order that is shuffled anew for each pass over the data.
        """
        count = len(self.train)
        size = min(self.config.meta.batch_size, count)
        signals = []
        for place in range(step * size, (step + 1) * size):
            epoch, position = divmod(place, count)
            signals.append(self.train[self._shuffled(epoch)[position]])
        generator = seeded(derive(self.config.seed, "observations", step))
        return self.modality.observations(signals, generator)

    def _shuffled(self, epoch: int) -> list[int]:
        if self._order[0] != epoch:
            generator = seeded(derive(self.config.seed, "epoch", epoch))
            self._order = (epoch, torch.randperm(len(self.train), generator=generator).tolist())
        return self._order[1]

    def _back_off(self) -> None:
        """Halve the rate at the last good checkpoint, and keep that on disk.

        Raises:
            UserError: after a few tries in a row.
        """
        learner, optimiser, good = self._restored()
        if good.failures + 1 >= MAX_FAILURES:
            raise UserError(
                f"training is not finite beyond step {good.step}, at rate "
                f"{rate(good.step, self.config.meta) * good.lr_scale:.2g} and after "
                f"{good.failures} lower rates. "
                "Look for extreme values in the data, or lower model.w0 or meta.lr."
            )
        lower = attrs.evolve(good, lr_scale=good.lr_scale / 2, failures=good.failures + 1)
        save_checkpoint(self.directory.checkpoints, learner, optimiser, lower)
        warn(
            f"the loss is not finite; back to step {good.step} with rate "
            f"{rate(good.step, self.config.meta) * lower.lr_scale:.2g}."
        )

    def _announce(self, kind: str, step: int, figures: dict[str, float] | None = None) -> None:
        if is_first():
            self.plugin.announce(Event(kind, str(self.directory.root), step, figures or {}))


def _all_finite(learner: Learner) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in learner.parameters())


class _Log:
    """metrics.jsonl, cut back to the step that training goes on from; the first process's."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        if is_first():
            kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= step]
            write_atomic(path, "".join(kept))

    def write(self, step: int, figures: dict[str, float], seconds: float) -> None:
        if not is_first():
            return
        line = json.dumps({"step": step, **figures, "seconds": round(seconds, 3)})
        with self.path.open("a") as file:
            file.write(line + "\n")


def _whole_lines(path: Path) -> list[str]:
    """Lines that were written to their end; a crash can cut the last one short."""
    if not path.is_file():
        return []
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("}\n")]
