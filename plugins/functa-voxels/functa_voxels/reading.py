"""From what the user pointed at to shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool

from functa_core import Dataset, UserError
from functa_voxels.arrays import read_arrays

ARRAYS = (".npy", ".npz")


def read(
    path: Path, side: int | None, labels: bool, skip_bad: bool, keep: int
) -> Dataset[Bool[np.ndarray, "r r r"]]:
    """All shapes of an array file, a folder, a zip archive, or a single mesh or .binvox file.

    Args:
        path: what the user named.
        side: cells a side to bring shapes to, None for the data's own.
        labels: whether folders are classes.
        skip_bad: leave unusable shapes out.
        keep: bytes of shapes of an array file that may stay in memory.

    Raises:
        UserError: there is nothing at `path`, it is of another kind, or its content is unusable.
    """
    suffix = path.suffix.lower()
    if path.is_file() and suffix in ARRAYS:
        return read_arrays(path, side, skip_bad, keep)

    # trimesh, which these import, takes a second.
    from functa_voxels.folders import read_folder
    from functa_voxels.meshes import ENDINGS

    files = (".binvox", ".zip", *sorted(ENDINGS))
    kinds = f"an .npy or .npz file, or a folder or zip of {', '.join(files)} files"
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder.\nShapes are read from {kinds}.")
    if path.is_dir() or suffix in files:
        return read_folder(path, side, labels, skip_bad)
    named = f"a {suffix} file" if suffix else "a file without a suffix"
    raise UserError(f"{path} is {named}, which is not read.\nGive {kinds}.")
