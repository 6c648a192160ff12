"""A damped Gauss–Newton step from the start, solved once for the whole batch.

All fits begin at latent 0. Where signals share their queries they share the prediction there, and
its derivative J by the latent; so the curvature of the loss is one Z × Z matrix for the batch, and
its solution for each signal's residuals is one product. That is nearly all that there is to be
had: the outer loop makes the field as good as linear in the latent. See docs/design/0008.
"""

from __future__ import annotations

import math
from contextlib import suppress

import torch
from jaxtyping import Float
from torch import Tensor, nn

from functa_core.errors import UserError
from functa_core.meta.inner import InnerSolver
from functa_core.meta.problem import Problem
from functa_core.meta.shared import NotShared, StartField, by_latent
from functa_core.networks.base import ModulatedNetwork
from functa_core.observations import Observations, at_least_tiny

RATE = 0.3
"""Of the steps after the first, which reuse its matrix where the field has curved away from it."""
SAME = 4 * torch.finfo(torch.float32).eps
"""Relative difference of curvatures that is rounding alone."""
MOMENTUM = 0.5
"""Share of the last such step that is taken again (Polyak, 1964)."""
WORSE = 1e-3
"""Rise of a signal's loss, relative, that takes such a step back; less may be rounding."""
SLOWER = 0.25
"""What is left of the signal's rate then."""


class GaussNewton(InnerSolver):
    """latent ← -(H + Λ)⁻¹ g, then moved ← `MOMENTUM` · moved - `RATE` · (H + Λ)⁻¹ ∂loss/∂latent.

    H is the Gauss–Newton matrix of the loss at latent 0 and g the gradient there; Λ, a positive
    number for each coordinate of the latent, is learned. The outer loop sees the first step alone:
    the others make a fit a little better still, and training through them is slow and unstable.
    Where the field has curved away too far, such a step would make a fit worse: it is taken back,
    and the signal goes on from where it was, at a quarter of the rate.

    Args:
        latent_shape: of a latent; Z numbers in all.
        damping: that Λ begins with.
    """

    waits = True  # to see whether all signals have one matrix
    takes_rounded = False  # its system makes 2 per cent of a latent of a gradient's last digits

    def __init__(self, latent_shape: tuple[int, ...], damping: float) -> None:
        super().__init__()
        self.log_damping = nn.Parameter(torch.full(latent_shape, math.log(damping)))

    def first(
        self, problem: Problem, *, differentiable: bool = False
    ) -> Float[Tensor, "B *latent"]:
        """One step, with the matrix that all signals share.

        Raises:
            UserError: see `fit`.
        """
        return self._first(problem, differentiable)[0]

    def _first(self, problem: Problem, differentiable: bool) -> tuple[Tensor, Tensor]:
        """The latents after the first step, and the factor of its matrix."""
        start = problem.start()
        with torch.enable_grad():
            curvature, gradient = _normal_equations(problem, differentiable)
            factor = _factor(curvature + torch.diag(self.log_damping.exp().flatten()))
            return start - _solve(factor, gradient).view_as(start), factor

    def fit(
        self,
        problem: Problem,
        steps: int,
        *,
        differentiable: bool = False,
        first: Float[Tensor, "B *latent"] | None = None,
    ) -> list[Float[Tensor, "B *latent"]]:
        """See `InnerSolver.fit`; a differentiable fit ends after the first step.

        Raises:
            UserError: the signals do not share their queries, or a value depends on more of the
                field than the query itself.
        """
        start = problem.start()
        if first is not None and differentiable:
            return [start, first][: steps + 1]
        first, factor = self._first(problem, differentiable)
        if differentiable:
            return [start, first][: steps + 1]
        return [start, *self._further(problem, first.detach(), factor.detach(), steps)][: steps + 1]

    def _further(
        self, problem: Problem, first: Float[Tensor, "B *latent"], factor: Tensor, steps: int
    ) -> list[Float[Tensor, "B *latent"]]:
        """The latents after the first step, and after each of the others."""
        path = [first]
        if steps < 2:
            return path
        loss, slope = _judged(problem, first)
        rate = torch.full_like(first, RATE)
        moved = torch.zeros_like(first)  # the first step is another kind: none of it goes on
        for number in range(1, steps):
            step = _solve(factor, slope.flatten(1)).view_as(first)
            moved = MOMENTUM * moved - rate * step
            latent = path[-1] + moved
            if number < steps - 1:
                loss_there, slope_there = _judged(problem, latent)
            else:
                loss_there, slope_there = problem.losses(latent), slope
            no_worse = loss_there <= loss + WORSE * loss.abs()  # and not NaN
            taken = no_worse.view(-1, *[1] * (first.ndim - 1))
            path.append(torch.where(taken, latent, path[-1]))
            loss = torch.where(no_worse, loss_there, loss)
            slope = torch.where(taken, slope_there, slope)
            moved = torch.where(taken, moved, 0.0)
            rate = torch.where(taken, rate, SLOWER * rate)
        return path


def _judged(problem: Problem, latent: Tensor) -> tuple[Tensor, Tensor]:
    """Losses and gradients; losses in the precision of the weights, since a step hangs on them."""
    losses, slope = problem.loss_and_gradient(latent)
    return (losses if problem.precision is None else problem.losses(latent)), slope


def _normal_equations(
    problem: Problem, differentiable: bool
) -> tuple[Float[Tensor, "*B Z Z"], Float[Tensor, "B Z"]]:
    """Gauss–Newton matrix, one for all signals if that is the same, and gradient at the start."""
    total = at_least_tiny(problem.observations.weights.sum(dim=1, keepdim=True))
    size = problem.start()[0].numel()
    curvature = 2 * problem.l2_weight * torch.eye(size, dtype=total.dtype, device=total.device)
    gradient = total.new_zeros((len(total), size))
    for part in [problem.observations] if differentiable else problem.parts():
        predicted, jacobian = _start_jacobian(problem, part, differentiable)
        slope, bend = _loss_derivatives(problem, part, predicted, differentiable)
        share = torch.where(part.weights > 0, part.weights, 0.0) / total
        gradient = gradient + torch.einsum("bnc,ncz->bz", slope * share.unsqueeze(-1), jacobian)
        curvature = curvature + _curvature(bend * share[..., None, None], jacobian)
    return curvature, gradient


def _start_jacobian(
    problem: Problem, part: Observations, differentiable: bool
) -> tuple[Float[Tensor, "1 N C"], Float[Tensor, "N C Z"]]:
    """What is predicted at the start, and its derivatives by the latent; the same for all signals.

    Raises:
        UserError: see `GaussNewton.fit`. A forward operator that asks the field once, at the
            queries, makes each value of the field at its own query alone, since no value may
            depend on other queries; any other operator is refused.
    """
    network = problem.network
    if not isinstance(network, ModulatedNetwork):
        raise UserError("meta.solver=gauss-newton takes networks with modulations only.")
    start = problem.start()[:1]
    modulations = network.modulate(start)
    field = StartField(network, modulations, 1, differentiable, problem.precision)
    predicted = None
    with suppress(NotShared):
        predicted = problem.measure(field, part)
    if predicted is None or len(field.asked) != 1 or field.asked[0].coords is not part.queries:
        raise UserError(
            "meta.solver=gauss-newton is for signals that share their queries and are measured "
            f"point by point; those of '{problem.modality.name}' do not, or are not. "
            "Use meta.solver=meta-sgd."
        )
    (asked,) = field.asked
    # The chain rule: values by features, at each query; these by the latent.
    by_features = [
        torch.autograd.grad(
            channel.sum(), asked.everywhere, create_graph=differentiable, retain_graph=True
        )[0][0]
        for channel in predicted.unbind(-1)
    ]
    jacobian = by_latent(asked.derivatives, network.slope(start))
    return predicted, torch.einsum("nkc,cnz->nkz", torch.stack(by_features, dim=1), jacobian)


def _loss_derivatives(
    problem: Problem, part: Observations, predicted: Float[Tensor, "1 N C"], differentiable: bool
) -> tuple[Float[Tensor, "B N C"], Float[Tensor, "B N C C"]]:
    """First and second derivative of each observation's loss by what is predicted for it."""
    each = predicted.expand(len(part), -1, -1)
    if not differentiable:
        each = each.detach().requires_grad_()
    loss = problem.modality.loss(each, part.known_values).sum()
    (slope,) = torch.autograd.grad(loss, each, create_graph=True)
    rows = [
        torch.autograd.grad(
            channel.sum(),
            each,
            create_graph=differentiable,
            retain_graph=True,
            materialize_grads=True,
        )[0]
        for channel in (slope.unbind(-1) if slope.requires_grad else ())
    ]
    bend = torch.stack(rows, dim=-2) if rows else torch.zeros_like(slope).diag_embed()
    return (slope if differentiable else slope.detach()), bend


def _curvature(
    bend: Float[Tensor, "B N C C"], jacobian: Float[Tensor, "N C Z"]
) -> Float[Tensor, "*B Z Z"]:
    """Σ_n J_nᵀ bend_n J_n of each signal, or of all at once where it is the same.

    Weights that each signal has as multiples of one number differ by rounding after they are
    divided by their sums: that is no difference.
    """
    flat = jacobian.flatten(0, 1)
    if torch.allclose(bend, bend[:1].expand_as(bend), rtol=SAME, atol=0.0):
        return flat.T @ (bend[0] @ jacobian).flatten(0, 1)
    return torch.stack([flat.T @ (own @ jacobian).flatten(0, 1) for own in bend])


def _factor(matrix: Float[Tensor, "*B Z Z"]) -> Float[Tensor, "*B Z Z"]:
    """Cholesky factor, NaN where there is none: training then goes back, as for any NaN."""
    factor, problem = torch.linalg.cholesky_ex(matrix)
    return torch.where((problem == 0)[..., None, None], factor, torch.nan)


def _solve(factor: Float[Tensor, "*B Z Z"], vectors: Float[Tensor, "B Z"]) -> Tensor:
    """The solution for each signal's vector."""
    if factor.ndim == 2:
        return torch.cholesky_solve(vectors.T, factor).T
    return torch.cholesky_solve(vectors.unsqueeze(-1), factor).squeeze(-1)
