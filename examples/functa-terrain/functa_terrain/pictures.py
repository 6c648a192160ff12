"""The sheets that a report shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from functa_terrain.shading import Panel, Shading, save, sheet
from functa_terrain.tile import Heights, Scale, Tile

PREVIEWED = 24
"""Tiles on the sheet of the data."""
ACROSS = 6
"""In a row of it."""


@attrs.frozen
class Pictures:
    """Draws tiles of one run.

    Attributes:
        side: cells a side of a tile.
        usual_cell: metres from row to row and from column to column, where a tile does not say.
        exaggeration: how many times too steep slopes are.
    """

    side: int
    usual_cell: tuple[float, float]
    exaggeration: float

    def cell(self, tile: Tile | None, side: int) -> tuple[float, float]:
        """Size of a cell in metres, where a tile has `side` cells a side."""
        known = None if tile is None else tile.cell
        down, across = self.usual_cell if known is None else known
        return down * self.side / side, across * self.side / side

    def tile(self, path: Path, heights: Heights, cell: tuple[float, float], scale: Scale) -> None:
        """Write a PNG of one tile."""
        high = scale.metres(1.0)
        save(path, heights, Shading(scale.low, high, cell, self.exaggeration))

    def fits(
        self, path: Path, tiles: Sequence[Tile], fits: Sequence[Heights], fine: Sequence[Heights]
    ) -> None:
        """A row for each tile: target, fit, error, and the fit at a higher resolution."""
        rows = []
        for tile, fit, finer in zip(tiles, fits, fine, strict=True):
            error = fit - tile.heights
            rmse = float(np.sqrt(np.nanmean(np.square(error))))
            rows.append(
                [
                    self._panel(tile, tile.heights, f"{tile.low:.0f} to {_high(tile):.0f} m"),
                    self._panel(tile, fit, "fit"),
                    Panel(error, f"error, RMSE {rmse:.3g} m", None),
                    self._panel(tile, finer, f"fit, {len(finer)} cells a side"),
                ]
            )
        sheet(path, rows)

    def compared(
        self, path: Path, tiles: Sequence[Tile], columns: Mapping[str, Sequence[Heights]]
    ) -> None:
        """A row for each tile: as it is, and what others make of it."""
        sheet(
            path,
            [
                [self._panel(tile, tile.heights, "target")]
                + [self._panel(tile, made[i], name) for name, made in columns.items()]
                for i, tile in enumerate(tiles)
            ],
        )

    def some(self, path: Path, tiles: Sequence[Tile]) -> None:
        """A sheet of tiles, each with its range."""
        count = min(PREVIEWED, len(tiles))
        chosen = [tiles[i * len(tiles) // count] for i in range(count)]
        panels = [
            self._panel(tile, tile.heights, f"{tile.low:.0f} to {_high(tile):.0f} m")
            for tile in chosen
        ]
        across = min(ACROSS, count)
        panels = panels[: count // across * across]
        sheet(path, [panels[i : i + across] for i in range(0, len(panels), across)])

    def _panel(self, tile: Tile, heights: Heights, title: str) -> Panel:
        """Heights drawn on the tile's own scale."""
        cell = self.cell(tile, len(heights))
        return Panel(heights, title, Shading(tile.low, _high(tile), cell, self.exaggeration))


def _high(tile: Tile) -> float:
    return tile.scale.metres(1.0)
