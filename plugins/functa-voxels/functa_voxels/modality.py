"""The modality `voxels`: solid shapes as occupancy fields.

What draws, writes or reads shapes is imported where it is used: trimesh takes more than a second to
import, and most commands do not need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Generator, Tensor

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
    State,
    UserError,
    grid,
)
from functa_voxels.benchmarks import BENCHMARKS
from functa_voxels.codec import packed_bits
from functa_voxels.config import VoxelsConfig
from functa_voxels.embedded import embedded
from functa_voxels.masks import masks
from functa_voxels.measures import METRICS
from functa_voxels.sampling import cells_near_surface, fixed_cells, random_cells

Shape = np.ndarray
"""(r, r, r) of booleans, or of numbers that are 0 or 1: whether a cell is filled."""
LEAST_PROBABILITY = 1e-6
"""Probabilities are cut off here, so that one cell that is surely wrong costs 14 nats, not ∞."""

FIGURE_SHAPES = 6
FINEST = 96
"""Cells a side of the finest grid in pictures: nearly a million for each shape."""
DESCRIBED = 256
"""Shapes of a split that `describe` looks at."""


class Voxels(Modality[Shape]):
    """Solid shapes in the unit cube. A signal is an array (r, r, r) of 0 and 1.

    The field maps (x, y, z), the centres of cells in the array's order of axes, to how filled the
    place is: 1 inside, 0 outside, the surface at 0.5.
    """

    name = "voxels"
    api_version = 1
    Config = VoxelsConfig
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "model": {"latent_dim": 128, "width": 96, "depth": 5, "w0": 20.0},
        "meta": {
            "solver": "gauss-newton",
            "steps": 1600,
            "batch_size": 12,
            "lr": 5e-4,
            "lr_final": 0.05,
        },
        # Convolutions in three dimensions take long.
        "tasks": {"classify": {"steps": 100}, "impute": {"signals": 5}},
    }
    tasks = ("generate", "impute", "interpolate", "classify", "compress")
    benchmarks = BENCHMARKS

    config: VoxelsConfig

    @property
    def spec(self) -> Spec:
        """The unit cube; one channel, the occupancy, or its logit, which starts at 0."""
        return Spec(
            domain=Box((0.0,) * 3, (1.0,) * 3),
            channels=1,
            output_offset=0.0 if self._is_bernoulli else 0.5,
        )

    @property
    def _is_bernoulli(self) -> bool:
        return self.config.loss == "bernoulli"

    @property
    def _side(self) -> int:
        """Cells a side of the shapes of this run."""
        return int(self.state["resolution"])

    @cached_property
    def _everything(self) -> Dataset[Shape]:
        """All shapes of the source: read once, for however many splits are asked for."""
        from functa_voxels.reading import read

        side = self.config.resolution if self._state is None else self._side
        path = embedded() if self.source.path is None else self.source.path
        return read(path, side, self.config.labels, self.source.skip_bad, self.source.keep)

    def dataset(self, split: Split) -> Dataset[Shape]:
        """The shapes of one split, all of one size, held in memory with a bit for each cell."""
        known = () if self._state is None else self._state["label_names"]
        return self._everything.relabelled(known).split(split, self.source)

    def prepare(self, train: Dataset[Shape]) -> State:
        """The class names and the resolution."""
        return {"label_names": list(train.label_names), "resolution": len(train[0])}

    def observations(
        self, signals: Sequence[Shape], generator: Generator | None = None
    ) -> Observations:
        """Cells as observations: one set of queries for all shapes.

        With a generator `config.points` cells are drawn, the same ones for the whole batch, so
        that the queries stay shared. Weights are 1, unless cells near surfaces are preferred.
        Without, they are all cells, or `config.scored_points` random ones, always the same.
        """
        shapes = np.stack([self._checked(i, signal) for i, signal in enumerate(signals)])
        count, points = self._side**3, self.config.points
        share = self.config.near_surface
        if share and generator is not None and points is not None and points < count:
            batch = torch.from_numpy(shapes)
            chosen, weights = cells_near_surface(batch, points, share, generator)
        elif generator is not None:
            chosen, weights = random_cells(count, points, generator)
        else:
            chosen = self._scored
            weights = torch.ones(len(chosen))
        values = shapes.reshape(len(shapes), -1)[:, chosen.numpy()].astype(np.float32)
        return Observations(
            queries=grid((self._side,) * 3)[chosen],
            values=torch.from_numpy(values)[..., None],
            weights=weights.expand(len(shapes), -1).contiguous(),
        )

    def _checked(self, index: int, signal: Shape) -> Bool[np.ndarray, "r r r"]:
        """A signal as booleans.

        Raises:
            UserError: it has another size, or values other than 0 and 1.
        """
        filled = signal if signal.dtype == np.bool_ else signal == 1
        if signal.shape != (self._side,) * 3 or not (filled | (signal == 0)).all():
            raise UserError(
                f"shape {index} of the batch has shape {signal.shape} and type {signal.dtype}.\n"
                f"This run takes arrays {(self._side,) * 3} of 0 and 1."
            )
        return filled

    def forward(
        self,
        field: Field,
        queries: Float[Tensor, "*B N 3"],
        generator: Generator | None = None,
    ) -> Float[Tensor, "B N 1"]:
        """Occupancies: the field itself, or its sigmoid where it is a logit."""
        return field(queries).sigmoid() if self._is_bernoulli else field(queries)

    def loss(
        self, predicted: Float[Tensor, "B N 1"], values: Float[Tensor, "B N 1"]
    ) -> Float[Tensor, "B N"]:
        """Squared error, or the cross-entropy in nats of a filled cell's probability."""
        if not self._is_bernoulli:
            return super().loss(predicted, values)
        known = predicted.clamp(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        return F.binary_cross_entropy(known, values, reduction="none").mean(dim=-1)

    def metrics(self) -> Sequence[Metric]:
        """Intersection over union, and the share of cells that are told right, at 0.5."""
        return METRICS

    def fitted(self, observations: Observations) -> Bool[Tensor, "B N"] | None:
        """`fit_points` random cells, the same ones for all shapes, so that queries stay shared."""
        points, count = self.config.fit_points, observations.count
        if points is None or points >= count:
            return None
        chosen = torch.zeros(count, dtype=torch.bool, device=observations.weights.device)
        chosen[fixed_cells(count, points)] = True
        return chosen.expand(len(observations), -1)

    def raw(self, signals: Sequence[Shape]) -> Float[Tensor, "B 1 r r r"]:
        """Shapes as floats, 1 where a cell is filled and 0 elsewhere."""
        return torch.from_numpy(np.stack(signals).astype(np.float32))[:, None]

    def codec(self) -> Codec:
        """A bit for each cell, compressed without loss."""
        return packed_bits()

    def masks(self) -> Sequence[Mask]:
        """Halves of the grid, and what a scanner in front of a shape sees."""
        return masks(self.config.up, self._scored)

    @property
    def _scored(self) -> Tensor:
        """Places of the cells that evaluations look at, in a flat grid."""
        return fixed_cells(self._side**3, self.config.scored_points)

    def decode(self, field: Field, resolution: int | None = None) -> Float[Tensor, "B r r r"]:
        """Occupancies from 0 to 1 at the centres of `resolution`³ cells; None: the native ones."""
        side = resolution or self._side
        with torch.no_grad():
            values = self.forward(field, grid((side,) * 3))
        return values.clamp(0, 1).float().cpu().reshape(len(field), side, side, side)

    def render(
        self, field: Field, out: Path, names: Sequence[str], resolution: int | None = None
    ) -> list[Artefact]:
        """For each latent its surface as GLB and STL, and a PNG of it from two sides.

        Args:
            field: of B latents.
            out: an existing folder.
            names: B file stems.
            resolution: cells a side of marching cubes; None for the native ones.
        """
        from functa_voxels.meshing import write_meshes
        from functa_voxels.pictures import write_views

        artefacts: list[Artefact] = []
        for i, name in enumerate(names):
            (occupancy,) = self.decode(field[i : i + 1], resolution).numpy()
            artefacts.append(write_views(occupancy, self.config.up, out / f"{name}.png"))
            artefacts += write_meshes(occupancy, self.config.up, out, name)
        return artefacts

    def figures(
        self, signals: Sequence[Shape], fields: Sequence[Field], out: Path
    ) -> list[Artefact]:
        """Two PNGs: targets beside fits and beside finer ones; and fits after each inner step."""
        from functa_voxels.pictures import write_fits, write_steps

        count = min(len(signals), FIGURE_SHAPES)
        targets = [np.asarray(signal, np.float32) for signal in signals[:count]]
        steps = [self.decode(field[:count]).numpy() for field in fields]
        fine = self.decode(fields[-1][:count], self._finer).numpy()
        rows = [(f"test shape {i + 1}", targets[i], steps[-1][i], fine[i]) for i in range(count)]
        ways = [(targets[i], [fits[i] for fits in steps]) for i in range(count)]
        return [
            write_fits(rows, self.config.up, out / "fits.png"),
            write_steps(ways, self.config.up, out / "steps.png"),
        ]

    def compare_masked(
        self,
        signals: Sequence[Shape],
        visible: Sequence[Bool[Tensor, " _n"]],
        fields: Mapping[str, Field],
        out: Path,
    ) -> list[Artefact]:
        """A PNG: the filled cells that were seen, completions with their IoU, the truth."""
        from functa_voxels.pictures import write_masked

        fits = {name: self.decode(field).numpy() for name, field in fields.items()}
        cells = self._scored.numpy()
        seen = np.zeros((len(signals), self._side**3), bool)
        for row, shown in zip(seen, visible, strict=True):
            row[cells] = shown.numpy()
        shapes = [np.asarray(signal, np.float32) for signal in signals]
        grids = list(seen.reshape(-1, *shapes[0].shape))
        return [write_masked(shapes, grids, fits, self.config.up, out / "imputed.png")]

    def animate(self, fields: Mapping[str, Field], out: Path) -> list[Artefact]:
        """A GIF of all ways side by side, and for each a zip of one GLB mesh a frame."""
        from functa_voxels.animations import write_animation, write_mesh_sequence

        ways = {name: self.decode(field).numpy() for name, field in fields.items()}
        up = self.config.up
        return [
            write_animation(out / "animation.gif", ways, up),
            *(
                write_mesh_sequence(out / f"{name}-meshes.zip", shapes, up, name)
                for name, shapes in ways.items()
            ),
        ]

    def gallery(self, fields: Mapping[str, Field], out: Path) -> list[Artefact]:
        """A PNG with a column of shapes for each set."""
        from functa_voxels.pictures import write_gallery

        sets = {name: self.decode(field).numpy() for name, field in fields.items()}
        return [write_gallery(sets, self.config.up, out / "gallery.png")]

    @property
    def _finer(self) -> int:
        """Cells a side of pictures that show the field between the cells it was fitted to."""
        return max(self._side, min(4 * self._side, FINEST))

    def describe(self, signals: Dataset[Shape]) -> Mapping[str, str]:
        """Size of the grid, how full the shapes are, and how meshes would be understood."""
        chosen = range(0, len(signals), max(1, len(signals) // DESCRIBED))
        full = [float(signals[i].mean()) for i in chosen]
        side = len(signals[0])
        return {
            "grid": f"{side}x{side}x{side} cells",
            "filled": f"{min(full):.1%} to {max(full):.1%} of the cells of a shape",
        }

    def preview(self, signals: Dataset[Shape], out: Path) -> list[Artefact]:
        """A sheet of training shapes, evenly taken from the set."""
        from functa_voxels.pictures import PREVIEW_COLUMNS, PREVIEW_ROWS, write_preview

        count = min(len(signals), PREVIEW_COLUMNS * PREVIEW_ROWS)
        chosen = [i * len(signals) // count for i in range(count)]
        labels = signals.labels
        known = [-1 if labels is None else labels[i] for i in chosen]
        names = [
            signals.label_names[label] if label >= 0 else signals.ids[i]
            for label, i in zip(known, chosen, strict=True)
        ]
        shapes = [(n, signals[i].astype(np.float32)) for n, i in zip(names, chosen, strict=True)]
        return [write_preview(shapes, self.config.up, out / "shapes.png")]
