"""Signals in array files: .npy, or .npz with labels and a split beside them.

Large arrays are mapped into memory instead of read, so that they may be larger than it.
"""

from __future__ import annotations

import difflib
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import attrs
import numpy as np

from functa_core.dataset import Dataset
from functa_core.errors import UserError

S = TypeVar("S")
BESIDE = ("labels", "label_names", "is_test")
"""Keys of an .npz file that are not the signals."""
DAMAGED = (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What numpy raises for files that it cannot read."""
NEAR = 0.8
"""How alike two names are, of 1, for one to be taken for a misspelt other."""
MAPPED = 2**26
"""Bytes from which on an array is mapped. What is smaller is read, which checks it too."""


@attrs.frozen(eq=False)
class ArrayFile:
    """The arrays of a .npy or .npz file.

    Attributes:
        path: of the file, for messages.
        arrays: by name; large ones are mapped and read-only.
    """

    path: Path
    arrays: Mapping[str, np.ndarray]

    @classmethod
    def read(cls, path: Path, lone: str) -> ArrayFile:
        """Read a file of plain arrays; Python objects are not loaded, because they can run code.

        Args:
            path: of the file.
            lone: what to call the array of a .npy file, which has no name.

        Raises:
            UserError: it is damaged, or holds Python objects.
        """
        try:
            mode: Literal["r"] | None = "r" if path.stat().st_size >= MAPPED else None
            loaded = np.load(path, mmap_mode=mode, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return cls(path, {lone: loaded})
            with loaded:
                mapped = _mapped(path)
                rest = (key for key in loaded.files if key not in mapped)
                return cls(path, {**mapped, **{key: loaded[key] for key in rest}})
        except DAMAGED as error:
            if "Object arrays" in str(error) or "Python objects" in str(error):
                raise UserError(
                    f"{path} holds Python objects, which are not loaded because they can run "
                    f"code.\nSave plain arrays: np.savez(file, {lone}=np.stack(…))."
                ) from error
            # What begins as neither .npy nor .npz does, numpy takes for a pickle.
            reason = "it is neither .npy nor .npz" if "pickle" in str(error) else error
            raise UserError(
                f"{path} cannot be read as an array file: {reason}.\n"
                "Make it with np.save or np.savez."
            ) from error

    def signals_key(self, *keys: str, beside: Sequence[str] = ()) -> str:
        """The name of the array that holds the signals.

        Args:
            keys: names that it may have, the preferred one first.
            beside: names that other arrays may have, besides labels, label_names and is_test.

        Returns:
            The first of `keys` that is there, else the only array that is nothing else.

        Raises:
            UserError: none is there, and there are several others or none; or one is, and beside it
                something whose name is nearly one of those that are read.
        """
        there = [key for key in keys if key in self.arrays]
        others = [key for key in self.arrays if key not in (*keys, *BESIDE, *beside)]
        if there:
            self.check_names([*keys, *beside])
            return there[0]
        if len(others) == 1:
            return others[0]
        named = " or ".join(f"'{key}'" for key in keys)
        raise UserError(
            f"{self.path} has no array {named} (found: {', '.join(self.arrays) or 'nothing'}).\n"
            f"Save the data under {'that name' if len(keys) == 1 else 'one of these names'}: "
            f"np.savez(file, {keys[0]}=…)."
        )

    def check_names(self, known: Sequence[str]) -> None:
        """Refuse an array that nobody reads and whose name looks like a slip of the pen.

        Args:
            known: names of arrays that are read, besides labels, label_names and is_test. What is
                called something else altogether is left alone.

        Raises:
            UserError: there is one.
        """
        every = [*known, *BESIDE]
        for name in self.arrays:
            if name not in every and (meant := difflib.get_close_matches(name, every, 1, NEAR)):
                raise UserError(
                    f"{self.path} has an array '{name}', which is not read. Did you mean "
                    f"'{meant[0]}'?\nRename it, or leave it out."
                )

    def annotated(self, signals: Dataset[S]) -> Dataset[S]:
        """The signals with the labels and the split that the file has beside them.

        Args:
            signals: all n of the file, in its order. The file may have `labels` (n) integers, -1
                for unknown, `label_names`, which the labels count from 0 (without them a class is
                called by its number), and `is_test` (n) booleans.

        Raises:
            UserError: one of these arrays is not what it should be.
        """
        count = len(signals)
        is_test = self._column("is_test", count, "b", "booleans")
        signals = attrs.evolve(signals, is_test=None if is_test is None else is_test.tolist())
        labels = self._column("labels", count, "iu", "integers (-1: unknown)")
        if labels is None:
            return signals
        values = [int(label) for label in labels]
        names = self._label_names(values)
        return signals.with_classes([names.get(v) for v in values], list(names.values()))

    def _column(self, key: str, count: int, kinds: str, words: str) -> np.ndarray | None:
        """An array with one entry of some kind for each signal, None if it is not there."""
        array = self.arrays.get(key)
        if array is not None and (array.shape != (count,) or array.dtype.kind not in kinds):
            raise UserError(
                f"'{key}' of {self.path} has shape {array.shape} and type {array.dtype}.\n"
                f"It must be {count} {words}, one for each signal."
            )
        return array

    def _label_names(self, labels: Sequence[int]) -> dict[int, str]:
        """The name of each label but -1."""
        low, high = min(labels, default=-1), max(labels, default=-1)
        if "label_names" in self.arrays:
            stored = self.arrays["label_names"].ravel().tolist()
            names = [n.decode(errors="replace") if isinstance(n, bytes) else str(n) for n in stored]
            named = dict(enumerate(names))
        else:
            named = {label: str(label) for label in sorted(set(labels)) if label >= 0}
        if len(set(named.values())) < len(named) or low < -1 or (high >= 0 and high not in named):
            raise UserError(
                f"'label_names' of {self.path} has {len(set(named.values()))} different names, and "
                f"'labels' goes from {low} to {high}.\n"
                "Labels count the names from 0, each name is there once, and -1 means unknown."
            )
        return named


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """The large arrays of an .npz file that lie there as they are, not compressed."""
    with zipfile.ZipFile(path) as archive:
        large = [
            member
            for member in archive.infolist()
            if member.compress_type == zipfile.ZIP_STORED and member.file_size >= MAPPED
        ]
    found: dict[str, np.ndarray] = {}
    with path.open("rb") as file:
        for member in large:
            file.seek(member.header_offset + 26)  # of the lengths of its name and what follows it
            file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read = np.lib.format.read_array_header_2_0
            shape, fortran, kind = read(file)
            if kind.hasobject:  # numpy refuses those
                continue
            order: Literal["F", "C"] = "F" if fortran else "C"
            name = member.filename.removesuffix(".npy")
            found[name] = np.memmap(path, kind, "r", file.tell(), shape, order)
    return found
