"""All tiles of what the user gave."""

from pathlib import Path

import attrs
from functa_core import UserError

from functa_terrain.arrays import read_arrays
from functa_terrain.cutting import Cut, cut
from functa_terrain.options import TerrainConfig
from functa_terrain.rasters import opened
from functa_terrain.sources import files
from functa_terrain.tile import Tile


@attrs.frozen(eq=False)
class Collection:
    """Tiles in file order, held in memory at the resolution that was asked for.

    Attributes:
        ids: one for each tile.
        tiles: all of one size.
        is_test: the data's own split, or None.
        notes: what the user should know, one sentence each.
    """

    ids: list[str]
    tiles: list[Tile]
    is_test: list[bool] | None
    notes: list[str]


def read(path: Path, options: TerrainConfig, skip_bad: bool) -> Collection:
    """Read, cut and reduce a folder, a zip or a file.

    Raises:
        UserError: there is nothing to read, or (unless `skip_bad`) something that cannot be used.
    """
    cuts: list[Cut] = []
    bad: list[str] = []
    held_out: list[bool] = []
    if path.suffix.lower() == ".npz" and path.is_file():
        grids, is_test = read_arrays(path, options.nodata)
        for i, grid in enumerate(grids):
            try:
                cuts.append(cut(str(i), grid, options))
            except UserError as error:
                if not skip_bad:
                    raise UserError(f"{path}: array {error}") from error
                bad.append(str(i))
                continue
            if is_test is not None:
                held_out += [is_test[i]] * len(cuts[-1].tiles)
    else:
        for name, content in files(path):
            try:
                with opened(content(), name, options) as raster:
                    cuts.append(cut(name, raster, options))
            except UserError:
                if not skip_bad:
                    raise
                bad.append(name)
    tiles = [tile for each in cuts for tile in each.tiles]
    if not tiles:
        raise UserError(f"there is no tile with heights in {path}.")
    ids = [name for each in cuts for name in each.ids]
    return Collection(ids, tiles, held_out or None, _notes(cuts, bad, options))


def _notes(cuts: list[Cut], bad: list[str], options: TerrainConfig) -> list[str]:
    side = f"{options.tile}×{options.tile}"
    notes = []
    if bad:
        notes.append(f"left out as unreadable, {len(bad)} in all: {', '.join(bad[:5])}.")
    if remainders := sum(each.remainder for each in cuts):
        notes.append(f"{remainders} grids are no multiple of {side} cells; the rest is left out.")
    if empty := sum(each.empty for each in cuts):
        notes.append(f"{empty} tiles without a height are left out.")
    if any(tile.cell is None for each in cuts for tile in each.tiles):
        notes.append(
            "the data does not say how large a cell is, and is shaded as if it were 30 m; "
            "--set modality.cell=METRES says so."
        )
    return notes
