"""A published configuration as overrides of ours: the network and the two loops.

What the file does not say is taken from its parameters where they show it, and otherwise from the
authors' experiment as it was released (no revision changed any of these numbers).
"""

from __future__ import annotations

from typing import Any

from functa_core.errors import UserError
from functa_core.published.checkpoint import (
    RATES,
    START,
    Checkpoint,
    layer_name,
    map_layer_name,
)
from functa_core.published.constructors import short

Section = dict[str, Any]

DEFAULTS: dict[tuple[str, str], Any] = {
    ("model", "w0"): 30.0,
    ("model", "l2_weight"): 0.0,
    ("model", "noise_std"): 0.0,
    ("model", "meta_sgd_init_range"): (0.005, 0.1),
    ("model", "meta_sgd_clip_range"): (0.0, 1.0),
    ("training", "inner_steps"): 3,
    ("opt_inner", "lr"): 1e-2,
    ("opt_outer", "lr"): 3e-6,
}
MOST_INNER_STEPS = 1000
"""Of one fit; the authors' experiment has 3."""
STEPS = 500_000
"""Outer updates of the authors' experiment, which their checkpoints do not record."""


class Settings:
    """Our options, and what had to be assumed for them."""

    def __init__(self, checkpoint: Checkpoint, where: str, batch_size: int) -> None:
        self.checkpoint = checkpoint
        self.where = where
        self.batch_size = batch_size  # the authors', for such signals
        self.notes: list[str] = []

    def model(self) -> Section:
        """Options of section `model`."""
        return {
            "latent_dim": self._stated("latent_dim", self._size(START, 0)),
            "width": self._stated("width", self._size(f"{layer_name(0)}/w", 1)),
            "depth": self._stated("depth", self.checkpoint.depth),
            "map_hidden": self._stated("layer_sizes", self._map_hidden()),
            "modulate_scale": self._stated("modulate_scale", self._scales()),
            "w0": self._default("model", "w0"),
        }

    def meta(self) -> Section:
        """Options of section `meta`.

        Raises:
            UserError: what the configuration says cannot be carried over.
        """
        l2_weight = self._default("model", "l2_weight")
        start = self.checkpoint.params.get(START)
        if l2_weight != 0 and start is not None and start.any():
            raise UserError(
                f"{self.where} penalises latents (model.l2_weight {short(l2_weight)}) that do not "
                "start at 0; that cannot be carried over."
            )
        self.notes.append(
            f"The file does not say how long it was trained; meta.steps is {STEPS}, as in the "
            "authors' experiment."
        )
        return {
            "solver": "meta-sgd",
            "steps": STEPS,
            "inner_steps": self._inner_steps(),
            "batch_size": self._batch_size(),
            "lr": self._default("opt_outer", "lr"),
            "lr_final": 1.0,  # their Adam keeps its rate
            "clip": None,
            "l2_weight": l2_weight,
            "precision": "float32",  # of what was published, wherever it is looked at
            "latent_noise": self._default("model", "noise_std"),
            **self._rates(),
        }

    def _inner_steps(self) -> Any:
        """Steps of a fit.

        Raises:
            UserError: more than any experiment takes; what is too few is for `MetaConfig` to say.
        """
        steps = self._default("training", "inner_steps")
        if isinstance(steps, int | float) and steps > MOST_INNER_STEPS:
            raise UserError(
                f"{self.where}: training.inner_steps is {short(steps)}, but at most "
                f"{MOST_INNER_STEPS} can be imported."
            )
        return steps

    def _batch_size(self) -> Any:
        """What the configuration says, for one device, or the authors' value."""
        batch = self.checkpoint.get("training", "per_device_batch_size")
        if batch is not None:
            return batch
        self.notes.append(
            f"training.per_device_batch_size is not in the file; taken as {self.batch_size}, "
            "the authors'."
        )
        return self.batch_size

    def _rates(self) -> Section:
        """The range of the inner rates, wide enough for those there are."""
        rates = self.checkpoint.params.get(RATES)
        if rates is None:
            rate = self._default("opt_inner", "lr")
            self.notes.append(f"There are no learned inner rates; all of them are {short(rate)}.")
            high = max(1.0, rate) if isinstance(rate, int | float) else 1.0
            return {"rates_init": (rate, rate), "rates_clip": (0.0, high)}
        clip = self._default("model", "meta_sgd_clip_range")
        low, high = float(rates.min(initial=0)), float(rates.max(initial=0))
        pair = isinstance(clip, tuple | list) and len(clip) == 2
        if pair and all(isinstance(end, int | float) for end in clip):
            if low < clip[0] or high > clip[1]:
                self.notes.append(
                    f"Inner rates go from {low:.3g} to {high:.3g}, beyond the range "
                    f"{tuple(clip)} that the file names; the authors' inner loop does not clip "
                    "them, so meta.rates_clip is widened."
                )
            clip = (min(low, clip[0]), max(high, clip[1]))
        return {"rates_init": self._default("model", "meta_sgd_init_range"), "rates_clip": clip}

    def _default(self, section: str, key: str) -> Any:
        """What the configuration says, or the authors' value."""
        missing = object()
        value = self.checkpoint.get(section, key, missing)
        if value is not missing:
            return value
        self.notes.append(
            f"{section}.{key} is not in the file; taken as {DEFAULTS[section, key]}, the authors'."
        )
        return DEFAULTS[section, key]

    def _stated(self, key: str, shown: Any) -> Any:
        """What the configuration says, or what the parameters show."""
        missing = object()
        value = self.checkpoint.get("model", key, missing)
        if value is not missing:
            return value
        self.notes.append(f"model.{key} is not in the file; its parameters show {shown}.")
        return shown

    def _size(self, name: str, axis: int) -> int:
        """One side of a parameter.

        Raises:
            UserError: there is no such parameter, or it has no such side.
        """
        array = self.checkpoint.params.get(name)
        if array is None or array.ndim <= axis:
            raise UserError(f"{self.where} lacks the parameter {name}, or it has the wrong shape.")
        return int(array.shape[axis])

    def _map_hidden(self) -> tuple[int, ...]:
        count = self.checkpoint.map_depth - 1
        return tuple(self._size(f"{map_layer_name(i)}/b", 0) for i in range(count))

    def _scales(self) -> bool:
        """Whether the map gives two numbers for each unit."""
        units = self._size(f"{layer_name(0)}/w", 1) * (self.checkpoint.depth - 1)
        last = f"{map_layer_name(self.checkpoint.map_depth - 1)}/b"
        return self._size(last, 0) == 2 * units
