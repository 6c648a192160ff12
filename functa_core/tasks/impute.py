"""Imputation: a signal from a part of it.

The latent is fitted to what a mask leaves visible, by the run's inner steps alone and by further
optimisation with and without a prior; all are scored on what the mask hides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.baselines import make_completions, score
from functa_core.console import ticking
from functa_core.drawing import drawn
from functa_core.encoding import Encoder
from functa_core.meta.outer import psnr_db
from functa_core.modality import Artefact, Baseline, Mask, Modality, seeded
from functa_core.options import option
from functa_core.tasks.base import Material, NotApplicable, Outcome, Task
from functa_core.tasks.completing import Posterior, complete, residual_sigma, whitening
from functa_core.tasks.masking import Masked, choose_masks, mask_signal
from functa_core.tasks.priors import check_prior, find_prior

PICTURED = 4
"""Test signals that a mask's picture shows."""
PROTOCOL = (
    "latents fitted to the visible observations alone; hidden_psnr_db is each signal's PSNR over "
    "its hidden observations, mean over signals"
)
STEPS_ALONE, FREE = "inner_steps", "no_prior"
WORDS = {STEPS_ALONE: "inner steps", FREE: "no prior", "flow": "flow", "gaussian": "Gaussian"}
"""Ways of completion, as keys and in pictures."""


@attrs.frozen
class ImputeConfig:
    """What is hidden, and how the rest is completed."""

    masks: tuple[str, ...] | None = option(
        None, "names of the modality's masks; null: all that leave something seen and hidden"
    )
    mask_file: str | None = option(
        None,
        "in their place, a .npy of booleans, one for each observation of a signal in their order "
        "(a grid may keep its shape), True where it is observed",
        path=True,
    )
    signals: int = option(8, "test signals, evenly spread over the split", low=1)
    steps: int = option(
        20, "iterations of L-BFGS after the inner steps, with the prior and without it", low=0
    )
    prior: str = option(
        "flow",
        "density of latents, fitted to the training latents: a normalising flow or one Gaussian",
        choices=("flow", "gaussian"),
    )
    prior_weight: float = option(
        5.0,
        "of the prior beside the data. 1 is Bayes' rule for independent residuals; those of "
        "neighbours are alike, so that several count as one",
        low=0,
    )
    sigma: float | None = option(
        None,
        "standard deviation of a measured number's noise, in units of the scaled values; null: "
        "the root mean squared residual of the training fits",
        above=0,
    )

    @masks.validator
    def _some(self, _: Any, value: tuple[str, ...] | None) -> None:
        if value is not None and not value:
            raise ValueError("masks must name at least one mask, or be null for all")


class Impute(Task):
    """Infer signals from parts of them."""

    name = "impute"
    summary = "Complete test signals of which a mask hides a part."
    Config = ImputeConfig
    config: ImputeConfig

    def check_options(self, modality: Modality[Any], signal: Any) -> None:
        """Raise a `UserError` if a mask that was asked for is not there, or is not for the data."""
        names, file = self.config.masks, self.config.mask_file
        if names is None and file is None:
            return
        whole = modality.observations([signal])
        for mask in choose_masks(modality, names, file):
            mask.visible([signal], whole, seeded(0))

    def check(self, material: Material) -> None:
        """Raise `NotApplicable` unless there is a mask that leaves something seen and hidden."""
        check_prior(self.config.prior, material, "--set tasks.impute.prior=gaussian")
        self._masked(material)

    def run(self, material: Material, out: Path) -> Outcome:
        """Figures for each mask, beside the baselines on the same observations."""
        masked, skipped = self._masked(material)
        posteriors = self._posteriors(material)
        numbers = material.encoder.learner.network.latent_numbers
        baselines = make_completions(material.modality, material.train, numbers)
        entries: dict[str, Any] = {name: {"skipped": reason} for name, reason in skipped.items()}
        rows: list[_Row] = []
        artefacts: list[Artefact] = []
        with ticking(self.name, sum(len(few) for _, few in masked)) as tick:
            for mask, few in masked:
                fits = []
                mine: list[_Row] = []
                for part in few:
                    fit = self._complete(material.encoder, part, posteriors)
                    mine.append(_score(material.encoder, part, fit, baselines))
                    fits.append(fit)
                    tick(len(rows) + len(mine))
                rows += mine
                share = sum(part.share for part in few) / len(few)
                facts = {"summary": mask.summary, "share_observed": share}
                entries[mask.name] = {**facts, **self._summary(mine)}
                artefacts += _draw(material, few, fits, out / mask.name)
        figures = {
            "protocol": PROTOCOL,
            "n_test": len(self._chosen(material)),
            "steps": self.config.steps,
            "sigma": next(iter(posteriors.values())).sigma,
            "prior": self.config.prior,
            "prior_weight": self.config.prior_weight,
            **self._summary(rows),
            "masks": entries,
        }
        return Outcome(figures, artefacts)

    def _chosen(self, material: Material) -> list[int]:
        """Places of the test signals that are completed."""
        count = min(self.config.signals, len(material.test))
        return [i * len(material.test) // count for i in range(count)]

    def _masked(self, material: Material) -> tuple[list[tuple[Mask, list[Masked]]], dict[str, str]]:
        """The signals behind each mask, and why other masks were left out.

        Masks that nobody named are left out where they do not suit the data.
        """
        asked = self.config.masks is not None or self.config.mask_file is not None
        found, skipped = [], dict[str, str]()
        for mask in choose_masks(material.modality, self.config.masks, self.config.mask_file):
            try:
                found.append(
                    (mask, [self._behind(material, mask, i) for i in self._chosen(material)])
                )
            except NotApplicable as reason:
                if asked:
                    raise
                skipped[mask.name] = str(reason)
        if not found:
            raise NotApplicable(next(iter(skipped.values())))
        return found, skipped

    @staticmethod
    def _behind(material: Material, mask: Mask, place: int) -> Masked:
        signals, seed = material.test, material.seed
        return mask_signal(material.encoder, mask, signals[place], signals.ids[place], seed)

    def _posteriors(self, material: Material) -> dict[str, Posterior]:
        """What is optimised after the inner steps, by way."""
        config, train = self.config, material.functaset("train")
        latents = train.latents.flatten(1)
        sigma = config.sigma or residual_sigma(train, material.modality.spec.peak)
        free = Posterior(sigma, basis=whitening(latents))
        prior = find_prior(config.prior, material)
        return {
            FREE: free,
            config.prior: attrs.evolve(free, prior=prior, weight=config.prior_weight),
        }

    def _complete(
        self, encoder: Encoder, part: Masked, posteriors: Mapping[str, Posterior]
    ) -> dict[str, Float[Tensor, "1 *latent"]]:
        """A latent for each way of completion."""
        ways = {
            way: complete(encoder, part.seen, posterior, self.config.steps)
            for way, posterior in posteriors.items()
        }
        return {STEPS_ALONE: complete(encoder, part.seen), **ways}

    def _summary(self, rows: Sequence[_Row]) -> dict[str, Any]:
        """Means over signals: the completion with the prior, then all ways and the baselines."""
        ways = {way: _means([row.ours[way] for row in rows]) for way in rows[0].ours}
        baseline = {name: _means([row.baseline[name] for row in rows]) for name in rows[0].baseline}
        headline = ways[self.config.prior]["hidden_psnr_db"]
        return {"hidden_psnr_db": headline, **ways, "baseline": baseline}


@attrs.frozen
class _Row:
    """PSNR in dB of one signal's completions, by way, and of its baselines."""

    ours: Mapping[str, Mapping[str, float]]
    baseline: Mapping[str, Mapping[str, float]]


def _score(
    encoder: Encoder,
    part: Masked,
    fits: Mapping[str, Float[Tensor, "1 *latent"]],
    baselines: Mapping[str, Baseline],
) -> _Row:
    """PSNR on what is hidden, and on what was seen."""
    peak = encoder.modality.spec.peak

    def hidden(values: Tensor) -> Tensor:
        return psnr_db(values, part.hidden, peak)

    ours = {}
    for way, latent in fits.items():
        values = encoder.predict(latent, part.whole)
        seen = float(psnr_db(values, part.seen, peak))
        ours[way] = {"hidden_psnr_db": float(hidden(values)), "seen_psnr_db": seen}
    beside = score(baselines, [part.signal], part.whole, part.visible, hidden)
    return _Row(ours, {name: {"hidden_psnr_db": float(v)} for name, v in beside.items()})


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}


def _draw(
    material: Material, parts: Sequence[Masked], fits: Sequence[Mapping[str, Tensor]], folder: Path
) -> list[Artefact]:
    """What was observed of the first signals, their completions and the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    count = min(PICTURED, len(parts))
    few = [i * len(parts) // count for i in range(count)]
    shown = [parts[i] for i in few]
    fields = {
        WORDS[way]: material.encoder.field(torch.cat([fits[i][way] for i in few]))
        for way in fits[0]
    }
    visible = [part.visible[0].cpu() for part in shown]
    signals = [part.signal for part in shown]
    with torch.no_grad():
        return drawn(material.modality, "compare_masked", signals, visible, fields, out=folder)
