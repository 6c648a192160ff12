"""Maximum a posteriori: the latent that explains what was seen of a signal and is likely itself."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.encoding import Encoder
from functa_core.functaset import Functaset
from functa_core.meta.problem import Problem
from functa_core.observations import Observations

HISTORY = 20
"""Past steps that the solver's estimate of the curvature is made of."""
SHRUNK = 0.1
"""Share of a covariance that is replaced by its diagonal."""


@runtime_checkable
class Prior(Protocol):
    """A density of latents."""

    def log_prob(self, z: Float[Tensor, "B Z"]) -> Float[Tensor, " B"]:
        """In nats, differentiable."""
        ...


@attrs.frozen(eq=False)
class Posterior:
    """What a latent is optimised for, beyond the run's own inner steps.

    -log p(latent | seen) = Σ w r² / (2σ²) - λ log p(latent) + a constant

    over all numbers that were seen, r being the residual and w a weight whose mean is 1. The
    observations count as independent, so on a dense grid the data term is nearly all there is.
    Where the modality's loss is not the squared error, it stands in for r².

    Attributes:
        sigma: σ, standard deviation of the noise of a measured number, in units of the values.
        prior: None for none: what was seen is all that counts.
        weight: λ, of the prior; 1 is Bayes' rule.
        basis: (Z, Z) what the solver takes for its coordinate axes, as columns (see `whitening`):
            only its speed depends on them. None for the latent's own.
    """

    sigma: float
    prior: Prior | None = None
    weight: float = 1.0
    basis: Float[Tensor, "Z Z"] | None = None


def complete(
    encoder: Encoder, seen: Observations, posterior: Posterior | None = None, steps: int = 0
) -> Float[Tensor, "1 *latent"]:
    """The latent of one signal from what was seen of it.

    First the run's inner steps from the learned start, as in every encoding; then at most `steps`
    iterations of L-BFGS (Liu and Nocedal, 1989) on the posterior, from the inner step that has it
    highest: behind a mask the inner steps may go too far, and then the start is a better one.
    Without a posterior, or with 0 steps, this is encoding.

    Args:
        encoder: of the trained run.
        seen: of one signal, weight 0 where it is hidden. It may be hidden everywhere: then the
            latent goes to the prior's mode.
        posterior: what is optimised.
        steps: iterations.
    """
    if len(seen) != 1:
        raise ValueError(f"one signal at a time is completed, got {len(seen)}")
    inner = encoder.fit(seen)
    if posterior is None or steps == 0:
        return inner[-1]
    context = encoder.context(seen)
    # A line search ends where losses are rounded.
    problem = attrs.evolve(encoder.problem(context), precision=None)
    if posterior.prior is not None:
        problem = attrs.evolve(problem, l2_weight=0.0)  # there is a prior in its place
    numbers = int((context.weights > 0).sum()) * context.values.shape[-1]
    data_weight = numbers / (2 * posterior.sigma**2)

    def nats(place: Float[Tensor, "1 *latent"]) -> tuple[float, Float[Tensor, " Z"]]:
        return _negative_log(problem, posterior, data_weight, place)

    flat = min(inner, key=lambda place: _or_infinity(nats(place)[0])).reshape(-1)
    basis = torch.eye(len(flat)) if posterior.basis is None else posterior.basis
    basis = basis.to(flat)
    moved = torch.zeros_like(flat, requires_grad=True)  # from there, along the basis
    solver = torch.optim.LBFGS(
        [moved],
        max_iter=steps,
        max_eval=2 * steps,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
    )

    def objective() -> float:
        value, slope = nats((flat + basis @ moved.detach()).reshape(inner[0].shape))
        moved.grad = basis.mT @ slope
        return value

    solver.step(objective)  # type: ignore[no-untyped-call]
    return (flat + basis @ moved.detach()).reshape(inner[0].shape)


def _negative_log(
    problem: Problem, posterior: Posterior, data_weight: float, place: Float[Tensor, "1 *latent"]
) -> tuple[float, Float[Tensor, " Z"]]:
    """-log posterior in nats at a latent, up to a constant, and its gradient."""
    losses, gradient = problem.loss_and_gradient(place)
    value = data_weight * float(losses.detach())
    total = data_weight * gradient.reshape(-1)
    if posterior.prior is not None and posterior.weight:
        nats, slope = _log_density(posterior.prior, place.reshape(1, -1))
        value -= posterior.weight * float(nats)
        total = total - posterior.weight * slope
    return value, total


def _or_infinity(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def _log_density(
    prior: Prior, z_1Z: Float[Tensor, "1 Z"]
) -> tuple[Float[Tensor, ""], Float[Tensor, " Z"]]:
    """Log density in nats at a latent, by a prior on the CPU, and its gradient where that is."""
    leaf = z_1Z.detach().cpu().requires_grad_()
    with torch.enable_grad():
        nats = prior.log_prob(leaf).sum()
        (slope,) = torch.autograd.grad(nats, leaf)
    return nats.detach(), slope.reshape(-1).to(z_1Z)


def whitening(latents_nZ: Float[Tensor, "n Z"]) -> Float[Tensor, "Z Z"]:
    """A basis in which latents have about unit variance and no correlation.

    The Cholesky factor of their covariance, of which `SHRUNK` is replaced by its diagonal, so that
    fewer latents than numbers have one too.
    """
    centred = latents_nZ.double() - latents_nZ.double().mean(dim=0)
    covariance = centred.mT @ centred / len(centred)
    variance = covariance.diagonal()
    floor = variance.mean().clamp_min(torch.finfo(torch.float64).tiny) * 1e-6
    shrunk = (1 - SHRUNK) * covariance + SHRUNK * torch.diag(variance.clamp_min(floor))
    factor: Tensor = torch.linalg.cholesky(shrunk)
    return factor.to(latents_nZ.dtype)


def residual_sigma(fitted: Functaset, peak: float) -> float:
    """σ of the residuals that a run's fits leave: the root of their mean squared error.

    Args:
        fitted: the training signals, with the PSNR of each.
        peak: that the PSNR is relative to.
    """
    known = fitted.psnr_db[~fitted.psnr_db.isnan()].double()
    return peak * math.sqrt(float((10 ** (-known / 10)).mean()))
