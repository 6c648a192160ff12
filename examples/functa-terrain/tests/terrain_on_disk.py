"""Terrain on disk."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from functa_core import DataSource
from rasterio.transform import Affine

from functa_terrain.modality import Terrain


def slope(rows: int = 8, columns: int = 8, low: float = 100.0) -> np.ndarray:
    """Ground that rises by 1 m from column to column and by 10 m from row to row."""
    return (low + 10 * np.arange(rows)[:, None] + np.arange(columns)).astype(np.float32)


def write(path: Path, bands: np.ndarray, **profile: Any) -> Path:
    """A GeoTIFF of cells of 30 m, or by its name a PNG, of one array (h, w) or several."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = bands if bands.ndim == 3 else bands[None]
    if path.suffix == ".png":
        profile["driver"] = "PNG"
    else:
        profile = {"driver": "GTiff", "transform": Affine(30, 0, 0, 0, -30, 0), **profile}
    count, height, width = bands.shape
    with rasterio.open(
        path, "w", count=count, height=height, width=width, dtype=bands.dtype, **profile
    ) as file:
        file.write(bands)
    return path


def terrain(path: Path | None, state: Any = None, *, skip_bad: bool = False, **options: Any):
    """The modality on some data, in tiles of 8×8 cells, not reduced."""
    options = {"tile": 8, "resolution": None, **options}
    return Terrain(Terrain.Config(**options), DataSource(path, skip_bad=skip_bad), state)


def prepared(path: Path | None, **options: Any) -> Terrain:
    """The modality, prepared on its own training split."""
    unprepared = terrain(path, **options)
    return terrain(path, unprepared.prepare(unprepared.dataset("train")), **options)
