"""Where signals come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Literal, TypeVar, get_args, overload

import attrs
import numpy as np

from functa_core.errors import UserError

S = TypeVar("S")
Split = Literal["train", "test", "all"]


@attrs.frozen
class DataSource:
    """What the user said about the data.

    Attributes:
        path: a file or folder, or None for the modality's embedded set.
        test_fraction: share of the signals held out where the data names no split of its own.
        seed: of that random split.
        skip_bad: leave unreadable signals out, counting them, instead of refusing the data.
        keep: bytes of signals that may stay in memory after they were read; see `Kept`.
    """

    path: Path | None = None
    test_fraction: float = 0.1
    seed: int = 0
    skip_bad: bool = False
    keep: int = 2**30


@attrs.frozen(eq=False)
class Dataset(Sequence[S], Generic[S]):
    """Signals in file order, loaded one at a time.

    Attributes:
        ids: an index or a path for each signal, unique.
        load: the signal at an index; may be slow, may cache.
        labels: an index into `label_names` for each signal (-1: unknown), or None.
        label_names: the classes, in the order that labels count them.
        notes: what the user should know about how the data was read, one sentence each.
        is_test: whether the data itself holds out each signal, or None where it does not say.
    """

    ids: Sequence[str]
    load: Callable[[int], S]
    labels: Sequence[int] | None = None
    label_names: Sequence[str] = ()
    notes: Sequence[str] = ()
    is_test: Sequence[bool] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> S: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset[S]: ...
    def __getitem__(self, index: int | slice) -> S | Dataset[S]:
        if isinstance(index, slice):
            return self.select(range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"signal {index} of {len(self)}")
        return self.load(index % len(self))

    def select(self, indices: Sequence[int]) -> Dataset[S]:
        """The signals at `indices`, in that order, still loaded one at a time."""
        chosen = [int(i) for i in indices]
        return Dataset(
            ids=[self.ids[i] for i in chosen],
            load=lambda i: self.load(chosen[i]),
            labels=None if self.labels is None else [self.labels[i] for i in chosen],
            label_names=self.label_names,
            notes=self.notes,
            is_test=None if self.is_test is None else [self.is_test[i] for i in chosen],
        )

    def split(self, split: Split, source: DataSource) -> Dataset[S]:
        """One split, in file order: by `is_test` where the data has it, else at random by seed.

        A set of one signal without `is_test` has it in both splits, because there is nothing to
        hold out.

        Raises:
            UserError: there is no such split; or `is_test` leaves one side empty, and `split` is
                not "all".
        """
        check_split(split)
        if split == "all" or (len(self) == 1 and self.is_test is None):
            return self
        test = random_split(len(self), source) if self.is_test is None else self._told_split()
        wanted = test if split == "test" else ~test
        return self.select(np.flatnonzero(wanted).tolist())

    def _told_split(self) -> np.ndarray:
        """`is_test` (n,), with something on either side."""
        test = np.asarray(self.is_test, bool)
        if test.all() == test.any():
            side, other = ("test", "training") if test.all() else ("training", "test")
            signals = "signal" if len(test) == 1 else "signals"
            raise UserError(
                f"all of the data ({len(test)} {signals}) is marked as {side} data, so there is no "
                f"{other} data.\nMark some of each, leave the marks (is_test, or folders called "
                "'train' and 'test') out for a random split, or ask for --split all."
            )
        return test

    def with_classes(
        self, classes: Sequence[str | None], names: Sequence[str] | None = None
    ) -> Dataset[S]:
        """The same signals, labelled.

        Args:
            classes: the name of each signal's class (None: unknown).
            names: all classes in the order in which labels count them, or None for those that are
                named, sorted. Where there are none, there are no labels.
        """
        known = sorted({c for c in classes if c is not None}) if names is None else list(names)
        if not known:
            return attrs.evolve(self, labels=None, label_names=())
        place = {name: i for i, name in enumerate(known)}
        labels = [-1 if name is None else place[name] for name in classes]
        return attrs.evolve(self, labels=labels, label_names=known)

    def relabelled(self, label_names: Sequence[str]) -> Dataset[S]:
        """The same signals, with labels that count the classes of a prepared run.

        Args:
            label_names: as the run's state has them. Without any, labels stay as they are.

        Returns:
            Classes that are not among them are labelled -1, and a note names those.
        """
        if self.labels is None or not label_names:
            return self
        classes = [self.label_names[label] if label >= 0 else None for label in self.labels]
        unknown = {name for name in classes if name is not None} - set(label_names)
        known = [None if name in unknown else name for name in classes]
        notes = list(self.notes)
        if unknown:
            named = _listed(sorted(unknown), 5)
            notes.append(f"classes that the run was not trained with are labelled -1: {named}")
        return attrs.evolve(self, notes=notes).with_classes(known, label_names)


def check_split(split: str) -> None:
    """Raise a `UserError` unless it is "train", "test" or "all"."""
    if split not in get_args(Split):
        raise UserError(f"there is no split '{split}'; there are: {', '.join(get_args(Split))}.")


def skip_notes(skipped: Sequence[str], what: str) -> list[str]:
    """What `DataSource.skip_bad` left out, as a note for `Dataset.notes`.

    Args:
        skipped: ids of the signals that cannot be used.
        what: each of them is, in the singular: "unreadable file".

    Returns:
        One sentence that counts them and names the first three; nothing if none was left out.
    """
    if not skipped:
        return []
    plural = "s" if len(skipped) > 1 else ""
    return [f"skipped {len(skipped)} {what}{plural}: {_listed(skipped, 3)}"]


def _listed(names: Sequence[str], most: int) -> str:
    """Names with commas, cut after `most`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def random_split(count: int, source: DataSource) -> np.ndarray:
    """Which of `count` signals are held out: (count,) bool, a function of the seed alone."""
    held_out = min(max(1, round(count * source.test_fraction)), count - 1)
    test = np.zeros(count, bool)
    test[np.random.default_rng(source.seed).permutation(count)[:held_out]] = True
    return test
