"""Checks of what training needs: derivatives, and a loss that falls."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck

from functa_core.meta.learner import Learner
from functa_core.meta.outer import outer_loss, update
from functa_core.modality import Modality, seeded
from functa_core.networks.base import Network, NetworkField
from functa_core.observations import Observations
from functa_core.testing.check import require
from functa_core.testing.subject import META, Subject, as_float64, thinned

OBSERVATIONS = 5
"""Of each signal; derivatives are compared with finite differences one number at a time."""
STEPS = 100
"""Outer updates of the short training at most: it ends when the loss has fallen."""
LOOK = 25
"""Updates from one look at the loss to the next: one alone may fall on an unlucky moment."""
LEAST_GAIN = 0.02
"""Share by which they have to lower the loss."""


def first_derivatives(subject: Subject) -> None:
    """The derivatives of predictions by latent and weights, and of the loss by predictions, are
    those of finite differences, and none is cut off.
    """
    measured, inputs = _measured(subject)
    _require_gradients(
        lambda: gradcheck(measured, inputs, atol=1e-5, rtol=1e-3, fast_mode=True),
        "forward() passes the derivatives by latent and weights on",
        "Look for detach(), no_grad(), NumPy, rounding, or a derivative written by hand.",
    )
    gradients = torch.autograd.grad(measured(*inputs), inputs, allow_unused=True)
    cut = sum(gradient is None or not bool(gradient.any()) for gradient in gradients)
    require(not cut, "every tensor of weights moves the values", f"{cut} do not", "Use the field.")
    lossy, predicted = _lossy(subject)
    _require_gradients(
        lambda: gradcheck(lossy, predicted, atol=1e-5, rtol=1e-3, fast_mode=True),
        "loss() has the derivative that its values say",
        "Look for detach(), no_grad(), rounding, or a derivative written by hand.",
    )


def second_derivatives(subject: Subject) -> None:
    """The derivatives of those derivatives are right too, without which the outer loop does not see
    what the inner loop does.
    """
    measured, inputs = _measured(subject)

    def gradient(*values: Tensor) -> Tensor:
        made: Tensor = torch.autograd.grad(measured(*values), values[0], create_graph=True)[0]
        return made

    _require_gradients(
        lambda: gradcheck(gradient, inputs, atol=1e-5, rtol=1e-3, fast_mode=True),
        "forward() passes second derivatives on",
        "Look for a backward pass written by hand that is not differentiable itself.",
    )
    lossy, predicted = _lossy(subject)
    _require_gradients(
        lambda: gradgradcheck(lossy, predicted, atol=1e-5, rtol=1e-3, fast_mode=True),
        "loss() has second derivatives",
        "Look for roots at 0, or a backward pass written by hand.",
    )


class _Measured(nn.Module):
    """A network whose field is measured, so that its weights can be arguments."""

    def __init__(self, network: Network, modality: Modality[object], queries: Tensor) -> None:
        super().__init__()
        self.network = network
        self.modality = modality
        self.queries = queries

    def forward(self, latent: Float[Tensor, "B Z"]) -> Tensor:
        return self.modality.forward(NetworkField(self.network, latent), self.queries)


def _used(subject: Subject) -> Observations:
    """A few observations of two signals or one, none of which is padding in all of them."""
    signals = subject.signals[:2]
    return as_float64(thinned(subject.prepared.observations(signals).compact(), OBSERVATIONS))


def _measured(subject: Subject) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """A random linear function of predictions, as a function of latents and all weights.

    Linear, so that what is examined is the forward operator and nothing else.
    """
    used = _used(subject)
    module = _Measured(subject.learner().network, subject.prepared, used.queries)
    names, weights = zip(*module.named_parameters(), strict=True)
    mix = torch.randn(used.values.shape, generator=seeded(5), dtype=torch.float64)

    def measured(latent: Tensor, *values: Tensor) -> Tensor:
        named = dict(zip(names, values, strict=True))
        predicted: Tensor = torch.func.functional_call(module, named, (latent,))
        return (mix * predicted).sum()

    inputs = [subject.latents(len(used)), *weights]
    return measured, [value.detach().clone().requires_grad_() for value in inputs]


def _lossy(subject: Subject) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The summed loss as a function of predictions near the values, and such predictions."""
    used = _used(subject)
    noise = torch.randn(used.values.shape, generator=seeded(6), dtype=torch.float64)
    predicted = used.known_values + 0.2 * subject.prepared.spec.peak * noise

    def lossy(values: Tensor) -> Tensor:
        return subject.prepared.loss(values, used.known_values).sum()

    return lossy, predicted.requires_grad_()


def _require_gradients(compare: Callable[[], object], asked: str, remedy: str) -> None:
    try:
        compare()
    except (GradcheckError, RuntimeError) as error:  # RuntimeError: there is no derivative
        require(False, asked, " ".join(str(error).split())[:300], remedy)


def training(subject: Subject) -> None:
    """A short meta-training on random parts of a few signals lowers their loss after the fit."""
    learner = subject.learner(torch.float32)
    optimiser = torch.optim.Adam(learner.parameters(), lr=META.lr)
    whole = thinned(subject.whole, 512)
    before = after = _loss(subject, learner, whole)
    for step in range(STEPS):
        sample = subject.prepared.observations(subject.signals, seeded(step))
        problem = subject.problem(learner, thinned(sample, 512))
        update(learner, optimiser, attrs.evolve(problem, noise_seed=step), META)
        if (step + 1) % LOOK == 0:
            after = min(after, _loss(subject, learner, whole))
            if after < (1 - LEAST_GAIN) * before:
                break
    require(
        after < (1 - LEAST_GAIN) * before,
        f"{STEPS} updates lower the loss of the signals they see by {LEAST_GAIN:.0%}",
        f"{after:.4g} at best after {before:.4g}",
        "See whether observations(signals, generator) gives what observations(signals) gives.",
    )


def _loss(subject: Subject, learner: Learner, whole: Observations) -> float:
    losses, _ = outer_loss(learner, subject.problem(learner, whole), META)
    return float(losses.detach().mean())
