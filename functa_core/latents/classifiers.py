"""Classifiers of latents: a multilayer perceptron and logistic regression."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Generator, Tensor, nn

from functa_core.errors import UserError
from functa_core.files import save_tensors
from functa_core.latents.standardise import Standardiser
from functa_core.latents.training import ClassifierNetwork, best_option, dropout, logits_of

HIDDEN_LAYERS = 2
INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Values of scikit-learn's C that validation chooses from."""


class MLP(ClassifierNetwork):
    """Two hidden layers of one width; dropout after each."""

    def __init__(self, numbers: int, classes: int, width: int, drop: float = 0.0) -> None:
        super().__init__()
        widths = [numbers, *[width] * HIDDEN_LAYERS]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.last = nn.Linear(width, classes)
        self.drop = drop

    def forward(
        self, items: Float[Tensor, "B Z"], generator: Generator | None = None
    ) -> Float[Tensor, "B K"]:
        """Logits of standardised latents."""
        for layer in self.hidden:
            items = dropout(F.gelu(layer(items)), self.drop, generator)
        logits: Tensor = self.last(items)
        return logits


@attrs.frozen(eq=False)
class LatentClassifier:
    """A trained MLP with all that it takes to classify latents with it.

    Attributes:
        network: on the CPU.
        standardiser: of the training latents.
        label_names: of its K classes, in the order of its logits.
        weights_sha256: of the weights that the latents belong to.
    """

    network: MLP
    standardiser: Standardiser
    label_names: Sequence[str]
    weights_sha256: str

    def probabilities(self, latents: Float[Tensor, "n *latent"]) -> Float[Tensor, "n K"]:
        """Of each class, for latents as a functaset holds them.

        Raises:
            UserError: they are of another length than those it was trained on.
        """
        rows = latents.flatten(1)
        if rows.shape[1] != (wanted := len(self.standardiser.mean)):
            raise UserError(
                f"this classifier is for latents of {wanted} numbers, got {rows.shape[1]}.\n"
                "Give those of the run that it was trained on."
            )
        return logits_of(self.network, self.standardiser.apply(rows)).softmax(dim=1)

    def classify(self, latents: Float[Tensor, "n *latent"]) -> list[str]:
        """The name of the likeliest class of each."""
        return [self.label_names[i] for i in self.probabilities(latents).argmax(dim=1).tolist()]

    def save(self, path: Path) -> None:
        """Write a safetensors file atomically; parent folders are made."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= self.standardiser.tensors()
        about = {"label_names": list(self.label_names), "weights_sha256": self.weights_sha256}
        save_tensors(path, tensors, {"classifier": json.dumps(about)})

    @classmethod
    def load(cls, path: Path) -> LatentClassifier:
        """Read a file that `save` wrote.

        Raises:
            UserError: no such file, or not one of these.
        """
        if not path.is_file():
            raise UserError(f"there is no classifier at {path}.")
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})["classifier"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return cls._from(about, tensors)
        except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise UserError(
                f"{path} is no classifier of latents, or is damaged: {error!r}. "
                "functa classify --run DIR writes one."
            ) from error

    @classmethod
    def _from(cls, about: dict[str, Any], tensors: dict[str, Tensor]) -> LatentClassifier:
        standardiser = Standardiser.from_tensors(
            {name: tensors.pop(name) for name in ("mean", "std", "kept")}
        )
        state = {name.removeprefix("network."): value for name, value in tensors.items()}
        classes, width = state["last.weight"].shape
        network = MLP(standardiser.dimensions, classes, width)
        network.load_state_dict(state)
        if len(about["label_names"]) != classes:
            raise ValueError(f"{len(about['label_names'])} names for {classes} classes")
        return cls(network, standardiser, about["label_names"], about["weights_sha256"])


@attrs.frozen(eq=False)
class Logistic:
    """Logistic regression with an L2 penalty that validation chose.

    Attributes:
        regression: scikit-learn's, fitted.
        inverse_penalty: scikit-learn's C.
    """

    regression: Any
    inverse_penalty: float

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "n Z"],
        labels: Int[Tensor, " n"],
        held: Tensor,
    ) -> Logistic:
        """Choose the penalty without what is held for validation, then fit to everything.

        Args:
            features: standardised.
            labels: from 0 to K − 1, each of which comes among those that are not held.
            held: (n) bool.
        """

        def logits_with(penalty: float) -> Tensor:
            fitted = _regression(features[~held], labels[~held], penalty)
            shares = torch.from_numpy(fitted.predict_proba(features[held].numpy()))
            return shares.clamp_min(torch.finfo(shares.dtype).tiny).log()

        chosen = best_option(INVERSE_PENALTIES, logits_with, labels[held])
        return cls(_regression(features, labels, chosen), chosen)

    def predict(self, features: Float[Tensor, "n Z"]) -> Int[np.ndarray, " n"]:
        """The likeliest class of each."""
        found: Int[np.ndarray, " n"] = self.regression.predict(features.numpy())
        return found

    @property
    def parameters(self) -> int:
        """Numbers that were fitted."""
        return int(self.regression.coef_.size + self.regression.intercept_.size)

    @property
    def flops(self) -> int:
        """Of one item: two for each multiply-add."""
        return 2 * int(self.regression.coef_.size)


def _regression(features: Tensor, labels: Tensor, penalty: float) -> Any:
    from sklearn.linear_model import LogisticRegression  # takes a second

    return LogisticRegression(C=penalty, max_iter=2000).fit(features.numpy(), labels.numpy())
