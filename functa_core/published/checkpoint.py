"""Published weights as the tensors of our learner.

Their names are Haiku's: a module path and "w" or "b". Weights are (in, out) there, (out, in) here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from functa_core.errors import UserError
from functa_core.meta.learner import MetaConfig
from functa_core.modality import Spec
from functa_core.networks.siren import SirenConfig
from functa_core.published.constructors import short, to_float32

Shape = tuple[int, ...]

ROOT = "latent_modulated_siren/"
START = ROOT + "~/latent_vector/latent_vector"
RATES = ROOT + "~/meta_sgd_lrs/meta_sgd_lrs"
LAYER = re.compile(ROOT + r"modulated_siren_layer(?:_(\d{1,3}))?/linear/w")
MAP_LAYER = re.compile(ROOT + r"~/latent_to_modulation/~/mlp/~/linear_(\d{1,3})/w")
MOST_LAYERS = 1000
LONGEST = 1000
"""Characters of a text, or entries of a list, in a configuration."""
OUTPUT_OFFSET = 0.5
"""What their last layer adds (and ours, unless a modality says otherwise)."""


@attrs.frozen(eq=False)
class Checkpoint:
    """Parameters and configuration of a published checkpoint, checked as far as both go alone.

    Attributes:
        params: "module/name" → float32 array in native byte order.
        config: plain nested values.
    """

    params: Mapping[str, np.ndarray]
    config: Mapping[str, Any]

    @classmethod
    def of(cls, tree: Any, where: str) -> Checkpoint:
        """From what the file holds.

        Raises:
            UserError: that is no checkpoint, or one of another network.
        """
        params, config = tree["params"], tree["config"]
        if not isinstance(params, dict) or not isinstance(config, dict):
            raise UserError(f"{where}: 'params' and 'config' must both be mappings.")
        checkpoint = cls(dict(_flat(params, where)), _plain(config, where))
        kind = checkpoint.get("model", "type", "latent_modulated_siren")
        if kind != "latent_modulated_siren":
            raise UserError(
                f"{where} holds a network of type {short(kind)}; "
                "only latent_modulated_siren can be imported."
            )
        if checkpoint.get("model", "modulate_shift", True) is not True:
            raise UserError(f"{where} modulates scales without shifts, which is not supported.")
        return checkpoint

    def get(self, section: str, key: str, default: Any = None) -> Any:
        """One entry of the configuration, wherever a part of it may be missing."""
        values = self.config.get(section)
        return values.get(key, default) if isinstance(values, Mapping) else default

    @property
    def depth(self) -> int:
        """Layers of the network, by their names."""
        return 1 + max(_indices(LAYER, self.params), default=0)

    @property
    def map_depth(self) -> int:
        """Layers of the map from latents to modulations, by their names."""
        return 1 + max(_indices(MAP_LAYER, self.params), default=0)


def layer_name(index: int) -> str:
    """Their name of layer `index` of the network."""
    return f"{ROOT}modulated_siren_layer{f'_{index}' if index else ''}/linear"


def map_layer_name(index: int) -> str:
    """Their name of layer `index` of the map from latents to modulations."""
    return f"{ROOT}~/latent_to_modulation/~/mlp/~/linear_{index}"


def expected_shapes(spec: Spec, model: SirenConfig) -> dict[str, Shape]:
    """Every parameter but the rates, which a checkpoint may do without, and its shape."""
    hidden = [model.width] * (model.depth - 1)
    modulations = model.width * (model.depth - 1) * (2 if model.modulate_scale else 1)
    sizes = [spec.domain.dim, *hidden, spec.channels]
    map_sizes = [model.latent_dim, *model.map_hidden, modulations]
    shapes: dict[str, Shape] = {START: (model.latent_dim,)}
    for name, widths in ((layer_name, sizes), (map_layer_name, map_sizes)):
        for i in range(len(widths) - 1):
            shapes[f"{name(i)}/w"] = (widths[i], widths[i + 1])
            shapes[f"{name(i)}/b"] = (widths[i + 1],)
    return shapes


def check_shapes(checkpoint: Checkpoint, spec: Spec, model: SirenConfig, where: str) -> None:
    """Raise a `UserError` unless all parameters are there, no others, finite and of their shape."""
    if model.depth > MOST_LAYERS:
        raise UserError(f"{where}: its configuration asks for {model.depth} layers.")
    shapes = expected_shapes(spec, model)
    if RATES in checkpoint.params or checkpoint.get("model", "use_meta_sgd", False) is True:
        shapes[RATES] = (model.latent_dim,)
    missing = [name for name in shapes if name not in checkpoint.params]
    extra = [name for name in checkpoint.params if name not in shapes]
    for word, names in (("lacks", missing), ("has", extra)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(
                f"{where} {word} the parameter {names[0][:120]!a}{more}; "
                f"its configuration asks for {model.depth} layers and {len(model.map_hidden) + 1} "
                "from latents to modulations."
            )
    for name, shape in shapes.items():
        found = checkpoint.params[name].shape
        if found != shape:
            raise UserError(
                f"{where}: parameter {name} has shape {found}, but its configuration asks for "
                f"{shape}."
            )
        if not np.isfinite(checkpoint.params[name]).all():
            raise UserError(f"{where}: parameter {name} holds NaN or infinity as float32.")


def learner_tensors(
    checkpoint: Checkpoint, spec: Spec, model: SirenConfig, meta: MetaConfig, where: str
) -> dict[str, Tensor]:
    """Our learner's tensors by name, which compute what the published ones compute.

    The start of their inner loop, z₀, goes into the first bias of the latent's map, because ours
    starts at 0: W(z + z₀) + b = Wz + (Wz₀ + b). So our latents are theirs minus z₀.

    Args:
        checkpoint: of the shapes that `check_shapes` wants.
        spec: of the modality.
        model: of the checkpoint.
        meta: with the rates' range; where there are no learned rates it is a single rate.
        where: the file, for errors.

    Raises:
        UserError: moving the start overflows float32.
    """
    params = checkpoint.params
    tensors = {}
    for i in range(model.depth):
        tensors[f"network.layers.{i}.weight"] = params[f"{layer_name(i)}/w"].T
        tensors[f"network.layers.{i}.bias"] = params[f"{layer_name(i)}/b"]
    last = f"network.layers.{model.depth - 1}.bias"
    tensors[last] = tensors[last] + np.float32(OUTPUT_OFFSET - spec.output_offset)
    for i in range(len(model.map_hidden) + 1):
        tensors[f"network.to_modulations.{2 * i}.weight"] = params[f"{map_layer_name(i)}/w"].T
        tensors[f"network.to_modulations.{2 * i}.bias"] = params[f"{map_layer_name(i)}/b"]
    shift = params[START].astype(np.float64) @ params[f"{map_layer_name(0)}/w"]
    tensors["network.to_modulations.0.bias"] = tensors["network.to_modulations.0.bias"] + shift
    fixed = np.full(model.latent_dim, meta.rates_init[0])
    tensors["solver.rates"] = params.get(RATES, fixed)
    found = {name: torch.tensor(array, dtype=torch.float32) for name, array in tensors.items()}
    for name, tensor in found.items():
        if not tensor.isfinite().all():
            raise UserError(f"{where}: {name}, computed from its parameters, overflows float32.")
    return found


def _flat(params: Mapping[str, Any], where: str) -> Iterator[tuple[str, np.ndarray]]:
    """(module/name, array) of two nested mappings."""
    for module, inner in params.items():
        if not isinstance(inner, dict):
            raise UserError(f"{where}: parameter {module[:60]!a} is no mapping of arrays.")
        for key, array in inner.items():
            name = f"{module}/{key}"
            if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
                raise UserError(f"{where}: parameter {name[:120]!a} is no array of numbers.")
            yield name, to_float32(array)


def _plain(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The configuration with arrays of one number as that number."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, np.ndarray) and value.size == 1:
            found[key] = value.item()
        elif isinstance(value, Mapping):
            found[key] = _plain(value, where)
        elif _is_plain(value):
            found[key] = value
        else:
            raise UserError(f"{where}: the configuration's {key[:60]!a} is no plain value.")
    return found


def _is_plain(value: Any) -> bool:
    """Whether this can be shown to people and compared with options."""
    if isinstance(value, str):
        return len(value) <= LONGEST
    if isinstance(value, list | tuple):
        scalars = all(not isinstance(one, list | tuple) and _is_plain(one) for one in value)
        return len(value) <= LONGEST and scalars
    return value is None or isinstance(value, bool | int | float)


def _indices(pattern: re.Pattern[str], names: Mapping[str, Any]) -> list[int]:
    """The layers that parameters are of; the first has no number."""
    return [int(match.group(1) or 0) for name in names if (match := pattern.fullmatch(name))]
