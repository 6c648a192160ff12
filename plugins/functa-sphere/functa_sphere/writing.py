"""Decoded fields as NetCDF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from functa_sphere.collection import Channel
from functa_sphere.grids import LatLonGrid

LATITUDE = {"units": "degrees_north", "standard_name": "latitude", "axis": "Y"}
LONGITUDE = {"units": "degrees_east", "standard_name": "longitude", "axis": "X"}


def as_dataset(
    values: Float[np.ndarray, "n c"], grid: LatLonGrid, channels: Sequence[Channel]
) -> xr.Dataset:
    """A field as CF data: a variable for each name, its channels along an axis of levels."""
    rasters = values.astype(np.float32).reshape(*grid.shape, len(channels))
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {
        "latitude": ("latitude", grid.latitudes, LATITUDE),
        "longitude": ("longitude", grid.longitudes, LONGITUDE),
    }
    for name in dict.fromkeys(channel.variable for channel in channels):
        places = [i for i, channel in enumerate(channels) if channel.variable == name]
        first = channels[places[0]]
        attributes = {
            key: text
            for key in ("units", "standard_name", "long_name")
            if (text := str(getattr(first, key)))
        }
        layers = np.moveaxis(rasters[..., places], -1, 0)
        space = ("latitude", "longitude")
        if first.level is None:
            variables[name] = (space, layers[0], attributes)
            continue
        axis = first.level_name or "level"
        about = {"units": first.level_units} if first.level_units else {}
        levels = [channels[i].level for i in places]
        if axis in coordinates and list(coordinates[axis][1]) != levels:
            axis = f"{axis}_{name}"  # variables may be there on different levels
        coordinates[axis] = (axis, levels, about)
        variables[name] = ((axis, *space), layers, attributes)
    return xr.Dataset(variables, coordinates, attrs={"Conventions": "CF-1.8"})


def write_netcdf(
    path: Path,
    values: Float[np.ndarray, "n c"],
    grid: LatLonGrid,
    channels: Sequence[Channel],
) -> None:
    """Write a field for `xarray.open_dataset`, NaN where nothing is known."""
    as_dataset(values, grid, channels).to_netcdf(path, engine="netcdf4")
