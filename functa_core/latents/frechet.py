"""The Fréchet distance between two sets of features, each taken as a Gaussian."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor


def frechet(a: Float[Tensor, "n F"], b: Float[Tensor, "m F"]) -> float:
    """Fréchet distance (squared, as FID is) of the Gaussians fitted to two sets of features.

    Covariances are the unbiased ones. Features of Inception are for whoever computes them to name.

    Args:
        a, b: at least two rows each; a distance means something from n ≥ 2 F on.
    """
    return frechet_gaussians(a.double().mean(0), _covariance(a), b.double().mean(0), _covariance(b))


def frechet_gaussians(
    mean_a: Float64[Tensor, " F"],
    covariance_a: Float64[Tensor, "F F"],
    mean_b: Float64[Tensor, " F"],
    covariance_b: Float64[Tensor, "F F"],
) -> float:
    """|μ_a − μ_b|² + tr(Σ_a + Σ_b − 2 (Σ_a^½ Σ_b Σ_a^½)^½) (Dowson and Landau 1982)."""
    root = _root(covariance_a)
    cross = torch.linalg.eigvalsh(root @ covariance_b @ root).clamp(min=0).sqrt().sum()
    means = (mean_a - mean_b).square().sum()
    return float(means + covariance_a.trace() + covariance_b.trace() - 2 * cross)


def _covariance(rows: Float[Tensor, "n F"]) -> Float64[Tensor, "F F"]:
    return torch.cov(rows.double().T).reshape(rows.shape[1], rows.shape[1])


def _root(matrix: Float64[Tensor, "F F"]) -> Float64[Tensor, "F F"]:
    """Symmetric square root of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root
