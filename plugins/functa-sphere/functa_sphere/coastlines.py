"""Where there is land, from a picture of the Earth that Cartopy ships.

Cartopy's own coastlines are downloaded when they are first drawn. Its wheel holds a small picture
of the Earth, though (Natural Earth, public domain), in which everything bluish is water.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64
from PIL import Image

PICTURE = "data/raster/natural_earth/50-natural-earth-1-downsampled.png"
BLUER = 32
"""Levels of 255 by which water is bluer than it is red; ice and forest are not."""


@cache
def land_raster() -> Float32[np.ndarray, "h w"] | None:
    """1 on land and 0 on water, equal angles from 90°N and 180°W; None without the picture."""
    path = _picture()
    if path is None:
        return None
    with Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB")).astype(int)
    land: Float32[np.ndarray, "h w"] = (rgb[..., 2] - rgb[..., 0] < BLUER).astype(np.float32)
    return land


def _picture() -> Path | None:
    """Where Cartopy's picture is, found without importing Cartopy, or None.

    Importing it loads PROJ (pyproj's own copy, 9.5 say). ecCodes, which reads GRIB, brings another
    one (9.8) and loads it with RTLD_GLOBAL (`findlibs._load_globally`), so that the first copy
    calls into the second, and the process ends with SIGSEGV or "free(): invalid pointer" in the
    destructors of PROJ's global objects. `import eccodes, pyproj` alone does (eccodes 2.50.0 with
    eckitlib's libproj 9.8.1, pyproj 3.7.2).
    """
    package = find_spec("cartopy")
    folders = [] if package is None else package.submodule_search_locations or []
    return next((p for folder in folders if (p := Path(folder) / PICTURE).is_file()), None)


def land_share(points: Float64[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n"] | None:
    """Land at points of the sphere, from 0 to 1 by bilinear interpolation; None if unknown.

    Args:
        points: unit vectors; NaN where there is none, which counts as water.
    """
    raster = land_raster()
    return None if raster is None else look_up(raster, np.nan_to_num(points))


def look_up(
    raster: Float[np.ndarray, "h w"], points: Float64[np.ndarray, "*n 3"]
) -> Float64[np.ndarray, "*n"]:
    """Bilinear interpolation in a raster of equal angles from 90°N and 180°W."""
    height, width = raster.shape
    latitude = np.arcsin(points[..., 2].clip(-1, 1))
    longitude = np.arctan2(points[..., 1], points[..., 0])
    row = ((0.5 - latitude / np.pi) * height - 0.5).clip(0, height - 1)
    column = (0.5 + longitude / (2 * np.pi)) * width - 0.5
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    down, right = row - top, column - left
    below = np.minimum(top + 1, height - 1)
    left, beside = left % width, (left + 1) % width  # round the back of the Earth
    upper = raster[top, left] * (1 - right) + raster[top, beside] * right
    lower = raster[below, left] * (1 - right) + raster[below, beside] * right
    return np.asarray(upper * (1 - down) + lower * down, np.float64)
