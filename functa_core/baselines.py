"""What a functaset has to be better than, where all signals share their queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from functa_core.blame import accuse
from functa_core.dataset import Dataset
from functa_core.modality import Baseline, Modality
from functa_core.observations import Observations

MOST_SIGNALS = 5000
MOST_NUMBERS = 10**8
"""A baseline sees at most this many training signals, and numbers, evenly spread over the set."""
LEAST_NOISE = 1e-6
"""Of a Gaussian's largest variance: without any, few rows would be taken to determine all."""


def make_baselines(
    modality: Modality[Any], train: Dataset[Any], latent_numbers: int
) -> Mapping[str, Baseline]:
    """The modality's own baselines, or mean, nearest signal and PCA on a shared grid of queries."""
    own = _own_baselines(modality, train)
    if own:
        return own
    grid = GridBaselines.of(modality, train)
    if grid is None:
        return {}
    return {"mean": grid.mean, "nearest": grid.nearest, "pca": grid.pca(latent_numbers)}


def make_completions(
    modality: Modality[Any], train: Dataset[Any], latent_numbers: int
) -> Mapping[str, Baseline]:
    """The same for signals of which a part is hidden: PCA is conditioned on what is visible."""
    own = _own_baselines(modality, train)
    if own:
        return own
    grid = GridBaselines.of(modality, train)
    if grid is None:
        return {}
    return {"mean": grid.mean, "nearest": grid.nearest, "pca": grid.completion(latent_numbers)}


def _own_baselines(modality: Modality[Any], train: Dataset[Any]) -> Mapping[str, Baseline]:
    """Those of the modality, if they are that; else it is told so by name."""
    own: Any = modality.baselines(train)
    if not isinstance(own, Mapping) or not all(map(callable, own.values())):
        raise accuse(type(modality), "baselines", f"gave {own!r} instead of functions by name")
    return {name: _checked(modality, name, baseline) for name, baseline in own.items()}


def _checked(modality: Modality[Any], name: str, baseline: Baseline) -> Baseline:
    """The same baseline, which is told by name of a prediction that is none."""

    def predict(signals: Sequence[Any], observations: Observations, visible: Tensor) -> Tensor:
        found = baseline(signals, observations, visible)
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        if shape != (wanted := tuple(observations.values.shape)):
            problem = f"predict {shape} by '{name}' instead of {wanted}, as the values are"
            raise accuse(type(modality), "baselines", problem)
        return found

    return predict


@attrs.frozen(eq=False)
class GridBaselines:
    """Training signals as rows of numbers, unobserved ones filled in by the mean of the others.

    Attributes:
        rows: (n, N·C) float32.
        average: (N·C) mean training signal.
        squares: of the rows.
    """

    rows: np.ndarray
    average: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, modality: Modality[Any], train: Dataset[Any]) -> GridBaselines | None:
        """Read the training signals; None if they do not all share their queries."""
        first = modality.observations([train[0]])
        size = first.values.numel()
        count = max(1, min(len(train), MOST_SIGNALS, MOST_NUMBERS // size))
        rows = np.zeros((count, size), np.float32)
        seen = np.zeros((count, size), bool)
        for row, place in enumerate(np.linspace(0, len(train) - 1, count).round().astype(int)):
            one = modality.observations([train[int(place)]])
            if not one.shared or not torch.equal(one.queries, first.queries):
                return None
            rows[row] = one.known_values.flatten(1).numpy()
            seen[row] = _flat_weights(one).numpy() > 0
        average = rows.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        np.copyto(rows, average, where=~seen)
        return cls(rows, average, np.square(rows))

    def mean(self, signals: Sequence[Any], observations: Observations, visible: Tensor) -> Tensor:
        """The mean training signal."""
        return _like(np.broadcast_to(self.average, (len(signals), len(self.average))), observations)

    def nearest(
        self, signals: Sequence[Any], observations: Observations, visible: Tensor
    ) -> Tensor:
        """The training signal with the least weighted squared error over what is visible."""
        weights = _flat_weights(observations.masked(visible)).numpy()
        target = observations.known_values.flatten(1).numpy()
        # Σ w (t - r)² without its constant Σ w t².
        distance = weights @ self.squares.T - 2 * (weights * target) @ self.rows.T
        return _like(self.rows[distance.argmin(axis=1)], observations)

    def _components(self, count: int) -> Any:
        """The first principal components of the rows, as scikit-learn's PCA."""
        from sklearn.decomposition import PCA  # takes a second, and most commands need none

        return PCA(count, svd_solver="randomized", random_state=0).fit(self.rows)

    def pca(self, components: int) -> Baseline:
        """Projection on the first principal components, as many as a latent has numbers."""
        count = min(components, len(self.rows) - 1, self.rows.shape[1])
        if count < 1:
            return self.mean
        fitted = self._components(count)

        def project(signals: Sequence[Any], observations: Observations, visible: Tensor) -> Tensor:
            shown = _flat_weights(observations.masked(visible)).numpy() > 0
            values = observations.values.flatten(1).numpy()
            filled = np.where(shown, values, self.average)
            return _like(fitted.inverse_transform(fitted.transform(filled)), observations)

        return project

    def completion(self, components: int) -> Baseline:
        """The mean of a Gaussian fitted to the training signals, given what is visible.

        The Gaussian is probabilistic PCA (Tipping and Bishop, 1999): as many principal components
        as a latent has numbers, and scikit-learn's noise σ²: the variance that is left, over the
        number of components that n signals leave and not over all directions that a signal has.
        Of few signals that is more than the paper's σ², and completes better. With M = WᵀW of the
        visible rows, the coefficients' mean is (M + σ² (Λ - σ²)⁻¹)⁻¹ Wᵀ (x - μ).
        """
        count = min(components, len(self.rows) - 1, self.rows.shape[1])
        if count < 1:
            return self.mean
        fitted = self._components(count)
        variance = fitted.explained_variance_.astype(np.float64)
        noise = max(float(fitted.noise_variance_), LEAST_NOISE * float(variance[0]))
        penalty = noise / np.maximum(variance - noise, LEAST_NOISE * noise)
        axes = fitted.components_.astype(np.float64)
        middle = fitted.mean_.astype(np.float64)

        def complete(signals: Sequence[Any], observations: Observations, visible: Tensor) -> Tensor:
            shown = _flat_weights(observations.masked(visible)).numpy() > 0
            values = observations.known_values.flatten(1).numpy()
            made = np.empty(values.shape)
            for row, (seen, value) in enumerate(zip(shown, values, strict=True)):
                some = axes[:, seen]
                normal = some @ some.T + np.diag(penalty)
                coefficients = np.linalg.solve(normal, some @ (value - middle)[seen])
                made[row] = middle + coefficients @ axes
            return _like(made, observations)

        return complete


def score(
    baselines: Mapping[str, Baseline],
    signals: Sequence[Any],
    observations: Observations,
    visible: Tensor,
    measure: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Each baseline's figure (B,) by `measure`, which takes predicted values (B, N, C)."""
    cpu = observations.to("cpu")
    return {
        name: measure(predict(signals, cpu, visible.cpu()).to(observations.values.device))
        for name, predict in baselines.items()
    }


def _flat_weights(observations: Observations) -> Tensor:
    """Weights (B, N) once for each channel: (B, N·C)."""
    channels = observations.values.shape[-1]
    return observations.weights.repeat_interleave(channels, dim=1)


def _like(rows: np.ndarray, observations: Observations) -> Tensor:
    return torch.from_numpy(np.array(rows, np.float32)).reshape(observations.values.shape)
