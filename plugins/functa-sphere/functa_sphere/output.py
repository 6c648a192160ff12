"""What fields are drawn and written as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import attrs
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64

from functa_core import Artefact, Dataset, Field
from functa_sphere.collection import Channel, Map
from functa_sphere.grids import Grid, HealpixGrid, NearestCell
from functa_sphere.pictures import (
    Panel,
    Row,
    write_changing_maps,
    write_globes,
    write_sheet,
)
from functa_sphere.scaling import Scaling, mask_of
from functa_sphere.views import View, mollweide, plate

MAP_PIXELS = 180
"""Height of a map."""
GLOBE_ROWS = 180
"""Rows of the raster that a globe is drawn from: a degree each."""
MOST_ROWS, MOST_GLOBES = 6, 4
PREVIEWED, ACROSS = 9, 3
"""Training fields of the preview, and how many of them side by side."""
EQUAL_AREA = " Mollweide projection, areas in proportion."


@attrs.frozen(eq=False, slots=False)
class Atlas:
    """Draws and writes fields of one run.

    Attributes:
        channels: C of them.
        scaling: from what the network gives to their units.
        grid: of the training data.
        unseen: runs of the cells that no training field has a value in.
        coastlines: whether maps show them.
    """

    channels: Sequence[Channel]
    scaling: Scaling
    grid: Grid
    unseen: Sequence[Sequence[int]]
    coastlines: bool

    def values(
        self, field: Field, points: Float64[np.ndarray, "n 3"]
    ) -> Float32[np.ndarray, "B n C"]:
        """The field at points, in its own units."""
        with torch.no_grad():
            found = field(torch.from_numpy(np.ascontiguousarray(points)).float())
        return self.scaling.own(found).numpy()

    def known_values(
        self, field: Field, points: Float64[np.ndarray, "n 3"]
    ) -> Float32[np.ndarray, "B n C"]:
        """The field at points, NaN where no training field had a value: there it is made up."""
        values = self.values(field, points)
        if self.unseen or self._regional:
            cell = self._nearest(points)
            values[:, (cell < 0) | self._unseen_cells[cell]] = np.nan
        return values

    @cached_property
    def _regional(self) -> bool:
        return bool(self.grid.areas.sum() < 0.99 * 4 * np.pi)

    @cached_property
    def _nearest(self) -> NearestCell:
        return NearestCell(self.grid)

    @cached_property
    def _unseen_cells(self) -> Bool[np.ndarray, " n"]:
        return mask_of(self.unseen, self.grid.count)

    @cached_property
    def _map(self) -> View:
        return mollweide(MAP_PIXELS)

    @cached_property
    def _plate(self) -> View:
        return plate(GLOBE_ROWS)

    def render(self, field: Field, out: Path, name: str, grids: Sequence[Grid]) -> list[Artefact]:
        """One latent as a map, a globe and files of values on each grid."""
        view = self._map
        values = self.known_values(field, view.points[view.inside])[0]
        rows = [
            Row(channel.label, channel.units, [Panel(view.picture(values[:, c]))])
            for c, channel in enumerate(self.channels)
        ]
        write_sheet(out / f"{name}.png", view, rows, self.coastlines)
        plate = self._plate
        seen = self.known_values(field, plate.points[plate.inside])[0]
        rasters = [plate.picture(column) for column in seen.T]
        limits = [(float(np.nanmin(r)), float(np.nanmax(r))) for r in rasters]
        write_globes(out / f"{name}.gif", [rasters], limits, self.coastlines)
        labels = ", ".join(channel.label for channel in self.channels)
        artefacts = [
            Artefact(out / f"{name}.png", "image/png", f"{name}: {labels}, equal-area map."),
            Artefact(out / f"{name}.gif", "image/gif", f"{name}: {labels}, once around."),
        ]
        return artefacts + [self._write(field, out, name, grid) for grid in grids]

    def _write(self, field: Field, out: Path, name: str, grid: Grid) -> Artefact:
        """The values of one latent on a grid."""
        from functa_sphere.healpix import write_healpix
        from functa_sphere.writing import write_netcdf

        values = self.known_values(field, grid.points)[0]
        if isinstance(grid, HealpixGrid):
            path = out / f"{name}.fits"
            write_healpix(path, values, self.channels)
            return Artefact(path, "application/fits", f"{name}: values on {grid.words()}.")
        path = out / f"{name}.nc"
        write_netcdf(path, values, grid, self.channels)
        return Artefact(path, "application/x-netcdf", f"{name}: values on {grid.words()}.")

    def figures(self, signals: Sequence[Map], fields: Sequence[Field], out: Path) -> list[Artefact]:
        """Maps of targets, fits and errors, of fits after each inner step, and globes."""
        steps = {f"{k} step{'' if k == 1 else 's'}": field for k, field in enumerate(fields)}
        few = signals[:MOST_GLOBES]
        return [
            self._fits(signals[:MOST_ROWS], fields[-1], out / "fits.png"),
            self.comparison(few, steps, out / "steps.png"),
            self._globes(few, fields[-1][: len(few)], out / "globes.gif"),
        ]

    def _fits(self, signals: Sequence[Map], field: Field, path: Path) -> Artefact:
        """A row for each signal and channel: target, fit and error."""
        rows = []
        for i, signal in enumerate(signals):
            target, fit = self._given(signal, self._map), self._fit(field, i, signal, self._map)
            # The error is taken at the cells: between them the target has no values.
            error = self._painted(
                self._fit_cells(field, i, signal) - signal.values, signal, self._map
            )
            for c in self._pictured(len(signals)):
                score = self._score(signal, field, i, c)
                named = [("target", target), (f"fit: {score}", fit), ("fit - target", error)]
                panels = [
                    Panel(self._map.picture(values[:, c]), title, signed=values is error)
                    for title, values in named
                ]
                rows.append(Row(self.channels[c].label, self.channels[c].units, panels))
        write_sheet(path, self._map, rows, self.coastlines)
        caption = "Test fields, their fits with PSNR and area-weighted RMSE, and the error."
        return Artefact(path, "image/png", caption + EQUAL_AREA)

    def comparison(
        self, signals: Sequence[Map], fields: Mapping[str, Field], path: Path
    ) -> Artefact:
        """A row for each signal: itself, and what each field makes of its first channel."""
        rows = []
        for i, signal in enumerate(signals):
            panels = [Panel(self._map.picture(self._given(signal, self._map)[:, 0]), "target")]
            for name, field in fields.items():
                values = self._fit(field, i, signal, self._map)[:, 0]
                title = f"{name}: {self._score(signal, field, i, 0)}"
                panels.append(Panel(self._map.picture(values), title))
            rows.append(Row(self.channels[0].label, self.channels[0].units, panels))
        write_sheet(path, self._map, rows, self.coastlines)
        caption = f"Fields beside what {', '.join(fields)} give, all in the target's colours."
        return Artefact(path, "image/png", caption + EQUAL_AREA)

    def completion(
        self,
        signals: Sequence[Map],
        seen: Sequence[Bool[np.ndarray, " _n"]],
        fields: Mapping[str, Field],
        path: Path,
    ) -> Artefact:
        """A row for each signal: the cells that were seen, completions, and all cells."""
        rows = []
        for i, (signal, cells) in enumerate(zip(signals, seen, strict=True)):
            truth = self._map.picture(self._given(signal, self._map)[:, 0])
            known = np.where(cells[:, None], signal.values, np.float32(np.nan))
            observed = self._map.picture(self._painted(known, signal, self._map)[:, 0])
            panels = [Panel(observed, "observed")]
            for name, field in fields.items():
                values = self._map.picture(self._fit(field, i, signal, self._map)[:, 0])
                panels.append(Panel(values, f"{name}: {self._score(signal, field, i, 0, ~cells)}"))
            ends = float(np.nanmin(truth)), float(np.nanmax(truth))
            panels.append(Panel(truth, "truth"))
            rows.append(Row(self.channels[0].label, self.channels[0].units, panels, ends))
        write_sheet(path, self._map, rows, self.coastlines)
        caption = (
            f"What was observed of test fields (grey is hidden), completions ({', '.join(fields)}) "
            "with PSNR and RMSE where it was hidden, and the truth."
        )
        return Artefact(path, "image/png", caption + EQUAL_AREA)

    def animation(self, fields: Mapping[str, Field], path: Path) -> Artefact:
        """Maps of the first channel that change, one for each way from one field to another."""
        view = self._map
        points = view.points[view.inside]
        ways = [
            [view.picture(frame[:, 0]) for frame in self.known_values(field, points)]
            for field in fields.values()
        ]
        write_changing_maps(path, view, ways, self.coastlines)
        caption = f"{self.channels[0].label}, from one field to another: {', '.join(fields)}."
        return Artefact(path, "image/gif", caption + EQUAL_AREA)

    def gallery(self, fields: Mapping[str, Field], path: Path) -> Artefact:
        """A column of maps of the first channel for each set, all in the training range."""
        low = float(self.scaling.low[0])
        ends = (low, low + float(self.scaling.width[0]))
        view = self._map
        points = view.points[view.inside]
        sets = [(name, self.known_values(field, points)[..., 0]) for name, field in fields.items()]
        rows = [
            Row(
                self.channels[0].label,
                self.channels[0].units,
                [Panel(view.picture(values[i]), name) for name, values in sets],
                ends,
            )
            for i in range(len(sets[0][1]))
        ]
        write_sheet(path, view, rows, self.coastlines)
        caption = f"Fields, a column each: {', '.join(fields)}."
        return Artefact(path, "image/png", caption + EQUAL_AREA)

    def preview(self, signals: Dataset[Map], path: Path) -> Artefact:
        """A few training fields, evenly spread over the set."""
        count = min(PREVIEWED, len(signals))
        places = np.linspace(0, len(signals) - 1, count).round().astype(int).tolist()
        rows = []
        for c in self._pictured(count // ACROSS):
            panels = [
                Panel(
                    self._map.picture(self._given(signals[i], self._map)[:, c]), _name(signals, i)
                )
                for i in places
            ]
            low = float(self.scaling.low[c])
            ends = (low, low + float(self.scaling.width[c]))
            channel = self.channels[c]
            rows += [
                Row(channel.label, channel.units, panels[start : start + ACROSS], ends)
                for start in range(0, count, ACROSS)
            ]
        write_sheet(path, self._map, rows, self.coastlines)
        return Artefact(path, "image/png", "Training fields as they were read." + EQUAL_AREA)

    def _globes(self, signals: Sequence[Map], field: Field, path: Path) -> Artefact:
        """Targets above their fits, turning."""
        view = self._plate
        targets = [view.picture(self._given(signal, view)[:, 0]) for signal in signals]
        fits = [view.picture(self._fit(field, i, s, view)[:, 0]) for i, s in enumerate(signals)]
        limits = [(float(np.nanmin(t)), float(np.nanmax(t))) for t in targets]
        write_globes(path, [targets, fits], limits, self.coastlines)
        caption = f"{self.channels[0].label}: test fields (above) and their fits (below)."
        return Artefact(path, "image/gif", caption)

    def _pictured(self, signals: int) -> range:
        """The channels that a sheet of so many signals has room for."""
        return range(min(len(self.channels), max(1, 2 * MOST_ROWS // max(signals, 1))))

    def _given(self, signal: Map, view: View) -> Float32[np.ndarray, "n C"]:
        """A signal's own values in the cells that a view shows, NaN where it has none."""
        return self._painted(signal.values, signal, view)

    def _painted(
        self, cells: Float32[np.ndarray, "N C"], signal: Map, view: View
    ) -> Float32[np.ndarray, "n C"]:
        """Values of the cells of a signal's grid at the points inside a view."""
        places = self._nearest if signal.grid.same_as(self.grid) else NearestCell(signal.grid)
        chosen = places(view.points[view.inside])
        values: Float32[np.ndarray, "n C"] = cells[chosen]
        values[chosen < 0] = np.nan
        return values

    def _fit(self, field: Field, place: int, signal: Map, view: View) -> Float32[np.ndarray, "n C"]:
        """What one latent gives at the points of a view, where the signal has values."""
        points = view.points[view.inside]
        found: Float32[np.ndarray, "n C"] = self.values(field[place : place + 1], points)[0]
        found[np.isnan(self._given(signal, view))] = np.nan
        return found

    def _fit_cells(self, field: Field, place: int, signal: Map) -> Float32[np.ndarray, "N C"]:
        """What one latent gives at the cells of a signal's grid."""
        points = signal.grid.points
        found: Float32[np.ndarray, "N C"] = self.values(field[place : place + 1], points)[0]
        return found

    def _score(
        self,
        signal: Map,
        field: Field,
        place: int,
        channel: int,
        cells: Bool[np.ndarray, " _n"] | None = None,
    ) -> str:
        """PSNR and RMSE of a channel of a fit, under the cells' areas; None for all cells."""
        fit = self._fit_cells(field, place, signal)[:, channel]
        error = np.square(fit.astype(float) - signal.values[:, channel])
        known = np.isfinite(error) if cells is None else np.isfinite(error) & cells
        mean = float(np.average(error[known], weights=signal.grid.areas[known]))
        peak = float(self.scaling.width[channel])
        psnr = -10 * np.log10(max(mean / peak**2, 1e-10))
        unit = self.channels[channel].units
        return f"{psnr:.1f} dB, {np.sqrt(mean):.3g} {unit}".rstrip()


def _name(signals: Dataset[Map], place: int) -> str:
    """A signal's id, and its class if it has one."""
    if signals.labels is None or signals.labels[place] < 0:
        return signals.ids[place]
    return f"{signals.ids[place]} ({signals.label_names[signals.labels[place]]})"
