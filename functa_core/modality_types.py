"""The small types that a modality speaks: domains, fields, pictures, figures, masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import attrs
from jaxtyping import Float
from torch import Generator, Tensor

from functa_core.observations import Observations

State = Mapping[str, Any]
"""What `Modality.prepare` returned: plain values, as in JSON."""


@attrs.frozen
class Box:
    """Coordinates in an axis-aligned box."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def dim(self) -> int:
        """The coordinate dimension D."""
        return len(self.low)


@attrs.frozen
class UnitSphere:
    """Coordinates that are unit vectors in three dimensions."""

    @property
    def dim(self) -> int:
        """The coordinate dimension D, 3."""
        return 3


@attrs.frozen
class Spec:
    """What the network and the metrics have to know.

    Attributes:
        domain: of the field's coordinates.
        channels: feature channels C of the field (not always those of the values: a radiance field
            has colour and density, its views have colour).
        value_range: lowest and highest value; its width is the peak of PSNR.
        output_offset: added to the network's last layer, so that it starts in mid-range.
    """

    domain: Box | UnitSphere
    channels: int
    value_range: tuple[float, float] = (0.0, 1.0)
    output_offset: float = 0.5

    @property
    def peak(self) -> float:
        """Width of the value range."""
        return self.value_range[1] - self.value_range[0]


@runtime_checkable
class Field(Protocol):
    """A function from coordinates to features, for B latents at once."""

    def __call__(self, coords: Float[Tensor, "*B N D"]) -> Float[Tensor, "B N C"]:
        """Features at coordinates shared by all latents (N, D), or at each one's own (B, N, D).

        Coordinates may lie on the CPU; features come on the field's own device.
        """
        ...

    def __len__(self) -> int:
        """The number of latents B."""
        ...

    def __getitem__(self, chosen: slice) -> Field:
        """The field of some of the latents."""
        ...


@attrs.frozen
class Artefact:
    """A file for people to look at.

    Attributes:
        path: where it was written.
        media_type: as in HTTP ("image/png", "image/gif"); the report embeds images that
            browsers show, audio and video, and links the rest.
        caption: one sentence that says what is to be seen.
    """

    path: Path
    media_type: str
    caption: str


@attrs.frozen
class Metric:
    """A named figure of a reconstruction beside PSNR.

    Attributes:
        name: key in metrics.json.
        unit: as printed ("", "dB", "K").
        higher_is_better: its direction.
        compute: (predicted (B, N, C), observations) → (B,). The observations are whole signals, in
            the order in which `Modality.observations` gives them without a generator.
    """

    name: str
    unit: str
    higher_is_better: bool
    compute: Callable[[Tensor, Observations], Tensor]


@attrs.frozen
class Codec:
    """A modality's obvious codec, for compressed latents to be compared with.

    Attributes:
        name: as people know it.
        settings: what to try, coarse to fine; a setting is a number or a word.
        code: (B signals, their whole observations on the CPU, setting) → the bits that each signal
            takes (B,), and what decoding them gives at the observations' queries (B, N, C).
        counts: a sentence on what these bits are of, and what is left out of them.
    """

    name: str
    settings: Sequence[float | str]
    code: Callable[
        [Sequence[Any], Observations, float | str],
        tuple[Float[Tensor, " B"], Float[Tensor, "B N C"]],
    ]
    counts: str


@attrs.frozen
class Published:
    """What a modality makes of the configuration of a published checkpoint.

    Attributes:
        options: of its `Config`, by name, those that the configuration decides.
        state: what `prepare` would have returned, had the weights been trained here.
        notes: what was not in the configuration and had to be assumed, one sentence each.
        batch_size: signals of an update in the authors' experiment, for a configuration without it.
    """

    options: Mapping[str, Any]
    state: State
    notes: Sequence[str] = ()
    batch_size: int = 16


@attrs.frozen
class Mask:
    """A named way to hide part of what was measured of signals.

    Attributes:
        name: key in metrics.json, in options and of the folder of its pictures.
        summary: what is seen and what is hidden, in a few words.
        visible: (signals, observations, generator) → (B, N) bool, True where observed. The
            observations are all that `Modality.observations` gives of these signals; whatever is
            random comes from the generator, and the same generator gives the same mask.
    """

    name: str
    summary: str
    visible: Callable[[Sequence[Any], Observations, Generator], Tensor]


Baseline = Callable[[Sequence[Any], Observations, Tensor], Tensor]
"""(signals, observations, visible (B, N)) → predicted values (B, N, C).

It may read the values where `visible` is True and the queries everywhere.
"""
