"""How close sets of latents are to held-out ones, once decoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.blame import accuse
from functa_core.encoding import Encoder
from functa_core.latents.features import FeatureSpace
from functa_core.latents.frechet import frechet
from functa_core.latents.precision_recall import precision_recall
from functa_core.modality import Modality

NEIGHBOURS = 3
"""Of precision and recall, if there are enough signals."""


@attrs.frozen(eq=False)
class Judge:
    """Held-out signals, decoded and as features, for sets of latents to be compared with.

    Attributes:
        encoder: of the run.
        resolution: at which signals are decoded.
        decoded: (n, *shape) held-out signals.
        space: of the features.
        held_out: (n, D) in it.
    """

    encoder: Encoder
    resolution: int | None
    decoded: Float[Tensor, "n *shape"]
    space: FeatureSpace
    held_out: Float[Tensor, "n D"]

    @classmethod
    def of(
        cls, encoder: Encoder, latents: Float[Tensor, "n *latent"], resolution: int | None
    ) -> Judge:
        """From n ≥ 2 held-out latents."""
        decoded = _decode(encoder, latents, resolution)
        features = _features(encoder, decoded)
        space = FeatureSpace.of(features)
        return cls(encoder, resolution, decoded, space, space(features))

    @property
    def neighbours(self) -> int:
        """k of precision and recall."""
        return min(NEIGHBOURS, len(self.held_out) - 1)

    @property
    def space_figures(self) -> dict[str, Any]:
        """What the scores are of: without it they say nothing."""
        own = self.encoder.modality.features(self.decoded[:1]) is not None
        name = "the modality's features of decoded signals" if own else "decoded signals"
        at = "their native" if self.resolution is None else str(self.resolution)
        return {
            "features": self.space.describe(f"{name} at resolution {at}"),
            "dimensions": self.space.dimensions,
            "n_samples": len(self.held_out),
            "n_held_out": len(self.held_out),
            "neighbours": self.neighbours,
        }

    def score(self, latents: Float[Tensor, "n *latent"]) -> dict[str, float]:
        """Fréchet distance, precision and recall of as many latents as are held out.

        With the modality's own figures of the two sets beside them.
        """
        decoded = _decode(self.encoder, latents, self.resolution)
        features = self.space(_features(self.encoder, decoded))
        shares = precision_recall(features, self.held_out, self.neighbours)
        return {
            "frechet": frechet(features, self.held_out),
            "precision": shares.precision,
            "recall": shares.recall,
            **_own_distances(self.encoder.modality, decoded, self.decoded),
        }


def _own_distances(
    modality: Modality[Any], samples: Tensor, held_out: Tensor
) -> Mapping[str, float]:
    """The modality's own figures, if they are numbers; else it is told so by name."""
    own: Any = modality.set_distances(samples, held_out)
    if not isinstance(own, Mapping) or not all(isinstance(x, int | float) for x in own.values()):
        raise accuse(type(modality), "set_distances", f"gave {own!r} instead of numbers by name")
    return own


@torch.no_grad()
def _decode(
    encoder: Encoder, latents: Float[Tensor, "n *latent"], resolution: int | None
) -> Float[Tensor, "n *shape"]:
    parts = [
        encoder.modality.decode(encoder.field(few), resolution).float().cpu()
        for few in torch.split(latents, encoder.batch)
    ]
    return torch.cat(parts)


def _features(encoder: Encoder, decoded: Float[Tensor, "n *shape"]) -> Float[Tensor, "n F"]:
    """The modality's features, or the decoded numbers themselves."""
    own = encoder.modality.features(decoded)
    return decoded.flatten(1) if own is None else own
