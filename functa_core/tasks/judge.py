"""Scoring the classifiers that are compared, all on the same test signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from functa_core.latents.classifiers import Logistic
from functa_core.latents.standardise import Standardiser
from functa_core.latents.training import ClassifierNetwork, Contest, Items, logits_of
from functa_core.tasks.labels import Labelled
from functa_core.tasks.raw import PART, RawArrays
from functa_core.tasks.scores import (
    Cost,
    confusion,
    figures,
    flops_of,
    milliseconds,
    parameters_of,
)

PCA_SIGNALS = 5000
PCA_NUMBERS = 10**8
"""Principal components are of at most this many training signals, and numbers, evenly spread."""


@attrs.frozen(eq=False)
class Judge:
    """Scores classifiers on the test signals.

    Attributes:
        data: the labels.
        contest: what all classifiers have in common.
    """

    data: Labelled
    contest: Contest

    def _matrix(self, predicted: Int[np.ndarray, " m"]) -> np.ndarray:
        return confusion(self.data.test_labels, predicted, len(self.data.names))

    def networks(self, networks: Sequence[ClassifierNetwork], items: Items) -> list[np.ndarray]:
        """A confusion matrix for each network."""
        return [self._matrix(_predict(network, items)) for network in networks]

    def regression(self, train: Float[Tensor, "n Z"], test: Float[Tensor, "m Z"]) -> dict[str, Any]:
        """Figures of logistic regression on standardised features."""
        fitted = Logistic.fit(train, self.contest.labels, self.contest.held)
        time = milliseconds(fitted.predict, test)
        cost = Cost(fitted.parameters, fitted.flops, time)
        matrices = [self._matrix(fitted.predict(test))]
        return {**figures(matrices, cost), "inverse_penalty": fitted.inverse_penalty}

    def majority(self) -> dict[str, Any]:
        """Figures of always saying the commonest training class."""
        commonest = int(self.data.train_labels.bincount().argmax())
        predicted = np.full(len(self.data.test), commonest)
        return figures([self._matrix(predicted)], Cost(1, 0, 0.0))

    def pca(self, train: RawArrays, test: RawArrays, numbers: int) -> dict[str, Any]:
        """Figures of the same on as many principal components as a latent has numbers.

        With the number of training signals that the components are of.
        """
        from sklearn.decomposition import PCA

        size = int(np.prod(train.shape))
        rows = train.evenly(max(2, min(PCA_SIGNALS, PCA_NUMBERS // size))).flatten(1).numpy()
        count = min(numbers, len(rows) - 1, size)
        fitted = PCA(count, svd_solver="randomized", random_state=0).fit(rows)

        def features(items: Tensor) -> Tensor:
            return torch.from_numpy(fitted.transform(items.flatten(1).numpy())).float()

        known, new = (
            torch.cat([features(few) for few in arrays.in_parts()]) for arrays in (train, test)
        )
        standardiser = Standardiser.of(known)
        found = self.regression(standardiser.apply(known), standardiser.apply(new))
        projecting = milliseconds(features, test.evenly(PART))
        return {
            **found,
            "components": count,
            "components_of": len(rows),
            "parameters": found["parameters"] + (count + 1) * size,
            "flops_per_item": found["flops_per_item"] + 2 * count * size,
            "ms_per_item": found["ms_per_item"] + projecting,
        }


def _predict(network: ClassifierNetwork, items: Items) -> Int[np.ndarray, " m"]:
    predicted: Int[np.ndarray, " m"] = logits_of(network, items).argmax(dim=1).numpy()
    return predicted


def network_cost(network: ClassifierNetwork, items: Tensor) -> Cost:
    """What it takes to classify one of the items."""
    time = milliseconds(lambda few: _predict(network, few), items)
    return Cost(parameters_of(network), flops_of(network, items[:1]), time)
