"""The training loop: outer updates from the first to the last, whatever happens in between."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from functa_core.console import say, ticking, warn
from functa_core.discovery.hookspecs import Event
from functa_core.discovery.loading import Plugin
from functa_core.distributed import any_of, from_first, is_first, meet, share
from functa_core.errors import UserError
from functa_core.files import save_tensors, write_atomic
from functa_core.meta.learner import Learner, build_learner
from functa_core.meta.memory import Plan
from functa_core.meta.outer import Update, rate, update
from functa_core.meta.precision import kept_type
from functa_core.observations import Observations
from functa_core.prefetch import ahead
from functa_core.runs.batches import Batches
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
        batches: of the training signals.
        device: where the learner lives.
    """

    directory: RunDirectory
    plugin: Plugin
    batches: Batches
    device: torch.device

    @property
    def config(self) -> RunConfig:
        """Of the run."""
        return self.batches.config

    def run(self) -> Learner:
        """Train to the last step, from the newest checkpoint if there is one.

        Raises:
            UserError: the loss stayed non-finite however low the rate.
            KeyboardInterrupt: after a checkpoint was written.
        """
        learner, optimiser, progress = self._restored()
        self._tell_precision(learner)
        while True:
            try:
                return self._train(learner, optimiser, progress)
            except NonFinite:  # in all processes at the same update
                self._back_off()
            learner, optimiser, progress = self._restored()

    def _tell_precision(self, learner: Learner) -> None:
        """What a GPU calculates in, if nobody asked for it."""
        asked = self.config.meta.precision
        if asked == "auto" and kept_type(asked, learner, self.device) is not None:
            say("train: in bfloat16, as GPUs are fast at; meta.precision=float32 has seven digits")

    def _good(self) -> tuple[Learner, torch.optim.Adam, Progress]:
        """Learner and optimiser at the first process's newest checkpoint, or at the start."""
        meta = self.config.meta
        seed = derive(self.config.seed, "weights")
        learner = build_learner(self.batches.modality.spec, self.config.model, meta, seed)
        learner.to(self.device)
        optimiser = torch.optim.Adam(learner.parameters(), lr=meta.lr)
        found = None
        if is_first():
            found = load_checkpoint(self.directory.checkpoints, learner, optimiser)
        return learner, optimiser, found or Progress()

    def _restored(self) -> tuple[Learner, torch.optim.Adam, Progress]:
        """The same in all processes."""
        learner, optimiser, progress = self._good()
        state = learner.state_dict(), optimiser.state_dict()
        on_cpu = tree_map_only(torch.Tensor, Tensor.cpu, state)  # each has a GPU of its own
        (weights, moments), progress = from_first((on_cpu, progress))
        learner.load_state_dict(weights)
        optimiser.load_state_dict(moments)
        return learner, optimiser, progress

    def _train(self, learner: Learner, optimiser: torch.optim.Adam, start: Progress) -> Learner:
        meta = self.config.meta
        log = _Log(self.directory.log, start.step)
        plan = from_first(self.batches.plan(learner, self.device) if is_first() else None)
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
            for batch in ahead(self._coming(step)):
                for group in optimiser.param_groups:
                    group["lr"] = rate(step, meta) * start.lr_scale
                result = self._update(learner, optimiser, step, batch, plan)
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
                    meet()  # torchrun stops all when one has ended, and the first may be saving
                    raise KeyboardInterrupt
        if is_first():
            save_tensors(self.directory.weights, learner.state_dict(), {"format": "functa 1"})
        return learner

    def _update(
        self,
        learner: Learner,
        optimiser: torch.optim.Adam,
        step: int,
        batch: Observations,
        plan: Plan | None,
    ) -> Update:
        own = self.batches.problem(learner, batch, step, share(len(batch))).to(self.device)
        config = self.config.meta
        if plan is not None:
            own = attrs.evolve(own, chunk=plan.chunk(batch.count))
            config = attrs.evolve(config, group=plan.group)
        return update(
            learner, optimiser, own, config, derive(self.config.seed, "latent noise", step)
        )

    def _coming(self, step: int) -> Iterator[Observations]:
        """What the updates from `step` to the last train on."""
        return map(self.batches.batch, range(step, self.config.meta.steps))

    def _back_off(self) -> None:
        """Halve the rate at the last good checkpoint, and keep that on disk: the first process.

        Raises:
            UserError: after a few tries in a row.
        """
        if not is_first():
            return  # `_restored` waits for what the first makes of it
        learner, optimiser, good = self._good()
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
