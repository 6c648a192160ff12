"""What a modality's members gave, checked before a run begins: torch would broadcast it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from functa_core.blame import accuse
from functa_core.modality import Modality
from functa_core.networks.base import Network, NetworkField
from functa_core.observations import Observations


def check_observations(modality: Modality[Any], given: Any) -> None:
    """Raise, in the plugin's name, unless this is what `observations` owes of one signal.

    Args:
        modality: prepared.
        given: what it made of a list of one signal.
    """
    problem = _problem(given)
    if problem is not None:
        raise accuse(type(modality), "observations", problem)


def check_predictions(
    modality: Modality[Any], network: Network, observations: Observations
) -> None:
    """Raise, in the plugin's name, unless `forward` and `loss` give what belongs to observations.

    Args:
        modality: prepared.
        network: any that is for its fields.
        observations: of one signal.
    """
    latent = torch.zeros(1, *network.latent_shape)
    predicted = modality.forward(NetworkField(network, latent), observations.queries)
    _check_shape(modality, "forward", predicted, observations.values)
    losses = modality.loss(predicted, observations.known_values)
    _check_shape(modality, "loss", losses, observations.weights)


def _check_shape(modality: Modality[Any], member: str, given: Any, like: Tensor) -> None:
    found = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
    if found != (wanted := tuple(like.shape)):
        raise accuse(type(modality), member, f"gave {found} of one signal instead of {wanted}")


def _problem(given: Any) -> str | None:
    if not isinstance(given, Observations):
        return f"gave {type(given).__name__} instead of Observations"
    parts: dict[str, Any] = {
        name: getattr(given, name) for name in ("values", "weights", "queries")
    }
    for name, part in parts.items():
        if not isinstance(part, Tensor):
            return f"gave {name} that are {type(part).__name__} instead of a torch.Tensor"
        if part.dtype != torch.float32:
            return f"gave {name} of {part.dtype} instead of torch.float32: {name}.float()"
    if not bool((given.weights >= 0).all()):
        return "gave weights below 0, or that are no number"
    values, weights, queries = (
        tuple(t.shape) for t in (given.values, given.weights, given.queries)
    )
    if len(values) != 3 or values[0] != 1:
        return f"gave values {values} of one signal instead of (1, N, C)"
    count = values[1]
    if not count:
        return "gave no observations of a signal; what is not known has weight 0"
    if weights != (1, count):
        return f"gave weights {weights} for values {values} instead of (1, {count})"
    if len(queries) not in (2, 3) or queries[:-1] not in ((count,), (1, count)):
        return (
            f"gave queries {queries} for values {values} instead of ({count}, Q) or (1, {count}, Q)"
        )
    return None
