"""Heights in GeoTIFF and PNG files, through rasterio."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import numpy as np
import rasterio
from functa_core import UserError
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, MemoryFile
from rasterio.transform import Affine
from rasterio.windows import Window

from functa_terrain.options import TerrainConfig
from functa_terrain.tile import Heights

DRIVERS = {".tif": "GTiff", ".tiff": "GTiff", ".png": "PNG"}
METRES_PER_DEGREE = 111_320.0
"""Of latitude; of longitude at the equator."""


@attrs.frozen(eq=False)
class Raster:
    """An open file with one band of heights.

    Attributes:
        shape: rows and columns.
        cell: metres from row to row and from column to column; None: the file does not say.
    """

    shape: tuple[int, int]
    cell: tuple[float, float] | None
    _file: DatasetReader
    _options: TerrainConfig

    def read(self, row: int, column: int, side: int) -> Heights:
        """A square of heights in metres, float32, NaN where there is none."""
        window = Window(column, row, side, side)
        band = self._file.read(1, window=window, masked=True)
        heights = band.astype(np.float64).filled(np.nan)
        if self._options.nodata is not None:
            heights[np.asarray(band.data) == self._options.nodata] = np.nan
        heights = self._file.offsets[0] + self._file.scales[0] * heights
        if self._file.driver == "PNG":
            heights *= self._options.metres_per_unit
        return np.asarray(heights, np.float32)


@contextmanager
def opened(source: Path | bytes, name: str, options: TerrainConfig) -> Iterator[Raster]:
    """Open a file, or what was read from one.

    Raises:
        UserError: it is damaged, or is no single band of real numbers; names it. Also while it is
            being read.
    """
    driver = DRIVERS[Path(name).suffix.lower()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # then the cells have no size
            if isinstance(source, bytes):
                with MemoryFile(source) as memory, memory.open(driver=driver) as file:
                    yield _checked(file, name, options)
            else:
                with rasterio.open(source, driver=driver) as file:
                    yield _checked(file, name, options)
    except RasterioError as error:
        raise UserError(f"{name} cannot be read as a file of heights: {error}.") from error


def _checked(file: DatasetReader, name: str, options: TerrainConfig) -> Raster:
    kind = np.dtype(file.dtypes[0]).kind if file.dtypes else "?"
    if file.count != 1 or kind not in "iuf":
        raise UserError(
            f"{name} has {file.count} bands of {file.dtypes[0]}; one band of heights is needed."
        )
    if file.colorinterp[0] == ColorInterp.palette:
        raise UserError(f"{name} has a palette of colours; grey levels that are heights are needed")
    return Raster(file.shape, _cell(file), file, options)


def _cell(file: DatasetReader) -> tuple[float, float] | None:
    """Size of a cell in metres; of a grid of degrees that in the middle of the file."""
    transform: Affine = file.transform
    if transform.is_identity:
        return None
    down, across = math.hypot(transform.b, transform.e), math.hypot(transform.a, transform.d)
    if file.crs is not None and file.crs.is_geographic:
        latitude = (file.bounds.top + file.bounds.bottom) / 2
        narrow = max(math.cos(math.radians(latitude)), 0.01)
        return down * METRES_PER_DEGREE, across * METRES_PER_DEGREE * narrow
    unit = file.crs.linear_units_factor[1] if file.crs is not None else 1.0
    return down * unit, across * unit


def write(path: Path, heights: Heights, cell: tuple[float, float] | None, what: str) -> None:
    """Write a GeoTIFF of one float32 band.

    Args:
        path: of the file.
        heights: (h, w).
        cell: metres from row to row and from column to column. Where the tile lies on Earth is
            not in a latent, so that there is no coordinate system.
        what: the band's description, and its unit if it has one: "height in m".
    """
    down, across = cell or (1.0, 1.0)
    profile = {
        "driver": "GTiff",
        "dtype": "float32",
        "count": 1,
        "height": heights.shape[0],
        "width": heights.shape[1],
        "compress": "deflate",
        "transform": Affine(across, 0, 0, 0, -down, 0),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile) as file:
            file.write(heights.astype(np.float32), 1)
            file.set_band_description(1, what)
