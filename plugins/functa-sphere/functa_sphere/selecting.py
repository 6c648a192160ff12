"""Choosing variables, levels and times of what was opened."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import xarray as xr

from functa_core import UserError
from functa_sphere.collection import Channel
from functa_sphere.conventions import axes_of, fields_in, is_level, is_time, no_fields
from functa_sphere.options import SphereConfig


@attrs.frozen
class Wanted:
    """What to read.

    Attributes:
        config: as asked for.
        prepared: the channels of the run that it is for, or None before there is one.
    """

    config: SphereConfig
    prepared: Sequence[Channel] | None = None

    @property
    def variables(self) -> list[str] | None:
        """Names of the variables, or None for the only one."""
        if self.prepared is not None:
            return list(dict.fromkeys(channel.variable for channel in self.prepared))
        chosen = self.config.variable
        return [chosen] if isinstance(chosen, str) else None if chosen is None else list(chosen)

    @property
    def levels(self) -> list[float] | None:
        """The levels, or None for all of them."""
        if self.prepared is not None and self.config.levels_as == "channels":
            levels = dict.fromkeys(c.level for c in self.prepared if c.level is not None)
            return list(levels) or None
        chosen = self.config.level
        return [chosen] if isinstance(chosen, float) else None if chosen is None else list(chosen)


def pick_names(available: Sequence[str], wanted: Wanted, path: Path) -> list[str]:
    """The names of the variables to read.

    Raises:
        UserError: none was chosen of several, or one is not there.
    """
    names = wanted.variables
    if names is None:
        if len(available) > 1:
            raise UserError(
                f"{path} has several variables: {', '.join(available)}.\n"
                f"Choose one with --set modality.variable={available[0]}, or several as channels "
                f"with --set 'modality.variable=[{available[0]}, {available[1]}]'."
            )
        return list(available)
    if len(set(names)) < len(names) or not names:
        raise UserError("modality.variable must name each variable once, and at least one.")
    for name in names:
        if name not in available:
            raise UserError(
                f"{path} has no variable '{name}'"
                f"{', which the run was trained on' if wanted.prepared else ''}. "
                f"It has: {', '.join(available)}.{_nearest(name, available)}"
            )
    return names


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.4)
    return f" Did you mean '{close[0]}'?" if close else ""


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
