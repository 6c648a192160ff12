"""Choosing variables, levels and times of what was opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from functa_core import UserError
from functa_sphere.conventions import axes_of, fields_in, is_level, is_time, no_fields
from functa_sphere.wanted import Wanted, pick_names


def pick_variables(
    datasets: Sequence[xr.Dataset], wanted: Wanted, path: Path
) -> list[xr.DataArray]:
    """The variables to read, one array for each, with the levels and times that are wanted.

    Raises:
        UserError: they are not there, or it is not clear which is meant.
    """
    fields = [fields_in(dataset) for dataset in datasets]
    available = list(dict.fromkeys(name for found in fields for name in found))
    if not available:
        raise no_fields(datasets[0], path)
    arrays = []
    for name in pick_names(available, wanted, path):
        candidates = [found[name] for found in fields if name in found]
        array = _of_level_type(candidates, name, wanted, path)
        arrays.append(_at_times(_at_levels(array, name, wanted, path), wanted, path))
    return arrays


def _of_level_type(
    candidates: Sequence[xr.DataArray], name: str, wanted: Wanted, path: Path
) -> xr.DataArray:
    """The one of several variables of one name that has the wanted kind of level."""
    kind = wanted.config.level_type
    if kind is None and len(candidates) == 1:
        return candidates[0]
    kinds = [_level_coordinate(candidate) for candidate in candidates]
    names = [str(k.name) if k is not None else "none" for k in kinds]
    if kind is None:
        raise UserError(
            f"{path} has '{name}' on several kinds of level: {', '.join(names)}.\n"
            f"Choose one with --set modality.level_type={names[0]}."
        )
    matching = [candidate for candidate, n in zip(candidates, names, strict=True) if n == kind]
    if len(matching) != 1:
        raise UserError(
            f"modality.level_type={kind}: '{name}' in {path} has {', '.join(names)}, so that names "
            f"{len(matching)} of them.\nChoose a kind that it has once, or split the file."
        )
    return matching[0]


def _level_coordinate(array: xr.DataArray) -> xr.DataArray | None:
    """The coordinate of the level, of several or of the only one."""
    return next((c for c in array.coords.values() if is_level(c)), None)


def _at_levels(array: xr.DataArray, name: str, wanted: Wanted, path: Path) -> xr.DataArray:
    """The levels of a variable that are wanted; a variable without levels as it is."""
    levels = wanted.levels
    coordinate = _level_coordinate(array)
    if levels is None or (coordinate is None and wanted.config.levels_as == "channels"):
        return array
    if coordinate is None:
        raise UserError(
            f"modality.level={levels[0]:g} was asked for, but '{name}' in {path} has no levels.\n"
            "Leave the option out."
        )
    there = np.atleast_1d(coordinate.values).astype(float)
    places = [int(np.abs(there - level).argmin()) for level in levels]
    for level, place in zip(levels, places, strict=True):
        if not np.isclose(there[place], level, rtol=1e-5):
            shown = ", ".join(f"{value:g}" for value in there)
            raise UserError(
                f"'{name}' in {path} has no level {level:g} of {coordinate.name}. It has: {shown}."
                f"\nThe nearest is {there[place]:g}."
            )
    return array.isel({coordinate.name: places}) if coordinate.ndim else array


def _at_times(array: xr.DataArray, wanted: Wanted, path: Path) -> xr.DataArray:
    """The times of a variable that are wanted."""
    text = wanted.config.time
    if text is None:
        return array
    axes = axes_of(array)
    assert axes is not None  # it is one of `fields_in`
    name = next((d for d in axes.others if d in array.coords and is_time(array.coords[d])), None)
    if name is None:
        raise UserError(
            f"modality.time={text} was asked for, but '{array.name}' in {path} has no axis of "
            "times.\nLeave the option out."
        )
    start, _, end = text.partition("/")
    times = array.coords[name]
    numeric = times.dtype.kind in "fiu"
    try:
        bounds: list[Any] = [float(part) if numeric else part for part in (start, end or start)]
        chosen = array.sortby(name).sel({name: slice(*bounds)})
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"modality.time={text} is not a time of {path}: {str(error).splitlines()[0]}\n"
            "Give an ISO time, 2017-01, or an interval, 2017-01-01/2017-01-31."
        ) from error
    if chosen.sizes[name] == 0:
        raise UserError(
            f"modality.time={text}: {path} has no such time. It goes from "
            f"{times.values.min()} to {times.values.max()}."
        )
    return chosen
