"""Shapes with eight cells in a byte, and on coarser grids.

64 cells a side are 32 kilobytes so and 256 otherwise, and a training set of thousands would not fit
into memory.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

from functa_core import UserError

UNUSABLE = "unusable shape"
"""What is left out with --skip-bad."""


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
