"""A stranger's modality: one-dimensional clips of unequal length, made from nothing.

Clips are padded to the longest of their batch. The padding holds NaN, because nobody may read it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from functa_core import (
    Artefact,
    Box,
    Codec,
    Dataset,
    Field,
    Mask,
    Metric,
    Modality,
    Observations,
    Spec,
    Split,
    UserError,
    hookimpl,
    option,
    random_subset,
)

EVENTS: list[Any] = []
RAW_SAMPLES = 16


@attrs.frozen
class ClipsConfig:
    """Options."""

    points: int | None = option(24, "samples of a clip in a training step", low=1)
    longest: int = option(48, "samples of the longest embedded clip", low=8)
    bars: int = option(0, "equal parts of a clip, every third of which is held out; 0 for none")


class Clips(Modality[np.ndarray]):
    """Sums of two sines; the class is which of the two is louder."""

    name = "clips"
    api_version = 1
    Config = ClipsConfig
    recipe = {  # noqa: RUF012
        "model": {"latent_dim": 6, "width": 16, "depth": 3, "w0": 10.0},
        "tasks": {"impute": {"prior": "gaussian"}},
        "meta": {"steps": 30, "batch_size": 4, "lr": 1e-3, "checkpoint_every": 10, "log_every": 5},
    }

    tasks = ("views", "impute", "interpolate")

    @property
    def spec(self) -> Spec:
        return Spec(Box((0.0,), (1.0,)), channels=1, value_range=(-1.0, 1.0), output_offset=0.0)

    def dataset(self, split: Split) -> Dataset[np.ndarray]:
        if self.source.path is None:
            clips, labels = _made(self.config.longest)
        else:
            clips, labels = _read(self.source.path)
        known = Dataset(
            ids=[str(i) for i in range(len(clips))],
            load=lambda i: clips[i],
            labels=labels,
            label_names=("low", "high"),
        )
        return known.split(split, self.source)

    def observations(
        self, signals: Sequence[np.ndarray], generator: torch.Generator | None = None
    ) -> Observations:
        parts = [
            random_subset(len(clip), self.config.points, generator).numpy() for clip in signals
        ]
        longest = max(map(len, parts))
        queries = torch.zeros(len(signals), longest, 1)
        values = torch.full((len(signals), longest, 1), torch.nan)
        weights = torch.zeros(len(signals), longest)
        groups = torch.full((len(signals), longest), -1)
        for i, (clip, part) in enumerate(zip(signals, parts, strict=True)):
            place = slice(0, len(part))
            queries[i, place, 0] = torch.from_numpy((part + 0.5) / len(clip)).float()
            values[i, place, 0] = torch.from_numpy(clip[part])
            weights[i, place] = 1.0
            groups[i, place] = torch.from_numpy(part * self.config.bars // len(clip))
        return Observations(queries, values, weights, groups if self.config.bars else None)

    def held_out(
        self, signals: Sequence[np.ndarray], observations: Observations
    ) -> torch.Tensor | None:
        return None if observations.groups is None else observations.groups % 3 == 2

    def masks(self) -> Sequence[Mask]:
        def first_half(
            signals: Sequence[np.ndarray], observations: Observations, _: torch.Generator
        ) -> torch.Tensor:
            return observations.queries[..., 0] < 0.5

        def scattered(
            signals: Sequence[np.ndarray], observations: Observations, generator: torch.Generator
        ) -> torch.Tensor:
            seen = torch.rand(observations.weights.shape, generator=generator) < 0.5
            seen[:, 0], seen[:, 1] = True, False
            return seen

        return [
            Mask("first-half", "the first half is heard", first_half),
            Mask("scattered", "half of the samples are heard", scattered),
        ]

    def metrics(self) -> Sequence[Metric]:
        def worst(predicted: torch.Tensor, observed: Observations) -> torch.Tensor:
            error = (predicted - observed.known_values).abs()[..., 0]
            return (error * (observed.weights > 0)).amax(dim=1)

        return [Metric("worst", "V", False, worst)]

    def raw(self, signals: Sequence[np.ndarray]) -> torch.Tensor:
        places = np.linspace(0, 1, RAW_SAMPLES)
        rows = [np.interp(places, np.linspace(0, 1, len(clip)), clip) for clip in signals]
        return torch.from_numpy(np.stack(rows).astype(np.float32))[:, None]

    def codec(self) -> Codec:
        return Codec("rounding", (2, 8), _rounded, "bits of the samples, nothing else")

    def features(self, decoded: torch.Tensor) -> torch.Tensor:
        """How loud a clip is at each frequency."""
        return torch.fft.rfft(decoded.flatten(1)).abs()

    def render(
        self, field: Field, out: Path, names: Sequence[str], resolution: int | None = None
    ) -> list[Artefact]:
        made = []
        for name, row in zip(names, self.decode(field, resolution), strict=True):
            path = out / f"{name}.csv"
            np.savetxt(path, row.numpy())
            made.append(Artefact(path, "text/csv", f"clip {name}"))
        return made

    def compare(
        self, signals: Sequence[np.ndarray], fields: Mapping[str, Field], out: Path
    ) -> list[Artefact]:
        path = out / "compared.csv"
        decoded = torch.cat([self.decode(field)[:, :, 0] for field in fields.values()])
        np.savetxt(path, decoded.numpy(), header=", ".join(fields))
        return [Artefact(path, "text/csv", f"{len(signals)} clips: {', '.join(fields)}")]

    def compare_masked(
        self,
        signals: Sequence[np.ndarray],
        visible: Sequence[torch.Tensor],
        fields: Mapping[str, Field],
        out: Path,
    ) -> list[Artefact]:
        path = out / "imputed.csv"
        heard = [int(seen[: len(clip)].sum()) for clip, seen in zip(signals, visible, strict=True)]
        np.savetxt(path, np.array([heard]), header=", ".join(fields))
        return [Artefact(path, "text/csv", f"{len(signals)} clips, imputed")]


def _made(longest: int) -> tuple[list[np.ndarray], list[int]]:
    rng = np.random.default_rng(0)
    clips, labels = [], []
    for i in range(24):
        length = int(rng.integers(longest // 2, longest + 1))
        time = (np.arange(length) + 0.5) / length
        label = i % 2
        loud = np.sin(2 * np.pi * (1 + 2 * label) * time + rng.uniform(0, 6))
        clips.append((0.6 * loud + 0.3 * np.cos(4 * np.pi * time)).astype(np.float32))
        labels.append(label)
    return clips, labels


def _rounded(
    signals: Sequence[np.ndarray], observations: Observations, setting: float | str
) -> tuple[torch.Tensor, torch.Tensor]:
    bits = torch.tensor([float(int(setting) * len(clip)) for clip in signals])
    levels = 2 ** int(setting) - 1
    return bits, (observations.known_values * levels / 2).round() * 2 / levels


def _read(path: Path) -> tuple[list[np.ndarray], list[int]]:
    if not path.is_file():
        raise UserError(f"there is no file of clips at {path}.")
    with np.load(path) as file:
        clips = [file[name].astype(np.float32) for name in sorted(file.files)]
    return clips, [0] * len(clips)


@hookimpl
def functa_modalities() -> Sequence[type[Modality[Any]]]:
    return [Clips]


@hookimpl
def functa_event(event: Any) -> None:
    EVENTS.append(event)
