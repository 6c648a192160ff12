"""What a modality's members gave, checked before a run begins.

What is wrong is told in the plugin's name. Later it would look like a bug of the core's, or torch
would broadcast it to something that looks right.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from functa_core.blame import accuse
from functa_core.dataset import Dataset
from functa_core.modality import Box, Metric, Modality, Spec, UnitSphere
from functa_core.networks.base import Network, NetworkField
from functa_core.observations import Observations


def check_dataset(modality: Modality[Any], given: Any) -> None:
    """Raise, in the plugin's name, unless this is what `dataset` owes.

    Args:
        modality: prepared or not.
        given: what it gave of a split.
    """
    if not isinstance(given, Dataset):
        raise accuse(type(modality), "dataset", f"gave {_kind(given)} instead of a Dataset")
    first: Any = given.ids[0] if len(given) else ""
    if not isinstance(first, str):
        problem = f"gave ids that are {_kind(first)} instead of texts"
        raise accuse(type(modality), "dataset", problem)


def check_labels(modality: Modality[Any], signals: Dataset[Any]) -> None:
    """Raise, in the plugin's name, unless a split's labels count its label names."""
    if signals.labels is None:
        return
    labels, names = np.asarray(signals.labels), len(signals.label_names)
    problem = None
    if labels.shape != (len(signals),):
        problem = f"gave labels {labels.shape} for {len(signals)} signals"
    elif labels.dtype.kind not in "iu":
        problem = "gave labels that are no whole numbers"
    elif labels.min() < -1 or labels.max() >= names:
        problem = f"gave labels from {labels.min()} to {labels.max()} for {names} label names"
    _accuse(modality, "dataset", problem)


def check_state(modality: Modality[Any], given: Any) -> None:
    """Raise, in the plugin's name, unless this is what `prepare` owes.

    Args:
        modality: not prepared.
        given: what it made of the training signals.
    """
    problem = None
    if not isinstance(given, Mapping):
        problem = f"gave {_kind(given)} instead of a dict"
    else:
        try:
            json.dumps(dict(given), allow_nan=False)
        except (TypeError, ValueError) as error:
            problem = f"gave what is not JSON ({error}); numbers, texts, lists and dicts are"
    _accuse(modality, "prepare", problem)


def check_spec(modality: Modality[Any]) -> None:
    """Raise, in the plugin's name, unless a prepared modality's `spec` is one."""
    _accuse(modality, "spec", _problem_of_spec(modality.spec))


def _problem_of_spec(spec: Any) -> str | None:
    if not isinstance(spec, Spec):
        return f"gave {_kind(spec)} instead of a Spec"
    domain: Any = spec.domain
    channels: Any = spec.channels
    if not isinstance(domain, Box | UnitSphere):
        return f"has the domain {domain!r} instead of a Box or a UnitSphere"
    if isinstance(domain, Box) and not _is_box(domain):
        return f"has the domain {domain}, which is no box from low to high"
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        return f"has {channels!r} channels"
    low, high = spec.value_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return f"has the value range {spec.value_range} instead of one from low to high"
    return None


def _is_box(box: Box) -> bool:
    pairs = list(zip(box.low, box.high, strict=False))
    return len(box.low) == len(box.high) > 0 and all(low < high for low, high in pairs)


def checked_lines(modality: Modality[Any], given: Any) -> Mapping[str, str]:
    """What `describe` gave, if that is texts by their names; else raise in the plugin's name."""
    if not isinstance(given, Mapping):
        _accuse(modality, "describe", f"gave {_kind(given)} instead of a dict")
    lines: Mapping[str, str] = given
    return lines


def check_observations(modality: Modality[Any], given: Any, count: int = 1) -> None:
    """Raise, in the plugin's name, unless this is what `observations` owes.

    Args:
        modality: prepared.
        given: what it made of as many signals.
        count: of signals.
    """
    _accuse(modality, "observations", _problem_of_observations(given, count))


def _problem_of_observations(given: Any, count: int) -> str | None:
    if not isinstance(given, Observations):
        return f"gave {_kind(given)} instead of Observations"
    parts: dict[str, Any] = {
        name: getattr(given, name) for name in ("values", "weights", "queries")
    }
    for name, part in parts.items():
        if not isinstance(part, Tensor):
            return f"gave {name} that are {_kind(part)} instead of a torch.Tensor"
        if part.dtype != torch.float32:
            return f"gave {name} of {part.dtype} instead of torch.float32: {name}.float()"
        if part.device.type != "cpu":
            return f"gave {name} on {part.device} instead of the CPU"
    if not bool(((given.weights >= 0) & given.weights.isfinite()).all()):
        return "gave weights below 0, or that are no finite numbers"
    problem = _problem_of_shapes(given, count)
    if problem is None and not bool(given.values[given.weights > 0].isfinite().all()):
        return "gave NaN or infinity as a value; what is missing has weight 0"
    return problem


def _problem_of_shapes(given: Observations, signals: int) -> str | None:
    values, weights, queries = (
        tuple(part.shape) for part in (given.values, given.weights, given.queries)
    )
    of = "one signal" if signals == 1 else f"{signals} signals"
    if len(values) != 3 or values[0] != signals:
        return f"gave values {values} of {of} instead of ({signals}, N, C)"
    count = values[1]
    if not count:
        return "gave no observations of a signal; what is not known has weight 0"
    if weights != (signals, count):
        return f"gave weights {weights} for values {values} instead of ({signals}, {count})"
    if len(queries) not in (2, 3) or queries[:-1] not in ((count,), (signals, count)):
        return (
            f"gave queries {queries} for values {values} instead of ({count}, Q) or "
            f"({signals}, {count}, Q)"
        )
    return None


def outside_range(modality: Modality[Any], observations: Observations) -> str | None:
    """A sentence if values lie more than the whole value range outside it, else None.

    A little outside is what unusual signals are; so far outside are values that were not scaled.

    Args:
        modality: prepared.
        observations: of one signal.
    """
    spec = modality.spec
    low, high = spec.value_range
    values = observations.values[observations.weights > 0]
    if not len(values) or (values.min() >= low - spec.peak and values.max() <= high + spec.peak):
        return None
    return (
        f"values of '{modality.name}' run from {float(values.min()):.4g} to "
        f"{float(values.max()):.4g}, far outside the range {low:g} to {high:g} that it declares: "
        "training may fail, and PSNR is of that range. observations should scale them."
    )


def check_predictions(
    modality: Modality[Any], network: Network, observations: Observations
) -> None:
    """Raise, in the plugin's name, unless `forward`, `loss` and metrics fit observations.

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


def check_metrics(modality: Modality[Any], observations: Observations) -> None:
    """Raise, in the plugin's name, unless each metric is a number for each signal.

    Args:
        modality: prepared.
        observations: of one whole signal.
    """
    named: Any = modality.metrics()
    for metric in named:
        if not isinstance(metric, Metric):
            raise accuse(type(modality), "metrics", f"gave {metric!r} instead of a Metric")
        found: Any = metric.compute(observations.known_values, observations)
        if not isinstance(found, Tensor) or found.shape != (1,):
            given = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else repr(found)
            problem = f"gave '{metric.name}', which is {given} of one signal, not a tensor (1,)"
            raise accuse(type(modality), "metrics", problem)


def _check_shape(modality: Modality[Any], member: str, given: Any, like: Tensor) -> None:
    found = tuple(given.shape) if isinstance(given, Tensor) else _kind(given)
    if found != (wanted := tuple(like.shape)):
        _accuse(modality, member, f"gave {found} of one signal instead of {wanted}")


def _kind(given: Any) -> str:
    return type(given).__name__


def _accuse(modality: Modality[Any], member: str, problem: str | None) -> None:
    if problem is not None:
        raise accuse(type(modality), member, problem)
