"""What is measured: a batch of made-up signals, and the weights that everybody starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.benchmark import Benchmark
from functa_core.dataset import DataSource
from functa_core.encoding import Encoder
from functa_core.meta.learner import Learner, MetaConfig, build_learner
from functa_core.meta.precision import kept_type
from functa_core.meta.problem import Problem
from functa_core.modality import Modality, seeded
from functa_core.networks.siren import SirenConfig
from functa_core.observations import Observations

SEED = 0


@attrs.frozen(eq=False)
class Case:
    """One configuration with its batch.

    Attributes:
        name: of the configuration.
        benchmark: that declares it.
        modality: prepared.
        model: size of the network.
        meta: of both loops. The outer gradient is never clipped and latents get no noise, as in
            the paper's code, so that all implementations do the same.
        observations: one batch, on the device; an update and decoding take all of it, encoding
            what `fitted` leaves.
        device: where everything is.
    """

    name: str
    benchmark: Benchmark
    modality: Modality[Any]
    model: SirenConfig
    meta: MetaConfig
    observations: Observations
    device: torch.device

    def learner(self, meta: MetaConfig | None = None) -> Learner:
        """Untrained; the same weights at every call."""
        return build_learner(self.modality.spec, self.model, meta or self.meta, SEED).to(
            self.device
        )

    def problem(self, learner: Learner, meta: MetaConfig | None = None) -> Problem:
        """The fit of the batch, as in training but without noise of the forward operator."""
        return Problem(
            learner.network,
            self.modality,
            self.observations,
            l2_weight=self.meta.l2_weight,
            precision=self._kept(learner, meta),
        )

    def encoder(self, learner: Learner, meta: MetaConfig | None = None) -> Encoder:
        """As after training, with the batch fitted at once."""
        return Encoder(
            learner=learner.requires_grad_(False),
            modality=self.modality,
            inner_steps=self.meta.inner_steps,
            l2_weight=self.meta.l2_weight,
            batch=len(self.observations),
            chunk=self.meta.chunk,
            device=self.device,
            precision=self._kept(learner, meta),
        )

    def _kept(self, learner: Learner, meta: MetaConfig | None) -> torch.dtype | None:
        return kept_type((meta or self.meta).precision, learner, self.device)

    def fitted(self) -> Case:
        """The same with those observations alone that a fit after training reads."""
        encoder = self.encoder(self.learner())
        return attrs.evolve(self, observations=encoder.context(self.observations))

    def latents(self) -> Float[Tensor, "B *latent"]:
        """Latents to be decoded: any will do."""
        shape = (len(self.observations), self.model.latent_dim)
        return torch.randn(shape, generator=seeded(SEED)).mul(0.01).to(self.device)


@attrs.frozen(eq=False)
class Asked:
    """A case to be made, here or in another process.

    Attributes:
        modality: its class.
        name: a key of its `benchmarks`.
        changes: further overrides, section by section.
    """

    modality: type[Modality[Any]]
    name: str
    changes: Mapping[str, Mapping[str, Any]] = {}

    def case(self, device: torch.device) -> Case:
        """Made, on a device."""
        benchmark = self.modality.benchmarks[self.name]
        layers = (benchmark.sections, self.changes)
        merged: dict[str, dict[str, Any]] = {
            section: {k: v for layer in layers for k, v in layer.get(section, {}).items()}
            for section in ("modality", "model", "meta")
        }
        meta = MetaConfig(**{**merged["meta"], "clip": None, "latent_noise": 0.0})
        config = self.modality.Config(**merged["modality"])
        prepared = self.modality(config, DataSource(), benchmark.state)
        signals = benchmark.signals(meta.batch_size, seeded(SEED))
        observations = prepared.observations(signals, seeded(SEED)).to(device)
        model = SirenConfig(**merged["model"])
        return Case(self.name, benchmark, prepared, model, meta, observations, device)
