"""Reading fields from NetCDF, GRIB and Zarr."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import xarray as xr
from jaxtyping import Float32

from functa_core import UserError
from functa_sphere.collection import Channel, Collection
from functa_sphere.conventions import Axes, axes_of, time_text, valid_time, with_axes
from functa_sphere.grids import LatLonGrid
from functa_sphere.opening import open_datasets
from functa_sphere.ordering import eastward, north_to_south
from functa_sphere.selecting import pick_variables
from functa_sphere.wanted import Wanted

IN_MEMORY = 2**30
"""Bytes up to which a variable is read once and kept; a larger one is read field by field."""


def read_gridded(path: Path, wanted: Wanted) -> Collection:
    """All fields of a NetCDF or GRIB file or a Zarr store.

    Each combination of indices along the axes that are neither space nor channels is a signal.

    Raises:
        UserError: the file or what was asked of it cannot be used.
    """
    opened, notes = open_datasets(path)
    datasets = [with_axes(dataset) for dataset in opened]
    channels: list[tuple[Channel, xr.DataArray]] = []
    grid: LatLonGrid | None = None
    for variable in pick_variables(datasets, wanted, path):
        axes = axes_of(variable)
        assert axes is not None  # it is one of `fields_in`
        ordered, own, note = _canonical(variable, axes, path)
        notes += note
        if grid is not None and not own.same_as(grid):
            raise UserError(
                f"{path}: '{variable.name}' is on {own.words()}, which is not the grid of the "
                "variables before it.\nChannels of one field share a grid: interpolate first."
            )
        grid = own
        channels += _channels(ordered, axes, wanted.config.levels_as == "channels")
    assert grid is not None  # there is at least one variable
    _check_same_axes([array for _, array in channels], path)
    if _spans(grid) < 0.99:
        notes.append(f"the grid covers {_spans(grid):.0%} of the sphere")
    return _collect(path, channels, grid, notes)


def _canonical(
    variable: xr.DataArray, axes: Axes, path: Path
) -> tuple[xr.DataArray, LatLonGrid, list[str]]:
    """The variable from north to south and from 0° east on, its grid, and notes.

    So the same field gives the same signal, whichever way round its file has it.
    """
    rows, latitudes = north_to_south(variable.coords[axes.latitude].values, path)
    columns, longitudes, repeated = eastward(variable.coords[axes.longitude].values, path)
    notes = [f"{path.name}: a longitude that is there twice is read once"] if repeated else []
    last = (axes.latitude, axes.longitude)
    # Which axes come before does not matter; that space is last and in this order does.
    ordered = variable.transpose(..., *last).isel({last[0]: rows, last[1]: columns})
    if ordered.nbytes <= IN_MEMORY:
        ordered = _loaded(ordered, path)
    return ordered, LatLonGrid(latitudes, longitudes), notes


def _loaded(array: xr.DataArray, path: Path) -> xr.DataArray:
    try:
        return array.load()
    except Exception as error:  # decoders of damaged files raise anything
        raise _unreadable(array, path, error) from error


def _unreadable(array: xr.DataArray, path: Path, error: Exception) -> UserError:
    return UserError(
        f"the values of '{array.name}' in {path} cannot be read: "
        f"{(str(error).splitlines() or [type(error).__name__])[0]}\nThe file is damaged."
    )


def _channels(
    variable: xr.DataArray, axes: Axes, levels_are_channels: bool
) -> list[tuple[Channel, xr.DataArray]]:
    """The channels that a variable makes."""
    plain = Channel(
        str(variable.name),
        units=str(variable.attrs.get("units", "")),
        standard_name=str(variable.attrs.get("standard_name", "")),
        long_name=str(variable.attrs.get("long_name", "")),
    )
    if axes.level is None:
        return [(plain, variable)]
    coordinate = variable.coords[axes.level]
    if not levels_are_channels and variable.sizes[axes.level] > 1:
        return [(plain, variable)]
    return [
        (
            attrs.evolve(
                plain,
                level=float(level),
                level_name=axes.level,
                level_units=str(coordinate.attrs.get("units", "")),
            ),
            variable.isel({axes.level: i}, drop=True),
        )
        for i, level in enumerate(coordinate.values)
    ]


def _check_same_axes(arrays: Sequence[xr.DataArray], path: Path) -> None:
    """That every channel has a value for the same signals."""
    first = arrays[0]
    for array in arrays[1:]:
        same = array.dims == first.dims and all(
            array.sizes[d] == first.sizes[d]
            and (d not in array.coords or array.coords[d].equals(first.coords[d]))
            for d in array.dims[:-2]
        )
        if not same:
            raise UserError(
                f"{path}: '{first.name}' and '{array.name}' differ in their axes: "
                f"{_sizes(first)} and {_sizes(array)}.\nChannels of one field are there for the "
                "same times, members and levels; modality.levels_as=channels takes levels apart."
            )


def _sizes(array: xr.DataArray) -> str:
    return ", ".join(f"{d} {array.sizes[d]}" for d in array.dims[:-2]) or "none"


def _collect(
    path: Path,
    channels: Sequence[tuple[Channel, xr.DataArray]],
    grid: LatLonGrid,
    notes: Sequence[str],
) -> Collection:
    """Each combination of the indices left as a signal."""
    arrays = [array for _, array in channels]
    axes = [(d, arrays[0].sizes[d]) for d in arrays[0].dims[:-2]]
    places = [
        dict(zip((d for d, _ in axes), index, strict=True))
        for index in np.ndindex(*(size for _, size in axes))
    ]
    if not places:
        raise UserError(f"{path} has no fields: {_sizes(arrays[0])}.\nGive a file with some.")

    def load(index: int) -> Float32[np.ndarray, "n c"]:
        parts = []
        for array in arrays:
            try:
                values = array.isel(places[index]).values
            except Exception as error:  # decoders of damaged files raise anything
                raise _unreadable(array, path, error) from error
            parts.append(np.asarray(values, np.float32).ravel())
        return np.stack(parts, axis=-1)

    return Collection(
        ids=_ids(path, arrays[0], [d for d, size in axes if size > 1], places),
        load=load,
        grid=grid,
        channels=[channel for channel, _ in channels],
        times=_times(arrays[0], places),
        notes=notes,
    )


def _ids(
    path: Path,
    array: xr.DataArray,
    dims: Sequence[Hashable],
    places: Sequence[Mapping[Hashable, int]],
) -> list[str]:
    """What distinguishes each signal: "time=2017-01-02T00, number=3"."""
    if not dims:
        return [path.stem]
    names: dict[Hashable, list[str]] = {}
    for d in dims:
        values = array.coords[d].values if d in array.coords else range(array.sizes[d])
        texts = [time_text(value) for value in values]
        # Should two be the same, their places tell them apart.
        names[d] = texts if len(set(texts)) == len(texts) else [f"#{i}" for i in range(len(texts))]
    # The time first, as it is what most people look for.
    time = valid_time(array)
    ordered = sorted(dims, key=lambda d: time is None or d not in time.dims)
    return [", ".join(f"{d}={names[d][place[d]]}" for d in ordered) for place in places]


def _times(array: xr.DataArray, places: Sequence[Mapping[Hashable, int]]) -> list[Any] | None:
    """When each signal is valid, as texts that sort, or numbers where the file has such."""
    time = valid_time(array)
    if time is None:
        return None
    values = [time.isel({d: i for d, i in p.items() if d in time.dims}).values[()] for p in places]
    numeric = time.dtype.kind in "fiu"
    return [float(value) if numeric else time_text(value) for value in values]


def _spans(grid: LatLonGrid) -> float:
    """Share of the sphere."""
    return float(grid.areas.sum() / (4 * np.pi))
