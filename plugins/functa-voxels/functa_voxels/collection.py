"""What reading a source of shapes gives, whatever kind of file it was."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from jaxtyping import Bool, UInt8

from functa_core import Dataset, DataSource, Split, UserError


@attrs.frozen(eq=False)
class Collection:
    """All shapes of a source, of one size.

    They are kept with eight cells in a byte: 64 kilobytes would be 260 otherwise, and a training
    set of thousands would not fit into memory.

    Attributes:
        ids: an index or a relative path for each shape, unique.
        packed: (n, r, r, r/8) bytes, the last axis rounded up.
        classes: the name of each one's class (None: unknown), or None where there are no labels.
        class_names: all classes in the order the data has them.
        is_test: which ones the data itself holds out, or None where it does not say.
        notes: what the user should know about how they were read, one sentence each.
    """

    ids: Sequence[str]
    packed: UInt8[np.ndarray, "n r r bytes"]
    classes: Sequence[str | None] | None = None
    class_names: Sequence[str] = ()
    is_test: Sequence[bool] | None = None
    notes: Sequence[str] = ()

    def shape(self, index: int) -> Bool[np.ndarray, "r r r"]:
        """One shape, unpacked."""
        return unpack(self.packed[index])


def pack(voxels: Bool[np.ndarray, "*n r r r"]) -> UInt8[np.ndarray, "*n r r bytes"]:
    """Eight cells to a byte along the last axis."""
    return np.packbits(voxels, axis=-1)


def unpack(packed: UInt8[np.ndarray, "*n r r bytes"]) -> Bool[np.ndarray, "*n r r r"]:
    """The cells that `pack` packed; the second last axis says how many there are along the last."""
    return np.unpackbits(packed, axis=-1, count=packed.shape[-2]).view(np.bool_)


def reduced(voxels: Bool[np.ndarray, "*n r r r"], side: int) -> Bool[np.ndarray, "*n s s s"]:
    """Shapes on a coarser grid: a cell is filled if at least half of what it covers is.

    Raises:
        UserError: the sides do not divide.
    """
    found = voxels.shape[-1]
    if found == side:
        return voxels
    if found % side:
        raise UserError(
            f"shapes of {found} cells a side cannot be reduced to {side}: {found} is not a whole "
            f"multiple.\nChoose a divisor of {found} with --set modality.resolution=N, or leave it "
            "out."
        )
    factor = found // side
    blocks = voxels.reshape(*voxels.shape[:-3], side, factor, side, factor, side, factor)
    return np.asarray(2 * blocks.sum(axis=(-5, -3, -1)) >= factor**3)


def skip_notes(skipped: Sequence[str]) -> list[str]:
    """A sentence that counts and names what was left out, if anything was."""
    if not skipped:
        return []
    more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    plural = "s" if len(skipped) > 1 else ""
    return [f"skipped {len(skipped)} unusable shape{plural}: {', '.join(skipped[:3])}{more}"]


def split_of(
    collection: Collection, split: Split, source: DataSource, known: Sequence[str]
) -> Dataset[Bool[np.ndarray, "r r r"]]:
    """One split of the collection.

    Args:
        collection: everything that was read.
        split: which part.
        source: seed and fraction of the random split, where the data has none of its own.
        known: the class names of the prepared state, or none; they decide how labels count.

    Raises:
        UserError: the data's own split leaves one side empty and `split` is not "all".
    """
    is_test = collection.is_test
    if split != "all" and is_test is not None and all(t == is_test[0] for t in is_test):
        side, other = ("test", "training") if is_test[0] else ("training", "test")
        raise UserError(
            f"all {len(is_test)} shapes are marked as {side} shapes, so there are no {other} "
            "shapes.\nMark some of each, leave the marks (is_test, or folders 'train' and 'test') "
            "out for a random split, or ask for --split all."
        )
    names = list(known or collection.class_names)
    labels, unknown = None, set[str]()
    if collection.classes is not None:
        index = {name: i for i, name in enumerate(names)}
        labels = [-1 if c is None else index.get(c, -1) for c in collection.classes]
        unknown = {c for c in collection.classes if c is not None and c not in index}
    notes = list(collection.notes)
    if unknown:
        listed = ", ".join(sorted(unknown)[:5])
        notes.append(f"classes that the run was not trained with are labelled -1: {listed}")
    whole = Dataset(
        ids=collection.ids,
        load=collection.shape,
        labels=labels,
        label_names=names if labels is not None else (),
        notes=notes,
    )
    return whole.split(split, source, is_test)
