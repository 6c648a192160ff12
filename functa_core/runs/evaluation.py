"""Figures of a run: reconstruction of both splits, beside the baselines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from functa_core.baselines import make_baselines, score
from functa_core.console import ticking
from functa_core.dataset import Dataset
from functa_core.encoding import Encoder
from functa_core.functaset import Functaset
from functa_core.meta.outer import psnr_db
from functa_core.modality import Modality
from functa_core.observations import Observations

Figures = dict[str, float]


def evaluate(
    encoder: Encoder,
    train: Dataset[Any],
    test: Dataset[Any],
    functasets: Mapping[str, Functaset],
) -> dict[str, Any]:
    """`reconstruction` and `baselines` of metrics.json.

    Every figure is the mean over signals of each signal's own, those without one left out. Where
    the modality holds part of a test signal out, the latent is fitted anew to the rest, and figures
    are of what was held out; `context_psnr_db` is of the rest.

    Args:
        encoder: of the trained run.
        train, test: the signals of both splits.
        functasets: their latents, by split.
    """
    numbers = encoder.learner.network.latent_numbers
    baselines = make_baselines(encoder.modality, train, numbers)
    sums: dict[str, list[Tensor]] = defaultdict(list)
    beside: dict[str, list[Tensor]] = defaultdict(list)
    with ticking("evaluate", len(test)) as tick:
        done = 0
        for few, observations in encoder.batches(test):
            fitted = functasets["test"].latents[done : done + len(few)]
            hidden = encoder.modality.held_out(few, observations)
            if hidden is None:
                latent, scored = fitted.to(encoder.device), observations
                visible = torch.ones_like(observations.weights, dtype=torch.bool)
            else:
                scored, visible = observations.masked(hidden), ~hidden
                context = observations.masked(visible)
                latent = encoder.fit(context)[-1]
            predicted = encoder.predict(latent, observations)
            for name, value in _measure(encoder.modality, predicted, scored).items():
                sums[name].append(value.cpu())
            if hidden is not None:
                peak = encoder.modality.spec.peak
                sums["context_psnr_db"].append(psnr_db(predicted, context, peak).cpu())

            def measure(values: Tensor, scored: Observations = scored) -> Tensor:
                return psnr_db(values, scored, encoder.modality.spec.peak).cpu()

            for name, value in score(baselines, few, observations, visible, measure).items():
                beside[name].append(value)
            done += len(few)
            tick(done)
    return {
        "reconstruction": {
            "train": _train_figures(encoder, train, functasets["train"]),
            "test": _means(sums),
        },
        "baselines": {name: {"psnr_db": _mean(values)} for name, values in beside.items()},
    }


def _train_figures(encoder: Encoder, train: Dataset[Any], fitted: Functaset) -> Figures:
    """Figures of the training signals over all their observations."""
    figures = {"psnr_db": float(fitted.psnr_db.double().nanmean())}
    if not encoder.modality.metrics():
        return figures
    sums: dict[str, list[Tensor]] = defaultdict(list)
    done = 0
    for few, observations in encoder.batches(train):
        latent = fitted.latents[done : done + len(few)].to(encoder.device)
        predicted = encoder.predict(latent, observations)
        for name, value in _measure(encoder.modality, predicted, observations).items():
            sums[name].append(value.cpu())
        done += len(few)
    return {**_means(sums), **figures}


def _measure(
    modality: Modality[Any], predicted: Tensor, observations: Observations
) -> dict[str, Tensor]:
    """PSNR and the modality's own metrics, each (B,)."""
    figures = {"psnr_db": psnr_db(predicted, observations, modality.spec.peak)}
    for metric in modality.metrics():
        figures[metric.name] = metric.compute(predicted, observations)
    return figures


def _means(sums: dict[str, list[Tensor]]) -> Figures:
    return {name: _mean(values) for name, values in sums.items()}


def _mean(values: list[Tensor]) -> float:
    return float(torch.cat(values).double().nanmean())
