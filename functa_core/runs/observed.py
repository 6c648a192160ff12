"""What a modality's `observations` gave, checked before a run begins: torch would broadcast it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from functa_core.blame import accuse
from functa_core.modality import Modality
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
