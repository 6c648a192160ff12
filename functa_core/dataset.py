"""Where signals come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Literal, TypeVar, overload

import attrs
import numpy as np

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
    """

    path: Path | None = None
    test_fraction: float = 0.1
    seed: int = 0
    skip_bad: bool = False


@attrs.frozen(eq=False)
class Dataset(Sequence[S], Generic[S]):
    """Signals in file order, loaded one at a time.

    Attributes:
        ids: an index or a path for each signal, unique.
        load: the signal at an index; may be slow, may cache.
        labels: an index into `label_names` for each signal (-1: unknown), or None.
        label_names: the classes, in the order that labels count them.
        notes: what the user should know about how the data was read, one sentence each.
    """

    ids: Sequence[str]
    load: Callable[[int], S]
    labels: Sequence[int] | None = None
    label_names: Sequence[str] = ()
    notes: Sequence[str] = ()

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
        )

    def split(
        self, split: Split, source: DataSource, is_test: Sequence[bool] | None = None
    ) -> Dataset[S]:
        """One split, in file order: by `is_test` where the data has it, else at random by seed.

        A set of one signal has it in both splits, because there is nothing to hold out.
        """
        if split == "all" or len(self) == 1:
            return self
        test = random_split(len(self), source) if is_test is None else np.asarray(is_test, bool)
        wanted = test if split == "test" else ~test
        return self.select(np.flatnonzero(wanted).tolist())


def random_split(count: int, source: DataSource) -> np.ndarray:
    """Which of `count` signals are held out: (count,) bool, a function of the seed alone."""
    held_out = min(max(1, round(count * source.test_fraction)), count - 1)
    test = np.zeros(count, bool)
    test[np.random.default_rng(source.seed).permutation(count)[:held_out]] = True
    return test
