"""Reading fields from .npz files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from functa_core import ArrayFile, Dataset, UserError
from functa_sphere.collection import Channel, Collection
from functa_sphere.grids import Grid, HealpixGrid, LatLonGrid
from functa_sphere.ordering import eastward, north_to_south
from functa_sphere.wanted import Wanted, pick_names

Arrays = Mapping[str, np.ndarray]
Load = Callable[[int], np.ndarray]


NAMES = (
    *("values", "latitude", "longitude", "nested"),
    *("variables", "units", "ids", "times"),
)
"""Arrays that are read, besides those that all array files may have."""


def read_arrays(path: Path, wanted: Wanted) -> Collection:
    """All fields of an .npz file.

    Its arrays: `values` (n, latitudes, longitudes) or (n, cells), perhaps with channels last;
    `latitude` and `longitude` in degrees for the first kind, `nested` (bool) for the second if the
    cells are in NESTED order; optionally `variables` and `units` (names of the channels and their
    units), `ids`, `times`, `labels`, `label_names` and `is_test`.

    Raises:
        UserError: the file is damaged, or an array is not what it should be.
    """
    file = ArrayFile.read(path, lone="values")
    file.check_names(NAMES)
    arrays = file.arrays
    if "values" not in arrays:
        raise UserError(
            f"{path} has no array 'values' (found: {', '.join(arrays) or 'nothing'}).\n"
            "Save the fields under that name, with 'latitude' and 'longitude' beside them."
        )
    values = arrays["values"]
    if values.dtype.kind not in "fiu" or values.size == 0:
        raise UserError(
            f"'values' of {path} has shape {values.shape} and type {values.dtype}.\n"
            "It must hold numbers, at least one field of them."
        )
    load, grid, depth = (_gridded if "latitude" in arrays else _cells)(arrays, path)
    count = len(values)
    channels = _channels(arrays, depth, path)
    names = [channel.variable for channel in channels]
    several = wanted.variables is None and "variables" in arrays and len(names) > 1
    picked = names if wanted.variables is None and not several else pick_names(names, wanted, path)
    columns = [names.index(name) for name in picked]
    signals = file.annotated(Dataset(_ids(arrays, count, path), load))
    return Collection(
        ids=signals.ids,
        load=lambda i: np.asarray(load(i)[:, columns], np.float32),
        grid=grid,
        channels=[channels[c] for c in columns],
        times=_each(arrays, "times", count, path, "iufMSU"),
        labels=signals.labels,
        label_names=signals.label_names,
        is_test=signals.is_test,
    )


def _gridded(arrays: Arrays, path: Path) -> tuple[Load, Grid, int]:
    """What loads a field (N, C) in the order of its latitude-longitude grid, that grid, and C."""
    values = arrays["values"]
    latitude, longitude = arrays["latitude"], arrays.get("longitude", np.zeros(0))
    expected = (latitude.size, longitude.size)
    if values.ndim not in (3, 4) or values.shape[1:3] != expected or latitude.ndim != 1:
        raise UserError(
            f"'values' of {path} has shape {values.shape}, with {expected[0]} latitudes and "
            f"{expected[1]} longitudes.\nIt must be (n, latitudes, longitudes), perhaps with "
            "channels last."
        )
    rows, latitudes = north_to_south(latitude, path)
    columns, longitudes, _ = eastward(longitude, path)
    grid = LatLonGrid(latitudes, longitudes)
    channels = values.shape[3] if values.ndim == 4 else 1

    def load(index: int) -> np.ndarray:
        field: np.ndarray = values[index][rows][:, columns]
        return field.reshape(grid.count, channels)

    return load, grid, channels


def _cells(arrays: Arrays, path: Path) -> tuple[Load, Grid, int]:
    """What loads a field (N, C) in the RING order of HEALPix, that grid, and C."""
    import healpy  # more than a second, which other grids need not wait for

    values = arrays["values"]
    if values.ndim not in (2, 3) or not healpy.isnpixok(values.shape[1]):
        raise UserError(
            f"'values' of {path} has shape {values.shape}, and there is no 'latitude'.\nGive "
            "'latitude' and 'longitude' for (n, latitudes, longitudes), or HEALPix maps (n, "
            "cells) of 12 nside² cells."
        )
    nside = healpy.npix2nside(values.shape[1])
    cells = np.arange(values.shape[1])
    order = healpy.ring2nest(nside, cells) if _nested(arrays, path) else cells
    channels = values.shape[2] if values.ndim == 3 else 1

    def load(index: int) -> np.ndarray:
        field = values[index][order]
        good = healpy.mask_good(field.astype(float))
        return np.asarray(np.where(good, field, np.nan)).reshape(len(order), channels)

    return load, HealpixGrid(nside), channels


def _nested(arrays: Arrays, path: Path) -> bool:
    """Whether cells are in NESTED order."""
    told = arrays.get("nested", np.bool_(False))
    if told.size != 1 or told.dtype.kind != "b":
        raise UserError(
            f"'nested' of {path} has shape {told.shape} and type {told.dtype}.\n"
            "It must be one boolean, for all fields."
        )
    return bool(told)


def _channels(arrays: Arrays, count: int, path: Path) -> list[Channel]:
    """Names and units, made up where the file has none."""
    default = ["value"] if count == 1 else [f"value{i}" for i in range(count)]
    names = [str(name) for name in np.atleast_1d(arrays.get("variables", default))]
    units = [str(unit) for unit in np.atleast_1d(arrays.get("units", [""] * count))]
    if len(set(names)) != count or len(units) != count:
        raise UserError(
            f"{path} has {count} channels, {len(set(names))} different 'variables' and "
            f"{len(units)} 'units'.\nGive one of each for every channel."
        )
    return [Channel(name, units=unit) for name, unit in zip(names, units, strict=True)]


def _ids(arrays: Arrays, count: int, path: Path) -> list[str]:
    given = _each(arrays, "ids", count, path, "SUiu")
    ids = [str(i) for i in given or range(count)]
    if len(set(ids)) < count:
        raise UserError(f"'ids' of {path} are not unique.\nGive each field a name of its own.")
    return ids


def _each(arrays: Arrays, key: str, count: int, path: Path, kinds: str) -> list[Any] | None:
    """One entry for each field, or None if there is no such array."""
    if key not in arrays:
        return None
    array = arrays[key]
    if array.shape != (count,) or array.dtype.kind not in kinds:
        raise UserError(
            f"'{key}' of {path} has shape {array.shape} and type {array.dtype}.\n"
            f"It must have one entry for each of the {count} fields."
        )
    if array.dtype.kind == "M":
        array = np.datetime_as_string(array)
    return [value.item() for value in array]
