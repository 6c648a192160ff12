"""The modality: what functa has to know about terrain.

`functa_core.Modality` documents every member, those too that have defaults and are not here.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from functa_core import (
    Artefact,
    Box,
    Dataset,
    Field,
    Metric,
    Modality,
    Observations,
    Spec,
    Split,
    State,
    UserError,
    grid,
    random_subset,
)
from jaxtyping import Float
from torch import Generator, Tensor

from functa_terrain import rasters
from functa_terrain.embedded import embedded
from functa_terrain.options import TerrainConfig
from functa_terrain.pictures import Pictures
from functa_terrain.reading import Collection, read
from functa_terrain.shading import CELL
from functa_terrain.tile import FLAT, Scale, Tile, turned


class Terrain(Modality[Tile]):
    """Digital elevation models. A signal is a `Tile`: heights in metres on a square of cells.

    The field maps (row, column) in the unit box, cell centres, to the height as a share of a
    range: that of the tile itself (`scaling="tile"`) or of the training data (`"data"`).
    """

    name = "terrain"
    api_version = 1
    Config = TerrainConfig
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "model": {"latent_dim": 128, "width": 96, "depth": 5, "w0": 20.0},
        "meta": {
            "solver": "gauss-newton",
            "steps": 1000,
            "batch_size": 16,
            "lr": 5e-4,
            "lr_final": 0.02,
        },
    }

    config: TerrainConfig

    @property
    def spec(self) -> Spec:
        """The unit square; shares of a range from 0 to 1, starting from the middle."""
        return Spec(Box((0.0, 0.0), (1.0, 1.0)), channels=1)

    @cached_property
    def _collection(self) -> Collection:
        """All tiles of the source: read once, for however many splits are asked for."""
        path = embedded() if self.source.path is None else self.source.path
        return read(path, self.config, self.source.skip_bad)

    def dataset(self, split: Split) -> Dataset[Tile]:
        """The tiles of one split: as an .npz says, else at random by the seed."""
        found = self._collection
        whole = Dataset(
            found.ids, found.tiles.__getitem__, notes=found.notes, is_test=found.is_test
        )
        return whole.split(split, self.source)

    def prepare(self, train: Dataset[Tile]) -> State:
        """Size of a tile, range of all training heights, and what is usual in a training tile."""
        tiles = list(train)
        cells = [tile.cell for tile in tiles if tile.cell is not None]
        low = min(tile.low for tile in tiles)
        high = max(tile.low + tile.span for tile in tiles)
        return {
            "label_names": [],
            "side": len(tiles[0].heights),
            "low": low,
            "span": high - low,
            "usual_span": float(np.median([tile.span for tile in tiles])),
            "usual_cell": np.median(cells, axis=0).tolist() if cells else None,
        }

    @property
    def _whole_scale(self) -> Scale:
        return Scale(self.state["low"], self.state["span"])

    def scale(self, tile: Tile) -> Scale:
        """What 0 and 1 of a tile mean in metres: with `scaling="data"` the same for all tiles."""
        return self._whole_scale if self.config.scaling == "data" else tile.scale

    def observations(
        self, signals: Sequence[Tile], generator: Generator | None = None
    ) -> Observations:
        """Cells as observations: one set of queries for all tiles.

        With a generator `config.points` cells are drawn, the same ones for the whole batch, of
        tiles that `config.turns` has turned at random.

        The weight of a cell is the square of its range in metres, or 0 where there is no height.
        Only ratios of weights within a signal count for losses and PSNR, so this changes neither;
        but a weighted squared error is one in square metres, which is what `rmse_m` reads.
        """
        side = self.state["side"]
        for i, tile in enumerate(signals):
            if tile.heights.shape != (side, side):
                raise UserError(
                    f"tile {i} of the batch has {tile.heights.shape} cells; this run takes "
                    f"({side}, {side})."
                )
        scales = [self.scale(tile) for tile in signals]
        heights = [tile.heights for tile in signals]
        if generator is not None and self.config.turns:
            which = torch.randint(8, (len(signals),), generator=generator).tolist()
            heights = [turned(each, way) for each, way in zip(heights, which, strict=True)]
        chosen = random_subset(side * side, self.config.points, generator)
        pairs = zip(heights, scales, strict=True)
        relief_BN = np.stack([s.relief(h.ravel()[chosen.numpy()]) for h, s in pairs])
        squares = np.array([[scale.span**2] for scale in scales], np.float32)
        return Observations(
            queries=grid((side, side))[chosen],
            values=torch.from_numpy(relief_BN.astype(np.float32)).unsqueeze(-1),
            weights=torch.from_numpy(np.isfinite(relief_BN) * squares),
        )

    def metrics(self) -> Sequence[Metric]:
        """The root of the mean squared error in metres."""
        return [Metric("rmse_m", "m", higher_is_better=False, compute=rmse_m)]

    def decode(self, field: Field, resolution: int | None = None) -> Float[Tensor, "B h h 1"]:
        """Tiles of `resolution` cells a side, or as many as in training.

        In metres with `scaling="data"`. Otherwise as shares of each tile's range, 0 to 1: a latent
        does not hold its two ends. `modality.scale(tile).metres(…)` puts them back.
        """
        with torch.no_grad():
            relief = super().decode(field, resolution or self.state["side"])
        if self.config.scaling == "data":
            return self._whole_scale.metres(relief)
        return relief.clamp(0, 1)

    def render(
        self, field: Field, out: Path, names: Sequence[str], resolution: int | None = None
    ) -> list[Artefact]:
        """A GeoTIFF of each tile, in the unit of `decode`, and a hill-shaded PNG.

        Where the range of a tile is not known, it is shaded as if it were the usual one of the
        training tiles.
        """
        absolute = self.config.scaling == "data"
        what = "height in m" if absolute else "share of the tile's range"
        usual = Scale(0.0, self.state["usual_span"])
        artefacts = []
        for name, tile in zip(names, self.decode(field, resolution).squeeze(-1), strict=True):
            numbers, picture = out / f"{name}.tif", out / f"{name}.png"
            heights = tile.float().numpy()
            cell = self._pictures.cell(None, len(heights))
            rasters.write(numbers, heights, cell, what)
            metres = heights if absolute else usual.metres(heights)
            self._pictures.tile(picture, metres, cell, self._whole_scale if absolute else usual)
            size = f"{len(heights)}×{len(heights)} cells"
            artefacts += [
                Artefact(numbers, "image/tiff", f"{name}: {what}, {size}."),
                Artefact(picture, "image/png", f"{name}, hill-shaded from its latent, {size}."),
            ]
        return artefacts

    @cached_property
    def _pictures(self) -> Pictures:
        side, cell = self.state["side"], self.state["usual_cell"]
        step = self.config.tile / side
        usual = (CELL * step, CELL * step) if cell is None else (cell[0], cell[1])
        return Pictures(side, usual, self.config.exaggeration)

    def _fits(self, signals: Sequence[Tile], field: Field, side: int) -> list[np.ndarray]:
        """What a field makes of tiles, in metres: an array (side, side) for each."""
        with torch.no_grad():
            relief = field(grid((side, side))).reshape(len(field), side, side).float().cpu().numpy()
        return [self.scale(t).metres(r) for t, r in zip(signals, relief, strict=True)]

    def figures(
        self, signals: Sequence[Tile], fields: Sequence[Field], out: Path
    ) -> list[Artefact]:
        """Target, fit, error in metres, and the fit at four times the resolution."""
        side, last = self.state["side"], fields[-1]
        fits, fine = (self._fits(signals, last, n * side) for n in (1, 4))
        path = out / "fits.png"
        self._pictures.fits(path, signals, fits, fine)
        caption = (
            f"Test tiles, hill-shaded; their fits after {len(fields) - 1} inner steps; the error "
            "in metres (red: too high); the fit at four times the resolution."
        )
        return [Artefact(path, "image/png", caption)]

    def compare(
        self, signals: Sequence[Tile], fields: Mapping[str, Field], out: Path
    ) -> list[Artefact]:
        """Tiles beside what several fields make of them."""
        side = self.state["side"]
        columns = {name: self._fits(signals, field, side) for name, field in fields.items()}
        path = out / "compared.png"
        self._pictures.compared(path, signals, columns)
        return [Artefact(path, "image/png", f"Tiles, hill-shaded, and: {', '.join(fields)}.")]

    def preview(self, signals: Dataset[Tile], out: Path) -> list[Artefact]:
        """Some training tiles, evenly spread over the data."""
        path = out / "tiles.png"
        self._pictures.some(path, signals)
        return [Artefact(path, "image/png", f"Some of {len(signals)} training tiles.")]

    def describe(self, signals: Dataset[Tile]) -> Mapping[str, str]:
        """Size of tiles and cells, range of heights, and what is missing."""
        tiles = list(signals)
        low = min(tile.low for tile in tiles)
        high = max(float(np.nanmax(tile.heights)) for tile in tiles)
        down, across = self._pictures.cell(None, self.state["side"])
        missing = np.mean([np.isnan(tile.heights).mean() for tile in tiles])
        flat = sum(float(np.nanmax(tile.heights)) == tile.low for tile in tiles)
        return {
            "tiles": f"{self.state['side']} cells a side, of {down:.4g} by {across:.4g} m each",
            "heights": f"{low:.6g} to {high:.6g} m",
            "cells without a height": f"{missing:.1%}",
            "tiles without relief": f"{flat}, which count as having {FLAT:g} m",
        }


def rmse_m(predicted: Float[Tensor, "B N 1"], observations: Observations) -> Float[Tensor, " B"]:
    """Root of the mean squared error in metres, over the cells of each tile that have a height.

    Weights are squares of ranges in metres, so that a weighted square is in square metres.
    """
    square = (predicted - observations.known_values).square().squeeze(-1)
    known = observations.weights > 0
    total = torch.where(known, square * observations.weights, 0.0).sum(dim=1)
    return (total / known.sum(dim=1).clamp_min(1)).sqrt()
