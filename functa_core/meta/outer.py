"""The outer loop: training the shared weights through the fit of the latents."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from functa_core.meta.learner import Learner, MetaConfig
from functa_core.meta.problem import Problem
from functa_core.modality import seeded
from functa_core.observations import Observations, weighted_mean


@attrs.frozen(eq=False)
class Update:
    """Figures of one outer update, still on the device.

    Attributes:
        loss: outer loss, mean over the batch.
        psnr_db: (B,) of the signals in the batch, at the weights before the update.
    """

    loss: Tensor
    psnr_db: Tensor


def psnr_db(predicted: Tensor, observations: Observations, peak: float) -> Tensor:
    """PSNR of each signal over its weighted observations: (B,), in dB, at most 100.

    A signal of which nothing is observed has none: NaN.
    """
    error = (predicted - observations.known_values).square().mean(dim=-1)
    relative = weighted_mean(error, observations.weights) / peak**2
    decibels = -10 * torch.log10(relative.clamp_min(1e-10))  # a copy would be infinitely good
    return torch.where((observations.weights > 0).any(dim=1), decibels, torch.nan)


def rate(step: int, config: MetaConfig) -> float:
    """Adam's rate for the update after `step` others: `lr` at first, `lr · lr_final` at the end.

    Between them half a cosine: a rate that small networks can begin with is too high for them to
    settle at.
    """
    left = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return config.lr * (config.lr_final + (1 - config.lr_final) * left)


def outer_loss(
    learner: Learner, problem: Problem, config: MetaConfig, noise_seed: int | None = None
) -> tuple[Tensor, Tensor]:
    """What the outer loop minimises the mean of, as a function of the weights.

    Returns:
        The loss of each signal after its fit (B,), and what the fitted latents predict (B, N, C).
    """
    latent = learner.solver.fit(problem, config.inner_steps, differentiable=True)[-1]
    if config.latent_noise and noise_seed is not None:
        noise = torch.empty_like(latent).normal_(generator=seeded(noise_seed, latent.device))
        latent = latent + config.latent_noise * noise
    predicted = problem.predict(latent)
    return problem.loss(latent, predicted), predicted


def update(
    learner: Learner,
    optimiser: torch.optim.Optimizer,
    problem: Problem,
    config: MetaConfig,
    noise_seed: int | None = None,
) -> Update:
    """Take one step of the outer optimiser, in place.

    The outer loss is the mean over the batch's signals of the loss after the last inner step.

    Args:
        learner: what is trained.
        optimiser: over the learner's parameters.
        problem: one batch.
        config: of both loops.
        noise_seed: of the noise on fitted latents; None for none.
    """
    losses, predicted = outer_loss(learner, problem, config, noise_seed)
    loss = losses.mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if config.clip is not None:
        torch.nn.utils.clip_grad_norm_(learner.parameters(), config.clip)
    optimiser.step()
    peak = problem.modality.spec.peak
    return Update(loss.detach(), psnr_db(predicted.detach(), problem.observations, peak))
