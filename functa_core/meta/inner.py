"""The inner loop: from observations to a latent, with the network's weights frozen.

("From data to functa", section 3.2 and algorithm 1; meta-SGD is Li et al. 2017.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from functa_core.meta.problem import Problem


class InnerSolver(nn.Module, ABC):
    """Fits latents. What it has learned from training (rates, say) are its parameters.

    Attributes:
        waits: whether a fit looks at numbers on the way, so that a GPU cannot play it back.
        takes_rounded: whether fits by rounded gradients are nearly as good as by exact ones.
    """

    waits: bool = False
    takes_rounded: bool = True

    @abstractmethod
    def first(
        self, problem: Problem, *, differentiable: bool = False
    ) -> Float[Tensor, "B *latent"] | None:
        """The latents after the first step, where the signals can share it; else None."""

    @abstractmethod
    def fit(
        self,
        problem: Problem,
        steps: int,
        *,
        differentiable: bool = False,
        first: Float[Tensor, "B *latent"] | None = None,
    ) -> list[Float[Tensor, "B *latent"]]:
        """The latents after 0, 1, …, `steps` steps.

        Args:
            problem: the signals, their observations and the weights.
            steps: how many.
            differentiable: keep the graph for the outer loop; needs memory in proportion to steps.
            first: what `first` gave of these signals, if it was asked before.
        """


class MetaSGD(InnerSolver):
    """Gradient descent with one learned rate per latent coordinate, the paper's solver."""

    def __init__(
        self,
        latent_shape: tuple[int, ...],
        init_range: tuple[float, float] = (0.005, 0.1),
        clip_range: tuple[float, float] = (0.0, 1.0),
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.clip_range = clip_range
        self.rates = nn.Parameter(torch.empty(latent_shape))
        with torch.no_grad():
            self.rates.uniform_(*init_range, generator=generator)

    def first(
        self, problem: Problem, *, differentiable: bool = False
    ) -> Float[Tensor, "B *latent"] | None:
        """One step from latent 0 with the gradient that all signals share the work of."""
        with torch.enable_grad():
            gradient = problem.first_gradient(differentiable)
            return None if gradient is None else problem.start() - self._rates() * gradient

    def fit(
        self,
        problem: Problem,
        steps: int,
        *,
        differentiable: bool = False,
        first: Float[Tensor, "B *latent"] | None = None,
    ) -> list[Float[Tensor, "B *latent"]]:
        """latent ← latent - rates · ∂loss/∂latent, from latent 0."""
        path = [problem.start()]
        if steps and first is None:
            first = self.first(problem, differentiable=differentiable)
        if steps and first is not None:
            path.append(first if differentiable else first.detach())
        with torch.enable_grad():
            while len(path) <= steps:
                gradient = problem.gradient(path[-1].requires_grad_(), differentiable)
                latent = path[-1] - self._rates() * gradient
                path.append(latent if differentiable else latent.detach())
        return path

    def _rates(self) -> Float[Tensor, "*latent"]:
        return self.rates.clamp(*self.clip_range)
