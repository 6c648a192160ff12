"""The outer loop: training the shared weights through the fit of the latents.

Of several processes each has some signals of a batch; what they find is summed, in one exchange.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.distributed import add_up
from functa_core.meta.learner import Learner, MetaConfig
from functa_core.meta.problem import Problem
from functa_core.modality import seeded
from functa_core.networks.passes import CACHED
from functa_core.networks.siren import LatentModulatedSiren
from functa_core.observations import Observations, weighted_mean


@attrs.frozen(eq=False)
class Update:
    """Figures of one outer update, still on the device.

    Attributes:
        loss: outer loss, mean over the batch; of a part of it, the part's share of that mean.
        psnr_db: (B,) of the signals, at the weights before the update.
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
    learner: Learner,
    problem: Problem,
    config: MetaConfig,
    noise: Float[Tensor, "B *latent"] | None = None,
    first: Float[Tensor, "B *latent"] | None = None,
) -> tuple[Tensor, Tensor]:
    """What the outer loop minimises the mean of, as a function of the weights.

    Args:
        learner: what is trained.
        problem: the signals.
        config: of both loops.
        noise: added to the fitted latents.
        first: the latents after the first inner step, if they were found before.

    Returns:
        The loss of each signal after its fit (B,), and what the fitted latents predict (B, N, C),
        without a graph.
    """
    path = learner.solver.fit(problem, config.inner_steps, differentiable=True, first=first)
    return problem.outcome(path[-1] if noise is None else path[-1] + noise)


def gradients(
    learner: Learner,
    problem: Problem,
    config: MetaConfig,
    noise: Float[Tensor, "B *latent"] | None = None,
) -> Update:
    """Add the gradient of the outer loss, the mean over the batch's signals, to the parameters'.

    Of a part of a batch this is its share: the sum over the signals that are there, divided by the
    number of all.

    The first inner step is taken for all signals together where they share it. The rest is done
    for a few at a time, back to the latents of that step, so that memory is theirs alone.

    Args:
        learner: what is trained.
        problem: a batch, or a part of one.
        config: of both loops.
        noise: on the fitted latents; None for none.
    """
    count = len(problem.observations)
    first = learner.solver.first(problem, differentiable=True)
    leaf = None if first is None else first.detach().requires_grad_()
    losses, psnrs = [], []
    size = config.group or group_size(problem)
    for start in range(0, count, size):
        chosen = slice(start, start + size)
        part = problem.signals(chosen.start, chosen.stop)
        own, predicted = outer_loss(
            learner,
            part,
            config,
            None if noise is None else noise[chosen],
            None if leaf is None else leaf[chosen],
        )
        (own.sum() / problem.batch).backward()  # type: ignore[no-untyped-call]
        losses.append(own.detach())
        psnrs.append(psnr_db(predicted, part.observations, problem.modality.spec.peak))
    if first is not None and leaf is not None:
        first.backward(leaf.grad)  # type: ignore[no-untyped-call]
    return Update(torch.cat(losses).sum() / problem.batch, torch.cat(psnrs))


def latent_noise(
    problem: Problem, config: MetaConfig, seed: int | None
) -> Float[Tensor, "B *latent"] | None:
    """Noise on the latents of (a part of) a batch, None for none.

    It is drawn for the whole batch, so that a signal's noise depends on its place there alone.
    """
    if seed is None or not config.latent_noise:
        return None
    start = problem.start()
    noise = start.new_empty((problem.batch, *start.shape[1:]))
    noise.normal_(generator=seeded(seed, start.device))
    return config.latent_noise * noise[problem.place : problem.place + len(start)]


def group_size(problem: Problem) -> int:
    """Signals whose passes fit the processor's cache together; all on other devices."""
    observations = problem.observations
    if observations.values.device.type != "cpu" or not isinstance(
        problem.network, LatentModulatedSiren
    ):
        return max(len(observations), 1)
    most = CACHED if observations.shared else CACHED // 4  # an operator may ask often
    return max(1, most // max(1, observations.count * problem.network.width))


def update(
    learner: Learner,
    optimiser: torch.optim.Optimizer,
    problem: Problem,
    config: MetaConfig,
    noise_seed: int | None = None,
) -> Update:
    """Take one step of the outer optimiser, in place, with the `gradients` of a batch.

    Processes that have a part of it each take the same step, with the gradients of all.

    Returns:
        The figures of the whole batch.
    """
    optimiser.zero_grad(set_to_none=True)
    result = _gradients(learner, problem, config, latent_noise(problem, config, noise_seed))
    if problem.whole is not None:
        result = summed(learner, problem, result)
    if config.clip is not None:
        torch.nn.utils.clip_grad_norm_(learner.parameters(), config.clip)
    optimiser.step()
    return result


def _gradients(
    learner: Learner, problem: Problem, config: MetaConfig, noise: Tensor | None
) -> Update:
    """`gradients`, recorded on a GPU where nothing is drawn and nothing waits."""
    if problem.noise_seed is not None or learner.solver.waits:
        return gradients(learner, problem, config, noise)
    tensors = problem.observations.tensors()

    def work(given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        observations = problem.observations.holding(given[: len(tensors)])
        own = attrs.evolve(problem, observations=observations)
        found = gradients(learner, own, config, None if noise is None else given[-1])
        return found.loss, found.psnr_db

    given = tensors if noise is None else [*tensors, noise]
    what = (config, attrs.astuple(problem, recurse=False)[3:])
    return Update(*learner.recording.do(work, given, what, learner))


def summed(learner: Learner, problem: Problem, own: Update) -> Update:
    """The figures of the whole batch, and its gradients, from those of this process's part."""
    psnr = own.psnr_db.new_zeros(problem.batch)
    psnr[problem.place : problem.place + len(own.psnr_db)] = own.psnr_db
    loss = own.loss.clone()
    for parameter in learner.parameters():
        if parameter.grad is None:  # in another process there may be one
            parameter.grad = torch.zeros_like(parameter)
    found = [parameter.grad for parameter in learner.parameters() if parameter.grad is not None]
    add_up([*found, loss, psnr])
    return Update(loss, psnr)
