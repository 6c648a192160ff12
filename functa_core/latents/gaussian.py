"""A Gaussian fitted to latents: the baseline, and what the flow begins from.

Its covariance is shrunk towards a multiple of the identity, Σ_λ = (1 − λ) S + λ (tr S / K) I, with
the λ under which held-out latents are likeliest (five-fold cross-validation). Latents have falling
spectra and there are often fewer of them than dimensions; the λ that minimises the squared error of
the covariance (Ledoit and Wolf 2004) is then many times too large for the likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import attrs
import torch
from jaxtyping import Float, Float64
from torch import Generator, Tensor

from functa_core.latents.standardise import Standardiser

FOLDS = 5
UNSEEN_FOLDS = 10
SHRINKAGES = tuple(10 ** (exponent / 4) for exponent in range(-16, 0))
"""Tried values of λ: 0.0001 to 0.56, four a decade; 1 leaves no covariance at all."""


@attrs.frozen(eq=False)
class Gaussian:
    """A Gaussian in standardised latents, by its principal axes.

    Attributes:
        standardiser: of the latents it was fitted to.
        axes: (K, K) orthonormal columns, falling in spread.
        spread: (K) standard deviation along each, after shrinkage.
        shrinkage: λ.
    """

    standardiser: Standardiser
    axes: Float[Tensor, "K K"]
    spread: Float[Tensor, " K"]
    shrinkage: float

    @classmethod
    def fit(cls, latents_nZ: Float[Tensor, "n Z"], generator: Generator) -> Gaussian:
        """Fit it to n ≥ 2 latents.

        Args:
            latents_nZ: raw.
            generator: of the folds.

        Raises:
            UserError: the latents cannot be standardised.
        """
        standardiser = Standardiser.of(latents_nZ)
        rows = standardiser.apply(latents_nZ.detach().double().cpu())
        shrinkage = _likeliest_shrinkage(rows, generator)
        _, variances, axes = _spectrum(rows)
        spread = _shrunk(variances, shrinkage).sqrt()
        return cls(standardiser, axes.flip(1).float(), spread.flip(0).float(), shrinkage)

    @property
    def dimensions(self) -> int:
        """Dimensions K that have a density."""
        return self.standardiser.dimensions

    @property
    def log_det(self) -> Float[Tensor, ""]:
        """Logarithm of |∂ to_base(z) / ∂z|, the same everywhere."""
        return self.standardiser.log_det - self.spread.log().sum()

    def to_base(self, z: Float[Tensor, "B Z"]) -> Float[Tensor, "B K"]:
        """Latents as standard normal numbers along the principal axes; differentiable."""
        return self.standardiser.apply(z) @ self.axes / self.spread

    def from_base(self, u: Float[Tensor, "B K"]) -> Float[Tensor, "B Z"]:
        """Undo `to_base`; differentiable."""
        return self.standardiser.invert((u * self.spread) @ self.axes.T)

    def to_base_unseen(
        self, latents_nZ: Float[Tensor, "n Z"], generator: Generator
    ) -> Float[Tensor, "n K"]:
        """What `to_base` gives for latents it was not fitted to, for those that it was.

        Latents look rounder to the Gaussian fitted to them than new ones do. Each fold is whitened
        by a Gaussian of the other folds, with the symmetric Σ^(-1/2), which hardly depends on the
        fold, and then turned to the axes of this one.

        Args:
            latents_nZ: that `fit` was given.
            generator: of the folds.
        """
        rows = self.standardiser.apply(latents_nZ.detach().double().cpu())
        white = torch.empty_like(rows)
        for fold, rest in _folds(len(rows), UNSEEN_FOLDS, generator):
            mean, variances, axes = _spectrum(rows[rest])
            along = (rows[fold] - mean) @ axes / _shrunk(variances, self.shrinkage).sqrt()
            white[fold] = along @ axes.T @ self.axes.double()
        return white.float()

    def log_prob(self, z: Float[Tensor, "B Z"]) -> Float[Tensor, " B"]:
        """Log-density of raw latents, in nats, over the dimensions that vary."""
        return standard_normal(self.to_base(z)) + self.log_det

    def sample(self, n: int, generator: Generator) -> Float[Tensor, "n Z"]:
        """Draw raw latents."""
        return self.from_base(torch.randn(n, self.dimensions, generator=generator))

    def tensors(self) -> dict[str, Tensor]:
        """What `from_tensors` needs."""
        own = {"axes": self.axes, "spread": self.spread, "shrinkage": torch.tensor(self.shrinkage)}
        return own | self.standardiser.tensors()

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Gaussian:
        """Undo `tensors`."""
        standardiser = Standardiser.from_tensors(tensors)
        return cls(standardiser, tensors["axes"], tensors["spread"], float(tensors["shrinkage"]))


def standard_normal(u: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """Log-density of N(0, I), in nats."""
    return -0.5 * (u.square() + math.log(2 * math.pi)).sum(dim=-1)


def _likeliest_shrinkage(rows: Float64[Tensor, "n K"], generator: Generator) -> float:
    """The λ with the greatest likelihood of the rows that were left out, fold by fold."""
    log_likelihood = torch.zeros(len(SHRINKAGES), dtype=torch.float64)
    for fold, rest in _folds(len(rows), FOLDS, generator):
        mean, variances, axes = _spectrum(rows[rest])
        along = ((rows[fold] - mean) @ axes).square()
        for i, shrinkage in enumerate(SHRINKAGES):
            shrunk = _shrunk(variances, shrinkage)
            log_likelihood[i] -= 0.5 * (along / shrunk + shrunk.log()).sum()
    return SHRINKAGES[int(log_likelihood.argmax())]


def _folds(n: int, count: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices of each of at most `count` random folds, and of the rows outside it."""
    folds = torch.randperm(n, generator=generator).chunk(min(count, n))
    for i, fold in enumerate(folds):
        yield fold, torch.cat([*folds[:i], *folds[i + 1 :]])


def _spectrum(rows: Float64[Tensor, "n K"]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (K), variances (K) in rising order and axes (K, K) of the rows' covariance."""
    mean = rows.mean(dim=0)
    centred = rows - mean
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(rows))
    return mean, variances.clamp(min=0), axes


def _shrunk(variances: Float64[Tensor, " K"], shrinkage: float) -> Float64[Tensor, " K"]:
    """Variances moved towards their mean; at least a tiny one, where rows coincide."""
    towards = variances.mean().clamp(min=torch.finfo(torch.float32).tiny)
    return (1 - shrinkage) * variances + shrinkage * towards
