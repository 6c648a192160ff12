"""Reading arrays of shapes from .npy and .npz files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from functa_core import UserError
from functa_voxels.collection import Collection, pack, reduced, skip_notes, unpack

BESIDE = ("labels", "label_names", "is_test", "names")
"""Keys of an .npz file that are not the shapes."""
PACKED = "voxels_packed"
RULE = "Shapes are an array (n, r, r, r) of 0 and 1, or of booleans"


def read_arrays(path: Path, side: int | None, skip_bad: bool) -> Collection:
    """All shapes of an array file.

    Args:
        path: a .npy file of shapes, or an .npz file with `voxels` or `voxels_packed` and perhaps
            `labels`, `label_names` and `is_test`.
        side: cells to reduce shapes to, None to keep them.
        skip_bad: leave unusable shapes out instead of refusing the data.

    Raises:
        UserError: the file is damaged, or an array is not what it should be.
    """
    arrays = _load(path)
    key = _shapes_key(path, arrays)
    shapes = _checked(path, key, arrays[key])
    classes, class_names = _classes(path, arrays, len(shapes))
    is_test = _is_test(path, arrays, len(shapes))
    packed, kept, skipped = [], [], []
    for i, shape in enumerate(shapes):
        try:
            packed.append(pack(_shape(path, i, shape, key, side)))
            kept.append(i)
        except _UnusableError as error:
            if not skip_bad:
                raise
            skipped.append(str(i))
            last = error
    if not kept:
        raise UserError(f"none of the {len(shapes)} shapes can be used; the last: {last}")
    return Collection(
        ids=[str(i) for i in kept],
        packed=np.stack(packed),
        classes=None if classes is None else [classes[i] for i in kept],
        class_names=class_names,
        is_test=None if is_test is None else [is_test[i] for i in kept],
        notes=skip_notes(skipped),
    )


class _UnusableError(UserError):
    """One shape cannot be used; others may."""


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the file by name; a lone one is called `voxels`."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"voxels": loaded}
        with loaded:
            return {key: loaded[key] for key in loaded.files}
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error):
            raise UserError(
                f"{path} holds Python objects, which are not loaded because they can run code.\n"
                "Save plain arrays: np.savez(file, voxels=np.stack(shapes))."
            ) from error
        raise UserError(
            f"{path} cannot be read as an array file: {error}.\nMake it with np.save or np.savez."
        ) from error


def _shapes_key(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """The key of the shapes: a known one, or the only array that is nothing else."""
    for key in ("voxels", PACKED):
        if key in arrays:
            return key
    candidates = [key for key in arrays if key not in BESIDE]
    if len(candidates) == 1:
        return candidates[0]
    raise UserError(
        f"{path} has no array 'voxels' or '{PACKED}' (found: {', '.join(arrays) or 'nothing'}).\n"
        "Save the shapes under one of these names: np.savez(file, voxels=…)."
    )


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


def _classes(
    path: Path, arrays: Mapping[str, np.ndarray], count: int
) -> tuple[list[str | None] | None, list[str]]:
    """The class name of each shape (None for -1), and all names in order."""
    if "labels" not in arrays:
        return None, []
    labels = arrays["labels"]
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise UserError(
            f"'labels' of {path} has shape {labels.shape} and type {labels.dtype}.\n"
            f"It must be {count} integers, one for each shape (-1: unknown)."
        )
    values = [int(v) for v in labels]
    names = _label_names(path, arrays, values)
    return [names.get(v) for v in values], list(names.values())


def _label_names(
    path: Path, arrays: Mapping[str, np.ndarray], values: Sequence[int]
) -> dict[int, str]:
    """The name of each label; the number itself where the file has no names."""
    if "label_names" not in arrays:
        return {v: str(v) for v in sorted(set(values)) if v >= 0}
    stored = arrays["label_names"]
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in stored.ravel()]
    if len(set(names)) < len(names) or not -1 <= min(values) <= max(values) < len(names):
        raise UserError(
            f"'label_names' of {path} has {len(set(names))} different names, and 'labels' goes "
            f"from {min(values)} to {max(values)}.\n"
            "Labels count the names from 0, each name is there once, and -1 means unknown."
        )
    return dict(enumerate(names))


def _is_test(path: Path, arrays: Mapping[str, np.ndarray], count: int) -> list[bool] | None:
    """Which shapes the file holds out, if it says so."""
    if "is_test" not in arrays:
        return None
    is_test = arrays["is_test"]
    if is_test.shape != (count,) or is_test.dtype != np.bool_:
        raise UserError(
            f"'is_test' of {path} has shape {is_test.shape} and type {is_test.dtype}.\n"
            f"It must be {count} booleans, one for each shape."
        )
    return [bool(t) for t in is_test]
