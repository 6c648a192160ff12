"""Which axis is what, by the CF conventions and the names that people use besides."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import attrs
import numpy as np
import xarray as xr

from functa_core import UserError

LATITUDE_UNITS = {"degrees_north", "degree_north", "degree_n", "degrees_n", "degreen", "degreesn"}
LONGITUDE_UNITS = {"degrees_east", "degree_east", "degree_e", "degrees_e", "degreee", "degreese"}
PRESSURE_UNITS = {"pa", "hpa", "mb", "mbar", "millibar", "millibars", "bar", "dbar"}
LEVEL_NAMES = {"level", "lev", "plev", "pressure_level", "isobaricinhpa", "depth", "height", "z"}
LEVEL_STANDARD_NAMES = {
    "air_pressure",
    "altitude",
    "atmosphere_hybrid_sigma_pressure_coordinate",
    "depth",
    "height",
    "model_level_number",
}
TIME_STANDARD_NAMES = {"time", "forecast_reference_time"}


@attrs.frozen
class Axes:
    """The dimensions of a variable.

    Attributes:
        latitude, longitude: of space.
        level: of height, depth or pressure, or None.
        others: time, ensemble member and whatever else there is, in the file's order.
    """

    latitude: str
    longitude: str
    level: str | None
    others: tuple[str, ...]


def is_latitude(coordinate: xr.DataArray) -> bool:
    """By units, standard name or name."""
    return _is(coordinate, LATITUDE_UNITS, "latitude", {"lat", "latitude", "nav_lat"})


def is_longitude(coordinate: xr.DataArray) -> bool:
    """By units, standard name or name."""
    return _is(coordinate, LONGITUDE_UNITS, "longitude", {"lon", "longitude", "nav_lon", "long"})


def _is(coordinate: xr.DataArray, units: set[str], standard: str, names: set[str]) -> bool:
    return (
        _attribute(coordinate, "units") in units
        or _attribute(coordinate, "standard_name") == standard
        or str(coordinate.name).lower() in names
    )


def is_level(coordinate: xr.DataArray) -> bool:
    """By axis, direction, standard name, unit of pressure or name."""
    return (
        _attribute(coordinate, "axis") == "z"
        or _attribute(coordinate, "positive") in ("up", "down")
        or _attribute(coordinate, "standard_name") in LEVEL_STANDARD_NAMES
        or _attribute(coordinate, "units") in PRESSURE_UNITS
        or str(coordinate.name).lower() in LEVEL_NAMES
    )


def is_time(coordinate: xr.DataArray) -> bool:
    """By type, axis, standard name or name."""
    if np.issubdtype(coordinate.dtype, np.timedelta64):
        return False  # a forecast's lead time
    return (
        np.issubdtype(coordinate.dtype, np.datetime64)
        or _attribute(coordinate, "axis") == "t"
        or _attribute(coordinate, "standard_name") in TIME_STANDARD_NAMES
        or " since " in _attribute(coordinate, "units")
        or str(coordinate.name).lower() in ("time", "valid_time")
    )


def _attribute(coordinate: xr.DataArray, name: str) -> str:
    """An attribute in lower case; empty if it is not there."""
    return str(coordinate.attrs.get(name, "")).strip().lower()


def axes_of(variable: xr.DataArray) -> Axes | None:
    """The dimensions of a variable, or None if two of them are not latitude and longitude."""
    found: dict[str, str] = {}
    others: list[str] = []
    for name in map(str, variable.dims):
        kind = _kind(variable.coords[name]) if name in variable.coords else None
        if kind is None or kind in found:
            others.append(name)
        else:
            found[kind] = name
    if "latitude" not in found or "longitude" not in found:
        return None
    level = found.get("level")
    return Axes(found["latitude"], found["longitude"], level, tuple(others))


def with_axes(dataset: xr.Dataset) -> xr.Dataset:
    """With latitudes and longitudes as dimensions where they lie along others: lat(y), lon(x).

    Two along one dimension list points, which are no grid, and stay as they are.
    """
    along: dict[Hashable, list[Hashable]] = {}
    for name, coordinate in dataset.coords.items():
        if coordinate.ndim == 1 and (is_latitude(coordinate) or is_longitude(coordinate)):
            along.setdefault(coordinate.dims[0], []).append(name)
    found = {d: names[0] for d, names in along.items() if len(names) == 1}
    return dataset.swap_dims({d: name for d, name in found.items() if d != name})


def _kind(coordinate: xr.DataArray) -> str | None:
    tests = {"latitude": is_latitude, "longitude": is_longitude, "level": is_level}
    return next((kind for kind, test in tests.items() if test(coordinate)), None)


def fields_in(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    """The numeric variables that depend on latitude and longitude, by name."""
    return {
        str(name): variable
        for name, variable in dataset.data_vars.items()
        if variable.dtype.kind in "fiu" and axes_of(variable) is not None
    }


def no_fields(dataset: xr.Dataset, path: Any) -> UserError:
    """Why nothing in a file can be used."""
    named: list[xr.DataArray] = [dataset.coords[name] for name in dataset.coords]
    spatial = [c for c in named if is_latitude(c) or is_longitude(c)]
    two = sorted(str(c.name) for c in spatial if c.ndim > 1)
    listed = sorted(str(c.name) for c in spatial if c.ndim == 1 and c.dims != (c.name,))
    if two:
        return UserError(
            f"{path}: {' and '.join(two)} have two dimensions, a curvilinear grid.\n"
            "Regrid it to latitudes x longitudes first (cdo remapbil, xesmf)."
        )
    if listed:
        return UserError(
            f"{path}: {' and '.join(listed)} list the points of an unstructured or reduced grid.\n"
            "Regrid it to latitudes x longitudes first (cdo setgridtype,regular)."
        )
    sizes = ", ".join(f"{name} ({size})" for name, size in dataset.sizes.items())
    variables = ", ".join(map(str, dataset.data_vars)) or "none"
    return UserError(
        f"{path} has no variable on latitudes and longitudes. Found variables {variables} with "
        f"dimensions {sizes or 'none'}.\nName or mark the axes by the CF conventions: units "
        "'degrees_north' and 'degrees_east', or names 'latitude' and 'longitude'."
    )


def valid_time(variable: xr.DataArray) -> xr.DataArray | None:
    """The coordinate that says for which time a field is valid, or None."""
    space = {d for d, c in variable.coords.items() if is_latitude(c) or is_longitude(c)}
    times = [
        coordinate
        for coordinate in variable.coords.values()
        if is_time(coordinate) and not space & set(coordinate.dims)
    ]
    # GRIB gives the time a forecast was started at beside the one that it is for.
    times.sort(key=lambda c: (c.name != "valid_time", _attribute(c, "standard_name") != "time"))
    return times[0] if times else None


def time_text(value: Any) -> str:
    """A time in ISO 8601 to the hour, or finer where it is."""
    if isinstance(value, np.datetime64):
        text = str(np.datetime_as_string(value, unit="s"))
    elif hasattr(value, "isoformat"):  # cftime's
        text = str(value.isoformat())
    else:
        return f"{value:g}" if isinstance(value, float | np.floating) else str(value)
    return text.removesuffix(":00").removesuffix(":00")
