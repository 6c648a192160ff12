"""Reading .binvox files, the format of Patrick Min's voxeliser and of ShapeNet's solids.

A text header, then runs: pairs of bytes, a value (0 or 1) and how often it comes (1 to 255). The
format's order of axes is x, z, y with y fastest; shapes are given in the order x, y, z.
"""

from __future__ import annotations

import re

import numpy as np
from jaxtyping import Bool

from functa_core import UserError

_HEADER = re.compile(rb"#binvox \d+\s.*?dim (\d+) (\d+) (\d+)\s.*?data\r?\n", re.DOTALL)
LARGEST_SIDE = 1024


def read_binvox(data: bytes, name: str) -> Bool[np.ndarray, "r r r"]:
    """The cells of one file.

    Args:
        data: its contents.
        name: for messages.

    Raises:
        UserError: it is no .binvox file, is cut short, or is not cubic.
    """
    header = _HEADER.match(data)
    if header is None:
        raise UserError(
            f"'{name}' cannot be read as .binvox: it has no such header (#binvox, dim, data)."
        )
    sides = tuple(int(side) for side in header.groups())
    if len(set(sides)) > 1 or not 0 < sides[0] <= LARGEST_SIDE:
        raise UserError(
            f"'{name}' has {' x '.join(map(str, sides))} cells.\n"
            f"Shapes are cubes of 1 to {LARGEST_SIDE} cells a side."
        )
    side = sides[0]
    runs = np.frombuffer(data, np.uint8, offset=header.end())
    values, counts = runs[: len(runs) // 2 * 2].reshape(-1, 2).T
    if len(runs) % 2 or int(counts.sum(dtype=np.int64)) != side**3 or (values > 1).any():
        raise UserError(
            f"'{name}' is damaged: its runs give {counts.sum(dtype=np.int64)} cells of {side**3}, "
            f"values up to {values.max(initial=0)}.\nGet it again, or voxelise the mesh itself."
        )
    cells = np.repeat(values, counts).view(np.bool_).reshape(side, side, side)
    return np.ascontiguousarray(cells.transpose(0, 2, 1))
