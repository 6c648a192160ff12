"""Cutting a grid of heights into tiles."""

from typing import Protocol, runtime_checkable

import attrs
import numpy as np
from functa_core import UserError

from functa_terrain.options import TerrainConfig
from functa_terrain.tile import Heights, Tile, reduced

HIGHEST = 30_000.0
"""Metres up or down beyond which a height is taken for a mark of missing data."""
MARK = -9999.0
"""The usual mark, which a file should call one."""


@runtime_checkable
class Grid(Protocol):
    """A file or an array, read square by square."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    @property
    def cell(self) -> tuple[float, float] | None:
        """Metres from row to row and from column to column, or None."""
        ...

    def read(self, row: int, column: int, side: int) -> Heights:
        """A square of heights in metres, NaN where there is none."""
        ...


@attrs.frozen
class Cut:
    """What became of one grid.

    Attributes:
        ids: one for each tile: the grid's own, and the tile's row and column if there are several.
        tiles: reduced.
        empty: number of tiles without any height, which are left out.
        remainder: whether rows or columns are left over.
    """

    ids: list[str]
    tiles: list[Tile]
    empty: int
    remainder: bool


def cut(name: str, grid: Grid, options: TerrainConfig) -> Cut:
    """Tiles from the north-west corner on, row by row.

    Raises:
        UserError: the grid is smaller than a tile, or has heights that cannot be.
    """
    side = options.tile
    rows, columns = (size // side for size in grid.shape)
    if not rows or not columns:
        raise UserError(
            f"{name} has {grid.shape[0]}×{grid.shape[1]} cells, and a tile {side}×{side}.\n"
            "Smaller tiles are had with --set modality.tile=N --set modality.resolution=N."
        )
    places = [(row, column) for row in range(rows) for column in range(columns)]
    made = {}
    for row, column in places:
        heights = grid.read(row * side, column * side, side)
        _check(name, heights, options.nodata)
        small = reduced(heights, options.side)
        if np.isfinite(small).any():
            place = f"[{row},{column}]" if len(places) > 1 else ""
            made[name + place] = Tile(small, _cell(grid, options))
    remainder = bool(grid.shape[0] % side or grid.shape[1] % side)
    return Cut(list(made), list(made.values()), len(places) - len(made), remainder)


def _cell(grid: Grid, options: TerrainConfig) -> tuple[float, float] | None:
    """Size of a cell of the reduced tile."""
    down_across = grid.cell if options.cell is None else (options.cell, options.cell)
    if down_across is None:
        return None
    step = options.tile / options.side
    return step * down_across[0], step * down_across[1]


def _check(name: str, heights: Heights, nodata: float | None) -> None:
    """Refuse marks of missing data that the file does not call so."""
    known = heights[~np.isnan(heights)]
    wrong = known[~(np.abs(known) <= HIGHEST)]
    if not len(wrong) and nodata is None:
        wrong = known[known == MARK]
    if len(wrong):
        raise UserError(
            f"{name} has a height of {wrong[0]:g} m, which looks like a mark of missing data.\n"
            f"Say so with --set modality.nodata={wrong[0]:g}, or name another number there."
        )
