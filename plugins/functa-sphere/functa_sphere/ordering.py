"""One order of rows and columns, whichever way round a file has them."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from functa_core import UserError
from functa_sphere.grids import FULL_CIRCLE, SAME_DEGREES


def north_to_south(
    degrees: np.ndarray, path: Path
) -> tuple[Int64[np.ndarray, " h"], Float64[np.ndarray, " h"]]:
    """Order of the rows from the north, and their latitudes.

    Raises:
        UserError: they are not latitudes.
    """
    values = np.asarray(degrees, float)
    order = np.argsort(-values)
    usable = len(values) > 1 and np.isfinite(values).all() and np.abs(values).max() <= 90.001
    if not usable or np.diff(values[order]).max() > -SAME_DEGREES:
        raise UserError(
            f"the latitudes of {path} cannot be used: {len(values)} values from {values.min():g} "
            f"to {values.max():g}.\nThey must be at least two different ones, of -90 to 90 degrees."
        )
    return order, values[order].clip(-90, 90)


def eastward(
    degrees: np.ndarray, path: Path
) -> tuple[Int64[np.ndarray, " w"], Float64[np.ndarray, " w"], bool]:
    """Order of the columns from 0° east, their longitudes, and whether one was there twice.

    Raises:
        UserError: they are not longitudes.
    """
    values = np.asarray(degrees, float)
    if len(values) < 2 or not np.isfinite(values).all() or np.ptp(values) > 360.001:
        raise UserError(
            f"the longitudes of {path} cannot be used: {len(values)} values from {values.min():g} "
            f"to {values.max():g}.\nThey must be at least two and span 360 degrees at most."
        )
    # Rounding first, so that -1e-14 does not become 360.
    wrapped = np.round(values, 6) % FULL_CIRCLE
    order = np.argsort(wrapped, kind="stable")
    new = np.diff(wrapped[order], prepend=-1.0) > SAME_DEGREES
    order = order[new]
    return order, wrapped[order], not bool(new.all())
