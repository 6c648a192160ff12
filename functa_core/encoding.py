"""Encoding: fitting a latent to every signal of a dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.console import ticking
from functa_core.dataset import Dataset
from functa_core.meta.learner import Learner
from functa_core.meta.outer import psnr_db
from functa_core.meta.problem import Problem, predict_all
from functa_core.meta.shared import Known
from functa_core.modality import Modality
from functa_core.networks.base import NetworkField
from functa_core.observations import Observations
from functa_core.prefetch import ahead


@attrs.frozen(eq=False)
class Encoder:
    """A trained learner, ready to fit.

    Attributes:
        learner: with frozen weights.
        modality: prepared.
        inner_steps: of a fit.
        l2_weight: as in training.
        batch: signals at once.
        chunk: observations of a signal at once, None for all.
        device: where the learner lives.
        precision: see `Problem`.
        known: of the start of fits, kept from batch to batch.
    """

    learner: Learner
    modality: Modality[Any]
    inner_steps: int
    l2_weight: float
    batch: int
    chunk: int | None
    device: torch.device
    precision: torch.dtype | None = None
    known: Known = attrs.field(factory=Known)

    def batches(self, signals: Sequence[Any]) -> Iterator[tuple[list[Any], Observations]]:
        """The signals in batches, each with all its observations on the device.

        The next batch is read while this one is in use.
        """
        for few, observations in ahead(self._read(signals)):
            yield few, observations.to(self.device)

    def _read(self, signals: Sequence[Any]) -> Iterator[tuple[list[Any], Observations]]:
        for start in range(0, len(signals), self.batch):
            few = [signals[i] for i in range(start, min(start + self.batch, len(signals)))]
            yield few, self.modality.observations(few)

    def problem(self, observations: Observations) -> Problem:
        """The fit of one batch."""
        return Problem(
            self.learner.network,
            self.modality,
            observations,
            l2_weight=self.l2_weight,
            chunk=self.chunk,
            precision=self.precision,
            known=self.known,
        )

    def context(self, observations: Observations) -> Observations:
        """Those of the observations that a fit reads."""
        used = self.modality.fitted(observations)
        return (observations if used is None else observations.masked(used)).compact()

    def fit(self, observations: Observations) -> list[Float[Tensor, "B *latent"]]:
        """Latents after 0, 1, … inner steps, without a graph."""
        problem = self.problem(self.context(observations))
        path = self.learner.solver.fit(problem, self.inner_steps)
        return [latent.detach() for latent in path]

    def field(self, latents: Float[Tensor, "B *latent"]) -> NetworkField:
        """The latents as a field; memory stays bounded by as many coordinates as a fit takes."""
        most = None if self.chunk is None else self.chunk * self.batch
        return NetworkField(self.learner.network, latents.to(self.device), most)

    def predict(
        self, latent: Float[Tensor, "B *latent"], observations: Observations
    ) -> Float[Tensor, "B N C"]:
        """What latents, wherever they are, predict at all the observations' queries."""
        return predict_all(self.problem(observations), latent.to(self.device))


def fits(
    encoder: Encoder, signals: Sequence[Any]
) -> Iterator[tuple[Float[Tensor, "B *latent"], Float[Tensor, " B"], Observations]]:
    """Latents of a batch of signals after the other, and the PSNR of each over all observations.

    Both are on the CPU, the PSNR in dB; with them the observations, where they were fitted.
    """
    peak = encoder.modality.spec.peak
    for _, observations in encoder.batches(signals):
        latent = encoder.fit(observations)[-1]
        psnr = psnr_db(encoder.predict(latent, observations), observations, peak)
        yield latent.cpu(), psnr.cpu(), observations


def encode(
    encoder: Encoder, signals: Dataset[Any], task: str = "encode"
) -> tuple[Float[Tensor, "n *latent"], Float[Tensor, " n"]]:
    """Latents of all signals, in order, and the PSNR of each over all its observations, in dB."""
    latents, psnrs = [], []
    with ticking(task, len(signals)) as tick:
        done = 0
        for latent, psnr, _ in fits(encoder, signals):
            latents.append(latent)
            psnrs.append(psnr)
            done += len(latent)
            tick(done, psnr_db=float(torch.cat(psnrs).nanmean()))
    return torch.cat(latents), torch.cat(psnrs)
