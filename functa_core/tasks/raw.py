"""Raw arrays of a dataset, and a convolutional network to classify them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from functa_core.dataset import Dataset
from functa_core.latents.training import ClassifierNetwork, dropout
from functa_core.modality import Modality

MOST_KEPT = 2.5e8
"""Numbers (1 GB) up to which arrays are kept in memory; larger sets are read again and again."""
PART = 64
"""Signals that are read at once."""
STATISTICS_OF = 1000
"""Signals, evenly spread, that a channel's mean and standard deviation are of."""
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
WIDEST = 512


class RawArrays:
    """Signals as arrays (C, *shape), read a few at a time."""

    def __init__(self, modality: Modality[Any], signals: Dataset[Any]) -> None:
        self.modality, self.signals = modality, signals
        first = modality.raw([signals[0]])
        if first is None:
            raise ValueError("the modality has no raw arrays")
        if not 3 <= first.ndim <= 5:
            raise ValueError(f"raw arrays have 1, 2 or 3 axes; these are {tuple(first.shape[2:])}")
        self.shape = tuple(first.shape[1:])
        self._kept: Tensor | None = None
        if len(signals) * first.numel() <= MOST_KEPT:
            self._kept = self[torch.arange(len(signals))]

    @property
    def rank(self) -> int:
        """Axes beside the channels."""
        return len(self.shape) - 1

    def __len__(self) -> int:
        """The number of signals n."""
        return len(self.signals)

    def __getitem__(self, places: Tensor) -> Float[Tensor, "B C *shape"]:
        """The arrays at some places."""
        if self._kept is not None:
            return self._kept[places]
        parts = []
        for few in torch.split(places, PART):
            raw = self.modality.raw([self.signals[int(i)] for i in few])
            assert raw is not None
            parts.append(raw)
        return torch.cat(parts)

    def in_parts(self) -> Iterator[Float[Tensor, "B C *shape"]]:
        """All of them, some at a time."""
        for few in torch.split(torch.arange(len(self)), PART):
            yield self[few]

    def evenly(self, most: int) -> Float[Tensor, "m C *shape"]:
        """At most so many of them, evenly spread over the set."""
        return self[self.places(most)]

    def places(self, most: int) -> Int[Tensor, " m"]:
        """Where those of `evenly` are."""
        return torch.linspace(0, len(self) - 1, min(most, len(self))).round().long()


@attrs.frozen
class ConvolutionSize:
    """Of a convolutional network.

    Attributes:
        rank: 1, 2 or 3 axes.
        channels: of the arrays.
        classes: K.
        width: channels after the first of its three layers; the others double it.
    """

    rank: int
    channels: int
    classes: int
    width: int

    @property
    def parameters(self) -> int:
        """Of the network, all layers, normalisations and biases."""
        kernel, widths = int(3**self.rank), self.widths
        layers = pairwise([self.channels, *widths])
        last = widths[-1]
        return sum(kernel * a * b + 3 * b for a, b in layers) + (last + 1) * self.classes

    @property
    def widths(self) -> list[int]:
        """Channels after each layer."""
        return [self.width, 2 * self.width, 4 * self.width]

    @classmethod
    def nearest(cls, shape: tuple[int, ...], classes: int, parameters: int) -> ConvolutionSize:
        """The size with the nearest number of parameters.

        Args:
            shape: of an array: channels, then 1 to 3 axes.
            classes: K.
            parameters: wanted.
        """
        sizes = [cls(len(shape) - 1, shape[0], classes, width) for width in range(1, WIDEST)]
        return min(sizes, key=lambda size: abs(math.log(size.parameters / parameters)))


class Convolutional(ClassifierNetwork):
    """Three convolutions of stride 2, each normalised over its item, then the mean over places."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        size: ConvolutionSize,
        mean: Float[Tensor, " C"],
        std: Float[Tensor, " C"],
        drop: float,
    ) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[size.rank - 1]
        widths = [size.channels, *size.widths]
        self.layers = nn.ModuleList(
            convolution(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for width in size.widths)
        self.last = nn.Linear(widths[-1], size.classes)
        self.drop = drop
        ones = (1,) * size.rank
        self.register_buffer("mean", mean.reshape(-1, *ones))
        self.register_buffer("std", std.reshape(-1, *ones))

    def forward(
        self, items: Float[Tensor, "B C *shape"], generator: Generator | None = None
    ) -> Float[Tensor, "B K"]:
        """Logits of raw arrays."""
        values = (items - self.mean) / self.std
        for layer, norm in zip(self.layers, self.norms, strict=True):
            values = F.gelu(norm(layer(values)))
        logits: Tensor = self.last(dropout(values.flatten(2).mean(dim=2), self.drop, generator))
        return logits


def channel_statistics(arrays: RawArrays) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
    """Mean and standard deviation of each channel over training arrays; 1 where that is 0."""
    places = arrays.places(STATISTICS_OF)
    origin = arrays[places[:1]][0].flatten(1)[:, :1].double()  # so that a constant has variance 0
    first = second = torch.zeros(len(origin), dtype=torch.float64)
    for few in torch.split(places, PART):  # all of them at once may be more than fits in memory
        values = arrays[few].transpose(0, 1).flatten(1) - origin
        share = len(few) / len(places)
        first = first + share * values.mean(dim=1)
        second = second + share * values.square().mean(dim=1)
    std = (second - first.square()).clamp_min(0).sqrt()
    return (first + origin[:, 0]).float(), torch.where(std > 0, std, 1.0).float()
