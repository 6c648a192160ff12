"""The modality `sphere`: fields on the unit sphere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from functa_core import (
    Artefact,
    Codec,
    Dataset,
    Field,
    Mask,
    Metric,
    Modality,
    Observations,
    Spec,
    Split,
    State,
    UnitSphere,
    UserError,
)
from functa_sphere.benchmarks import BENCHMARKS
from functa_sphere.codec import filled, jpeg2000
from functa_sphere.collection import Channel, Collection, Map, held_out, split_of
from functa_sphere.embedded import embedded
from functa_sphere.grids import Grid, HealpixGrid, LatLonGrid, grid_from
from functa_sphere.masks import MASKS
from functa_sphere.options import SphereConfig
from functa_sphere.output import Atlas
from functa_sphere.reading import read
from functa_sphere.sampling import draw_by_area
from functa_sphere.scaling import Scaling, runs_of
from functa_sphere.wanted import Wanted


class Sphere(Modality[Map]):
    """Fields on S². A signal is a `Map`: values (N, C) in their own units on a grid of N cells.

    The field maps unit vectors (cos φ cos λ, cos φ sin λ, sin φ) to C values, each scaled so that
    its range over the training fields is [0, 1].
    """

    name = "sphere"
    api_version = 1
    Config = SphereConfig
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "model": {"latent_dim": 128, "width": 96, "depth": 5, "w0": 10.0},
        "meta": {
            "solver": "gauss-newton",
            "steps": 1200,
            "batch_size": 16,
            "lr": 1e-3,
            "lr_final": 0.05,
            "chunk": 4096,
        },
        "tasks": {"impute": {"signals": 5}},
    }
    tasks = ("generate", "impute", "interpolate", "compress")
    benchmarks = BENCHMARKS

    config: SphereConfig

    @property
    def spec(self) -> Spec:
        """The unit sphere; values from 0 to 1 over the training range, starting from the middle."""
        return Spec(UnitSphere(), channels=len(self._channels))

    @cached_property
    def _channels(self) -> list[Channel]:
        return [Channel(**channel) for channel in self.state["channels"]]

    @cached_property
    def _grid(self) -> Grid:
        """That the run was trained on."""
        return grid_from(self.state["grid"])

    @cached_property
    def _scaling(self) -> Scaling:
        return Scaling.of(self.state["low"], self.state["high"])

    @cached_property
    def _collection(self) -> Collection:
        """All fields of the source: opened once, for however many splits are asked for."""
        wanted = Wanted(self.config, None if self._state is None else self._channels)
        path = embedded() if self.source.path is None else self.source.path
        return read(path, wanted, self.source.skip_bad)

    def dataset(self, split: Split) -> Dataset[Map]:
        """The fields of one split, all on one grid.

        Split as the data says; else by time, the last ones being held out; else by seed.
        """
        known = () if self._state is None else self._state["label_names"]
        return split_of(self._collection, split, self.source).relabelled(known)

    def prepare(self, train: Dataset[Map]) -> State:
        """Channels, their ranges over the training fields, the grid, and cells never seen.

        Raises:
            UserError: a channel has one value everywhere.
        """
        channels, grid = self._collection.channels, train[0].grid
        low, high = np.full(len(channels), np.inf), np.full(len(channels), -np.inf)
        seen = np.zeros(grid.count, bool)
        for signal in train:
            low = np.fmin(low, np.nanmin(signal.values, axis=0))
            high = np.fmax(high, np.nanmax(signal.values, axis=0))
            seen |= np.isfinite(signal.values).all(axis=1)
        for channel, a, b in zip(channels, low, high, strict=True):
            if not b > a:
                raise UserError(
                    f"'{channel.label}' is {a:g} everywhere in the training fields: there is "
                    "nothing to learn.\nChoose another variable, level or time."
                )
        return {
            "label_names": list(train.label_names),
            "channels": [attrs.asdict(channel) for channel in channels],
            "low": low.tolist(),
            "high": high.tolist(),
            "grid": grid.plain(),
            "unseen": runs_of(~seen),
        }

    def observations(
        self, signals: Sequence[Map], generator: Generator | None = None
    ) -> Observations:
        """Cells as observations: one set of queries for all signals, area as weight.

        A cell in which any channel has no value has weight 0. With a generator `config.points`
        cells are drawn by area, the same ones for the whole batch, and have weight 1.
        """
        grid = self._common_grid(signals)
        values = self._scaling.scaled(torch.from_numpy(np.stack([s.values for s in signals])))
        known = values.isfinite().all(dim=-1)
        areas = torch.from_numpy(grid.areas)
        queries = torch.from_numpy(grid.points).float()
        count = self.config.points
        if generator is None or count is None or count >= grid.count or not known.any():
            return Observations(queries, values, (areas * known).float())
        chosen = draw_by_area(areas * known.any(dim=0), count, generator)
        return Observations(queries[chosen], values[:, chosen], known[:, chosen].float())

    def _common_grid(self, signals: Sequence[Map]) -> Grid:
        """The grid of a batch, which need not be that of the training data."""
        grid = signals[0].grid
        for i, signal in enumerate(signals):
            expected = (signal.grid.count, len(self._channels))
            if signal.values.shape != expected:
                raise UserError(
                    f"field {i} of the batch has values of shape {signal.values.shape}.\n"
                    f"This run takes (cells, channels) of {expected}."
                )
            if signal.grid is not grid and not signal.grid.same_as(grid):
                raise UserError(
                    f"fields 0 and {i} of the batch have grids that differ: {grid.words()} and "
                    f"{signal.grid.words()}.\nEncode the fields of each grid on their own."
                )
        return grid

    def fitted(self, observations: Observations) -> Bool[Tensor, "B N"] | None:
        """`fit_points` cells of a larger grid, the same ones in every field, at random."""
        most = self.config.fit_points
        if most is None or most >= observations.count:
            return None
        places = torch.randperm(observations.count, generator=Generator().manual_seed(0))
        chosen = (places < most).to(observations.weights.device)
        return chosen.expand(len(observations), -1)

    def masks(self) -> Sequence[Mask]:
        """Half of the sphere or its poles hidden, or all but a satellite's swaths."""
        return MASKS

    def metrics(self) -> Sequence[Metric]:
        """Area-weighted RMSE of each channel in its own unit."""
        return [self._rmse(i, channel) for i, channel in enumerate(self._channels)]

    def _rmse(self, place: int, channel: Channel) -> Metric:
        name = "rmse" if len(self._channels) == 1 else f"rmse_{channel.key}"
        compute = partial(self._scaling.rmse, channel=place)
        return Metric(name, channel.units, higher_is_better=False, compute=compute)

    def raw(self, signals: Sequence[Map]) -> Float[Tensor, "B C *cells"]:
        """Scaled values on the grid; each field's mean where a cell has none."""
        values = filled(self.observations(signals))
        shape = signals[0].grid.shape
        return values.transpose(1, 2).reshape(len(values), -1, *shape)

    def codec(self) -> Codec | None:
        """JPEG 2000, where the run's grid is one of latitudes and longitudes."""
        return jpeg2000() if isinstance(self._grid, LatLonGrid) else None

    @cached_property
    def _atlas(self) -> Atlas:
        coastlines = self.config.coastlines
        return Atlas(
            channels=self._channels,
            scaling=self._scaling,
            grid=self._grid,
            unseen=self.state["unseen"],
            coastlines=isinstance(self._grid, LatLonGrid) if coastlines is None else coastlines,
        )

    def decode(self, field: Field, resolution: int | None = None) -> Float[Tensor, "B *cells C"]:
        """Fields in their own units, not cut to the range.

        Args:
            field: of B latents.
            resolution: latitudes of a regular grid with twice as many longitudes, from north to
                south and from 0° east: (B, h, w, C). None for the grid that the options ask for,
                or that of the training data, which may be HEALPix: (B, cells, C).
        """
        grid = self._grid_of(resolution)
        values = self._atlas.values(field, grid.points)
        return torch.from_numpy(values).reshape(len(field), *grid.shape, -1)

    def _grid_of(self, resolution: int | None) -> Grid:
        """What is decoded to where nobody says more: a resolution, the options, or the data's."""
        latitudes, longitudes = self.config.output_latitudes, self.config.output_longitudes
        if resolution is not None:
            return LatLonGrid.regular(resolution)
        if latitudes is None or longitudes is None:
            return self._grid
        return LatLonGrid.spanned(latitudes, longitudes)

    def render(
        self, field: Field, out: Path, names: Sequence[str], resolution: int | None = None
    ) -> list[Artefact]:
        """For each latent a map, a turning globe, and the values as NetCDF or a HEALPix map.

        The values are on the grid of the training data, on the one that the options ask for, or on
        `resolution` latitudes and twice as many longitudes. Cells that no training field has a
        value in are left empty.
        """
        grids = [self._grid_of(resolution)]
        nside = self.config.output_nside
        if nside is not None:
            sky = isinstance(grids[0], HealpixGrid)
            grids = [HealpixGrid(nside)] if sky else [*grids, HealpixGrid(nside)]
        artefacts = []
        for i, name in enumerate(names):
            artefacts += self._atlas.render(field[i : i + 1], out, name, grids)
        return artefacts

    def figures(self, signals: Sequence[Map], fields: Sequence[Field], out: Path) -> list[Artefact]:
        """Maps of target, fit and error; fits after each inner step; targets and fits as globes."""
        return self._atlas.figures(signals, fields, out)

    def compare(
        self, signals: Sequence[Map], fields: Mapping[str, Field], out: Path
    ) -> list[Artefact]:
        """Maps of signals beside what several fields make of them."""
        return [self._atlas.comparison(signals, fields, out / "compared.png")]

    def compare_masked(
        self,
        signals: Sequence[Map],
        visible: Sequence[Bool[Tensor, " _n"]],
        fields: Mapping[str, Field],
        out: Path,
    ) -> list[Artefact]:
        """Maps of what was observed, of completions with their errors where it was hidden, and of
        the truth.
        """
        seen = [cells.numpy() for cells in visible]
        return [self._atlas.completion(signals, seen, fields, out / "imputed.png")]

    def animate(self, fields: Mapping[str, Field], out: Path) -> list[Artefact]:
        """A GIF of maps, all ways one above the other, there and back."""
        return [self._atlas.animation(fields, out / "animation.gif")]

    def gallery(self, fields: Mapping[str, Field], out: Path) -> list[Artefact]:
        """A PNG with a column of maps for each set."""
        return [self._atlas.gallery(fields, out / "gallery.png")]

    def preview(self, signals: Dataset[Map], out: Path) -> list[Artefact]:
        """Maps of a few training fields."""
        return [self._atlas.preview(signals, out / "fields.png")]

    def describe(self, signals: Dataset[Map]) -> Mapping[str, str]:
        """Channels with their ranges, grid, missing cells, and how the split was made."""
        collection = self._collection
        ranges = [
            f"{channel.label} {low:.6g} to {high:.6g} {channel.units}".rstrip()
            for channel, low, high in zip(
                self._channels, self.state["low"], self.state["high"], strict=True
            )
        ]
        missing = np.mean([np.isnan(signals[i].values).any(axis=1).mean() for i in (0, -1)])
        lines = {
            "fields": f"{'; '.join(ranges)} (training range)",
            "grid": signals[0].grid.words(),
            "cells without a value": f"{missing:.1%}",
        }
        test = held_out(collection, self.source.test_fraction)
        if collection.is_test is None and test is not None:
            from functa_sphere.conventions import time_text  # and xarray

            times = collection.distinct_times
            pairs = zip(collection.times or (), test, strict=True)
            late = len({time for time, is_test in pairs if is_test})
            lines["split"] = (
                f"by time, the last {late} of {len(times)} for testing "
                f"({time_text(times[-late])} on)"
            )
        return lines
