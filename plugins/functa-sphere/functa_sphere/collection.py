"""What reading a source of fields gives, whatever kind of file it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
from jaxtyping import Bool, Float32

from functa_core import Dataset, DataSource, Split, UserError
from functa_sphere.grids import Grid

UNDECLARED_FILL = 1e19
"""No physical field has such values; files whose fill value is not declared do."""


@attrs.frozen(eq=False)
class Map:
    """One signal: a field on a grid.

    Attributes:
        values: (N, C) in the variables' own units; NaN where there is none.
        grid: of N cells.
    """

    values: Float32[np.ndarray, "n c"]
    grid: Grid


@attrs.frozen
class Channel:
    """One component of a field.

    Attributes:
        variable: its name in the file.
        level: which of the variable's levels it is, or None.
        units, standard_name, long_name: as CF has them; empty if unknown.
        level_name, level_units: of the level's coordinate.
    """

    variable: str
    level: float | None = None
    units: str = ""
    standard_name: str = ""
    long_name: str = ""
    level_name: str = ""
    level_units: str = ""

    @property
    def label(self) -> str:
        """For people to read: "t 500 hPa"."""
        if self.level is None:
            return self.variable
        return f"{self.variable} {self.level:g} {self.level_units}".rstrip()

    @property
    def key(self) -> str:
        """For metrics.json: "t_500"."""
        return self.variable if self.level is None else f"{self.variable}_{self.level:g}"


@attrs.frozen(eq=False)
class Collection:
    """All fields of a source, on one grid and with the same channels.

    Attributes:
        ids: unique, one for each signal.
        load: the values (N, C) of the signal at an index.
        grid: of all of them.
        channels: C of them.
        times: for each signal when it is valid, comparable with one another; None where unknown.
        labels, label_names: of classes, if the source has any.
        is_test: which ones the data itself holds out, or None where it does not say.
        notes: what the user should know about how they were read, one sentence each.
    """

    ids: Sequence[str]
    load: Callable[[int], Float32[np.ndarray, "n c"]]
    grid: Grid
    channels: Sequence[Channel]
    times: Sequence[Any] | None = None
    labels: Sequence[int] | None = None
    label_names: Sequence[str] = ()
    is_test: Sequence[bool] | None = None
    notes: Sequence[str] = ()

    @property
    def distinct_times(self) -> list[Any]:
        """The times that there are, in order."""
        return sorted(set(self.times or ()))

    def select(self, indices: Sequence[int]) -> Collection:
        """The signals at `indices`."""

        def pick(items: Sequence[Any] | None) -> list[Any] | None:
            return None if items is None else [items[i] for i in indices]

        return attrs.evolve(
            self,
            ids=[self.ids[i] for i in indices],
            load=lambda i: self.load(indices[i]),
            times=pick(self.times),
            labels=pick(self.labels),
            is_test=pick(self.is_test),
        )


def concatenate(parts: Sequence[tuple[str, Collection]]) -> Collection:
    """Several named sources as one, which only sources of the same kind can be.

    Raises:
        UserError: two differ in grid or channels.
    """
    first_name, first = parts[0]
    for name, part in parts[1:]:
        if not part.grid.same_as(first.grid):
            raise UserError(
                f"grids differ: {first_name} has {first.grid.words()}, {name} has "
                f"{part.grid.words()}.\nBring all fields of a run to one grid first."
            )
        ours, theirs = ([c.label for c in p.channels] for p in (first, part))
        if ours != theirs:
            raise UserError(
                f"channels differ: {first_name} has {', '.join(ours)}; {name} has "
                f"{', '.join(theirs)}.\nGive files with the same variables and levels."
            )
    places = [(part, i) for _, part in parts for i in range(len(part.ids))]
    timed = all(part.times is not None for _, part in parts)

    def load(index: int) -> Float32[np.ndarray, "n c"]:
        part, place = places[index]
        return part.load(place)

    return Collection(
        ids=[f"{name}/{i}" if len(p.ids) > 1 else name for name, p in parts for i in p.ids],
        load=load,
        grid=first.grid,
        channels=first.channels,
        times=[time for _, part in parts for time in part.times or ()] if timed else None,
        notes=list(dict.fromkeys(note for _, part in parts for note in part.notes)),
    )


def checked(collection: Collection, skip_bad: bool) -> Collection:
    """The collection without unusable fields, which `skip_bad` allows there to be.

    Raises:
        UserError: a field without a value, or with values that must be undeclared fill values.
    """
    bad: list[int] = []
    for i, name in enumerate(collection.ids):
        values = collection.load(i)
        known = np.isfinite(values)
        if (np.abs(values, where=known, out=np.zeros_like(values)) > UNDECLARED_FILL).any():
            raise UserError(
                f"field '{name}' has values beyond {UNDECLARED_FILL:g}: a fill value that the file "
                "does not declare?\nSet the variable's attribute _FillValue to it."
            )
        if known.all(axis=1).any():
            continue
        if not skip_bad:
            raise UserError(
                f"field '{name}' has no cell with a value: all are NaN or masked.\n"
                "Leave such fields out with --skip-bad."
            )
        bad.append(i)
    if len(bad) == len(collection.ids):
        raise UserError(f"none of {len(bad)} fields has a cell with a value.")
    if not bad:
        return collection
    kept = [i for i in range(len(collection.ids)) if i not in set(bad)]
    note = f"left out {len(bad)} without any value: {collection.ids[bad[0]]}"
    return attrs.evolve(collection.select(kept), notes=[*collection.notes, note])


def held_out(collection: Collection, fraction: float) -> Bool[np.ndarray, " n"] | None:
    """Which signals are for testing, or None where only chance can say.

    As the data says; else the last times, whole, because the members of one time, and times next
    to each other, are nearly the same field.
    """
    if collection.is_test is not None:
        return np.array(collection.is_test, bool)
    times = collection.distinct_times
    if len(times) < 2:
        return None
    count = min(max(1, round(len(times) * fraction)), len(times) - 1)
    late = set(times[-count:])
    return np.array([time in late for time in collection.times or ()])


def split_of(collection: Collection, split: Split, source: DataSource) -> Dataset[Map]:
    """One split of the collection.

    Raises:
        UserError: the data's own split leaves one side empty and `split` is not "all".
    """
    is_test = held_out(collection, source.test_fraction)
    whole = Dataset(
        ids=collection.ids,
        load=lambda i: Map(_known(collection.load(i)), collection.grid),
        labels=collection.labels,
        label_names=collection.label_names,
        notes=collection.notes,
        is_test=None if is_test is None else is_test.tolist(),
    )
    return whole.split(split, source)


def _known(values: np.ndarray) -> np.ndarray:
    """Values with NaN for whatever is no number, infinities too: these would be the range's end."""
    return np.where(np.isfinite(values), values, np.float32(np.nan))
