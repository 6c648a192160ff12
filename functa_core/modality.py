"""The seam: what a modality plugin supplies.

A modality is everything the core does not know: what the signals are, where they are measured,
what turns a field into measured values, and what people look at. A plugin subclasses `Modality`;
the core never asks which one it holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from functa_core.benchmark import Benchmark
from functa_core.coordinates import grid, sphere_grid
from functa_core.dataset import Dataset, DataSource, Split
from functa_core.modality_types import (
    Artefact,
    Baseline,
    Box,
    Codec,
    Field,
    Mask,
    Metric,
    Published,
    Spec,
    State,
    UnitSphere,
)
from functa_core.observations import Observations

__all__ = [
    "API_VERSION",
    "Artefact",
    "Baseline",
    "Box",
    "Codec",
    "Field",
    "Mask",
    "Metric",
    "Modality",
    "Published",
    "Spec",
    "State",
    "UnitSphere",
    "seeded",
]

API_VERSION = 1
"""Version of this contract. A modality written for another one is refused with that reason."""

S = TypeVar("S")


class Modality(ABC, Generic[S]):
    """What a plugin supplies. `S` is its own type for one signal, which the core only passes on.

    An object has two lives. `Modality(config, source)` lists and loads data and prepares itself;
    `Modality(config, source, state)`, with the state that `prepare` returned, can also make
    observations and pictures. It is never changed after construction.

    Required: `name`, `api_version`, `Config`, `spec`, `dataset`, `observations`, `render`. The rest
    has the defaults documented here.
    """

    name: ClassVar[str]
    """What `--modality` takes, and the name of the entry point."""
    api_version: ClassVar[int]
    """The `API_VERSION` this modality was written for."""
    Config: ClassVar[type]
    """A frozen attrs class: this modality's options, made with `functa_core.options.option`."""
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Overrides of the core's defaults: {"model": {...}, "meta": {...}, "tasks": {...}}."""
    tasks: ClassVar[Sequence[str]] = ()
    """Names of the tasks that `functa run` does beside reconstruction."""
    benchmarks: ClassVar[Mapping[str, Benchmark]] = {}
    """Sizes that `functa bench --config NAME` measures, by name."""

    def __init__(self, config: Any, source: DataSource, state: State | None = None) -> None:
        self.config = config
        self.source = source
        self._state = state

    @classmethod
    def from_published(cls, config: Mapping[str, Any]) -> Published | None:
        """Recognise the configuration of a published checkpoint (google-deepmind/functa).

        Args:
            config: plain nested values from a stranger's file: sections such as "dataset", "model"
                and "training", any of which, and any key, may be missing or of the wrong type.

        Returns:
            What follows from it for this modality, or None if it is not of this modality.

        Raises:
            UserError: it is of this modality, but says what cannot be.

        Default: None.
        """
        return None

    @property
    def state(self) -> State:
        """What `prepare` returned, from wherever it was kept."""
        if self._state is None:
            raise RuntimeError(f"modality '{self.name}' is used before it was prepared")
        return self._state

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """Domain, channels and value range; needs the prepared state."""

    @abstractmethod
    def dataset(self, split: Split) -> Dataset[S]:
        """The signals of one split of `self.source`, in file order.

        All that can be wrong with the user's files is found here: a `UserError`, before anything
        is written.
        """

    def prepare(self, train: Dataset[S]) -> State:
        """What is learned from the training data itself (scales, grid, cameras), as JSON.

        Kept with the run and with functasets and given back to every later command, which never
        derives it again. Default: the label names.
        """
        return {"label_names": list(train.label_names)}

    @abstractmethod
    def observations(
        self, signals: Sequence[S], generator: Generator | None = None
    ) -> Observations:
        """B signals as observations, on the CPU.

        With a generator: a random part, for one training step. Without: all of them, the same at
        every call. Raises `UserError` for a signal that does not fit the prepared state.
        """

    def forward(
        self,
        field: Field,
        queries: Float[Tensor, "*B N Q"],
        generator: Generator | None = None,
    ) -> Float[Tensor, "B N C"]:
        """The forward operator: measured values from the field. Default: the field at the queries.

        With a generator it may add noise to its own sampling. Without one it is deterministic, and
        each query's value is independent of the other queries it came with.
        """
        return field(queries)

    def loss(
        self, predicted: Float[Tensor, "B N C"], values: Float[Tensor, "B N C"]
    ) -> Float[Tensor, "B N"]:
        """Loss of each observation; the core takes the weighted mean over a signal's N.

        Default: the squared error, mean over channels.
        """
        return (predicted - values).square().mean(dim=-1)

    def metrics(self) -> Sequence[Metric]:
        """Figures beside PSNR, which the core always computes. Default: none."""
        return ()

    def fitted(self, observations: Observations) -> Bool[Tensor, "B N"] | None:
        """Observations that a fit after training uses; figures are of all of them all the same.

        Default: None, all. A modality with far more observations than a latent has numbers can
        leave most of them out here and lose little but time.
        """
        return None

    def held_out(
        self, signals: Sequence[S], observations: Observations
    ) -> Bool[Tensor, "B N"] | None:
        """Observations that the evaluation of test signals hides from the fit and scores.

        Args:
            signals: B of them.
            observations: all that `observations` gives of these signals.

        Default: None, nothing is hidden and the fit is scored on what it saw.
        """
        return None

    def masks(self) -> Sequence[Mask]:
        """Named ways to hide part of a signal, to be imputed from the rest. Default: none."""
        return ()

    def baselines(self, train: Dataset[S]) -> Mapping[str, Baseline]:
        """What to compare with when signals do not share their queries. Default: nothing.

        Where they share them the core itself compares with the mean, the nearest training signal
        and PCA.
        """
        return {}

    def raw(self, signals: Sequence[S]) -> Float[Tensor, "B C *shape"] | None:
        """Signals as arrays on a grid of 1, 2 or 3 axes, for baselines that work on raw data.

        Args:
            signals: B of them.

        Returns:
            Finite numbers on the CPU, channels first, of one shape for all signals of a run.

        Default: None, no such baselines.
        """
        return None

    def codec(self) -> Codec | None:
        """The obvious codec of such data, for compressed latents to be compared with.

        Default: None.
        """
        return None

    def decode(self, field: Field, resolution: int | None = None) -> Float[Tensor, "B *shape"]:
        """Signals as plain arrays at a resolution, as the network gives them or cut to the range.

        Default: the field on a grid of `resolution` (64 if None) cells a side of a box, or as many
        latitudes and twice as many longitudes of a sphere.
        """
        side = resolution or 64
        domain = self.spec.domain
        shape: tuple[int, ...]
        if isinstance(domain, UnitSphere):
            shape, coords = (side, 2 * side), sphere_grid(side, 2 * side)
        else:
            shape = (side,) * domain.dim
            coords = grid(shape, domain.low, domain.high)
        return field(coords).reshape(len(field), *shape, -1).cpu()

    @abstractmethod
    def render(
        self, field: Field, out: Path, names: Sequence[str], resolution: int | None = None
    ) -> list[Artefact]:
        """Write what people look at, one or more files for each of the field's B latents.

        Args:
            field: of B latents.
            out: an existing folder.
            names: B file stems.
            resolution: in the modality's own unit (pixels a side, say); None for the native one.
        """

    def figures(self, signals: Sequence[S], fields: Sequence[Field], out: Path) -> list[Artefact]:
        """Pictures for the report: signals beside their fits after 0, 1, … inner steps.

        Args:
            signals: B test signals.
            fields: one field of B latents for each number of inner steps, from 0.
            out: an existing folder.

        Default: `render` of the last field.
        """
        return self.render(fields[-1], out, [f"fit-{i}" for i in range(len(signals))])

    def compare(
        self, signals: Sequence[S], fields: Mapping[str, Field], out: Path
    ) -> list[Artefact]:
        """Pictures of signals beside what several fields make of them.

        Args:
            signals: B of them.
            fields: of B latents each, by a few words that say what is special about them.
            out: an existing folder.

        Default: none.
        """
        return []

    def compare_masked(
        self,
        signals: Sequence[S],
        visible: Sequence[Bool[Tensor, " _n"]],
        fields: Mapping[str, Field],
        out: Path,
    ) -> list[Artefact]:
        """Pictures of what was observed of signals, what fields make of it, and the truth.

        Args:
            signals: B of them.
            visible: for each signal which of its observations were seen, in the order of
                `observations([signal])`.
            fields: of B latents each, by a few words that say what is special about them.
            out: an existing folder.

        Default: `compare`, which does not show what was hidden.
        """
        return self.compare(signals, fields, out)

    def animate(self, fields: Mapping[str, Field], out: Path) -> list[Artefact]:
        """The way from one signal to another, as animations or sequences of files.

        Args:
            fields: ways side by side, by what is special about them; the F latents of each are
                its F frames, in order.
            out: an existing folder.

        Default: `render` of every frame.
        """
        return [
            artefact
            for way, field in fields.items()
            for artefact in self.render(field, out, [f"{way}-{i:03d}" for i in range(len(field))])
        ]

    def features(self, decoded: Float[Tensor, "B *shape"]) -> Float[Tensor, "B F"] | None:
        """Features by which sets of decoded signals are compared (Fréchet distance, for one).

        Args:
            decoded: what `decode` gave of B latents.

        Default: None, they are compared by the decoded numbers.
        """
        return None

    def set_distances(
        self, samples: Float[Tensor, "n *shape"], held_out: Float[Tensor, "m *shape"]
    ) -> Mapping[str, float]:
        """Figures of one's own that compare generated signals with held-out ones, by name.

        Args:
            samples, held_out: what `decode` gave of generated and of held-out latents.

        Default: none.
        """
        return {}

    def gallery(self, fields: Mapping[str, Field], out: Path) -> list[Artefact]:
        """Pictures of several sets of signals side by side, each below its name.

        Args:
            fields: of B latents each, by what they are ("flow"); nothing connects the i-th latents.
            out: an existing folder.

        Default: none, and what `render` writes of each signal is shown instead.
        """
        return []

    def describe(self, signals: Dataset[S]) -> Mapping[str, str]:
        """Lines for `functa inspect` beside those the core prints. Default: none."""
        return {}

    def preview(self, signals: Dataset[S], out: Path) -> list[Artefact]:
        """Pictures of the data itself, before anything is fitted to it.

        For `functa inspect --out` and for the report, where they show whether the data was read as
        it was meant.

        Args:
            signals: of the training split, at least one.
            out: an existing folder.

        Default: none.
        """
        return []


def seeded(seed: int, device: torch.device | str = "cpu") -> Generator:
    """A generator of its own for each use, so that nothing depends on the order of draws."""
    return Generator(device=device).manual_seed(seed)
