"""Heights in an .npz."""

import zipfile
import zlib
from pathlib import Path

import attrs
import numpy as np
from functa_core import UserError

from functa_terrain.tile import Heights


@attrs.frozen(eq=False)
class ArrayGrid:
    """One array of heights, read as an open file is.

    Attributes:
        heights: (h, w) in metres, of any real type.
        cell: metres from row to row and from column to column, or None.
        nodata: number that stands for no height, or None.
    """

    heights: np.ndarray
    cell: tuple[float, float] | None
    nodata: float | None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.heights.shape
        return rows, columns

    def read(self, row: int, column: int, side: int) -> Heights:
        """A square of heights in metres, float32, NaN where there is none."""
        part = self.heights[row : row + side, column : column + side].astype(np.float32)
        if self.nodata is not None:
            part[part == np.float32(self.nodata)] = np.nan
        return part


def read_arrays(path: Path, nodata: float | None) -> tuple[list[ArrayGrid], list[bool] | None]:
    """The arrays of heights of an .npz, and which of them are for testing, where it says so.

    Read are: the only array (n, h, w) of numbers; `cell_m`, one number or n; `is_test`, n booleans.

    Raises:
        UserError: it is damaged, or these are not in it.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} cannot be read as an .npz of arrays: {error}.") from error
    names = [name for name, array in content.items() if array.ndim == 3 and array.size]
    if len(names) != 1 or content[names[0]].dtype.kind not in "iuf":
        shapes = ", ".join(f"{name} {array.shape}" for name, array in content.items()) or "nothing"
        raise UserError(
            f"{path} has {shapes}.\nOne array (n, h, w) of heights in metres is needed, and no "
            "other of three dimensions."
        )
    heights = content[names[0]]
    cells = _cells(content.get("cell_m"), len(heights), path)
    grids = [ArrayGrid(each, cell, nodata) for each, cell in zip(heights, cells, strict=True)]
    return grids, _held_out(content.get("is_test"), len(heights), path)


def _cells(given: np.ndarray | None, count: int, path: Path) -> list[tuple[float, float] | None]:
    if given is None:
        return [None] * count
    numbers = given.dtype.kind in "iuf" and given.shape in ((), (count,))
    if not numbers or not (np.isfinite(given).all() and (given > 0).all()):
        raise UserError(
            f"{path}: cell_m has shape {given.shape}; one size in metres, or {count}, are needed."
        )
    sizes = np.broadcast_to(given, count).astype(float).tolist()
    return [(size, size) for size in sizes]


def _held_out(given: np.ndarray | None, count: int, path: Path) -> list[bool] | None:
    if given is None:
        return None
    if given.dtype != bool or given.shape != (count,) or given.all() or not given.any():
        raise UserError(
            f"{path}: is_test is {given.dtype} {given.shape}; {count} booleans are needed, not all "
            "of them equal."
        )
    return [bool(each) for each in given]
