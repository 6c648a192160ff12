"""Reading arrays of shapes from .npy and .npz files."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
from jaxtyping import Bool, UInt8

from functa_core import ArrayFile, Dataset, Kept, UserError, skip_notes
from functa_voxels.packing import UNUSABLE, pack, reduced, unpack

PACKED = "voxels_packed"
RULE = "Shapes are an array (n, r, r, r) of 0 and 1, or of booleans"


def read_arrays(
    path: Path, side: int | None, skip_bad: bool, keep: int
) -> Dataset[Bool[np.ndarray, "r r r"]]:
    """All shapes of an array file.

    Args:
        path: a .npy file of shapes, or an .npz file with `voxels` or `voxels_packed` and perhaps
            `labels`, `label_names` and `is_test`.
        side: cells to reduce shapes to, None to keep them.
        skip_bad: leave unusable shapes out instead of refusing the data.
        keep: bytes of packed shapes that may stay in memory.

    Raises:
        UserError: the file is damaged, or an array is not what it should be.
    """
    file = ArrayFile.read(path, lone="voxels")
    key = file.signals_key("voxels", PACKED, beside=["names"])
    shapes = _checked(path, key, file.arrays[key])
    packed: Kept[int, np.ndarray] = Kept(
        lambda i: pack(_shape(path, i, shapes[i], key, side)), _nbytes, keep
    )
    signals = file.annotated(
        Dataset([str(i) for i in range(len(shapes))], lambda i: unpack(packed(i)))
    )
    usable, skipped = [], []
    for i in range(len(shapes)):
        try:
            packed(i)
            usable.append(i)
        except _UnusableError as error:
            if not skip_bad:
                raise
            skipped.append(str(i))
            last = error
    if not usable:
        raise UserError(f"none of the {len(shapes)} shapes can be used; the last: {last}")
    return attrs.evolve(signals.select(usable), notes=skip_notes(skipped, UNUSABLE))


def _nbytes(packed: UInt8[np.ndarray, "r r bytes"]) -> int:
    return packed.nbytes


class _UnusableError(UserError):
    """One shape cannot be used; others may."""


def _checked(path: Path, key: str, shapes: np.ndarray) -> np.ndarray:
    """The shapes, n > 0 of them and cubic; packed ones still packed."""
    found = f"'{key}' of {path} has shape {shapes.shape}"
    if shapes.ndim == 3 and len(set(shapes.shape)) == 1:
        raise UserError(f"{found}, which looks like one shape.\n{RULE}: add an axis, voxels[None].")
    if shapes.ndim != 4:
        raise UserError(f"{found}: {shapes.ndim} axes.\n{RULE}.")
    if shapes.size == 0:
        raise UserError(f"{found}: it is empty.\n{RULE}.")
    if shapes.dtype.kind not in "biuf":
        raise UserError(f"'{key}' of {path} holds {shapes.dtype} values.\n{RULE}.")
    _, x, y, z = shapes.shape
    as_packed = x == y and shapes.dtype == np.uint8 and z == -(-x // 8)
    if key == PACKED and not as_packed:
        raise UserError(
            f"{found} and type {shapes.dtype}.\nPacked shapes are uint8 (n, r, r, r/8): "
            "np.packbits(voxels, axis=-1)."
        )
    if key != PACKED and not x == y == z:
        hint = f"; packed bits are saved as '{PACKED}'" if as_packed else "; pad them with zeros"
        raise UserError(f"{found}: its cells form no cube.\n{RULE}{hint}.")
    return shapes


def _shape(
    path: Path, index: int, shape: np.ndarray, key: str, side: int | None
) -> Bool[np.ndarray, "r r r"]:
    """One shape at the resolution wanted."""
    if key == PACKED:
        filled = unpack(shape)
    else:
        if not np.isfinite(shape).all():
            count = np.count_nonzero(~np.isfinite(shape))
            raise _UnusableError(
                f"shape {index} of {path} has {count} values that are NaN or infinite.\n"
                "Mend it, or leave such shapes out with --skip-bad."
            )
        filled = shape != 0
        if shape.dtype != np.bool_ and not np.array_equal(filled, shape):
            odd = shape[(shape != 0) & (shape != 1)][0]
            raise _UnusableError(
                f"shape {index} of {path} holds {odd:g}, and cells are 0 or 1.\n"
                "Threshold it first (voxels > 0.5, or > 127 for bytes)."
            )
    coarse = filled if side is None else reduced(filled, side)
    if not coarse.any():
        left = " at this resolution" if filled.any() else ""
        raise _UnusableError(
            f"shape {index} of {path} is empty{left}: none of its cells is filled.\n"
            "Remove it, or leave such shapes out with --skip-bad."
        )
    return coarse
