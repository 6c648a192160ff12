"""HEALPix maps in FITS files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import healpy
import numpy as np
from jaxtyping import Float, Float32

from functa_core import UserError
from functa_sphere.collection import Channel, Collection
from functa_sphere.grids import HealpixGrid
from functa_sphere.wanted import Wanted, pick_names


def read_healpix(path: Path, wanted: Wanted) -> Collection:
    """The map of a FITS file, one signal; its columns are variables.

    RING and NESTED order give the same signal, and so does a partial map of listed cells.

    Raises:
        UserError: not a HEALPix map, or what was asked of it is not there.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # In RING order whatever the file's own is.
            columns, header = healpy.read_map(
                path, field=None, nest=False, h=True, dtype=np.float64
            )
        maps = np.atleast_2d(np.asarray(columns))
        nside = healpy.npix2nside(maps.shape[1])
    except Exception as error:  # FITS readers raise anything
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path} cannot be read as a HEALPix map: {first}\n"
            "A map has 12 nside² cells, and a header that says how they are ordered."
        ) from error
    keys = dict(header)
    listed = [str(keys[f"TTYPE{i}"]).strip() for i in range(1, 1000) if f"TTYPE{i}" in keys]
    units = [str(keys.get(f"TUNIT{i}", "")).strip() for i in range(1, len(listed) + 1)]
    # A partial map's first column lists the cells and is not one of the maps.
    names, units = listed[-len(maps) :], units[-len(maps) :]
    chosen = [names.index(name) for name in pick_names(names, wanted, path)]
    values = np.where(healpy.mask_good(maps[chosen]), maps[chosen], np.nan).T.astype(np.float32)
    return Collection(
        ids=[path.name.split(".")[0]],
        load=lambda index: values,
        grid=HealpixGrid(nside),
        channels=[Channel(names[i], units=units[i]) for i in chosen],
    )


def write_healpix(
    path: Path, values: Float[np.ndarray, "n c"], channels: Sequence[Channel]
) -> None:
    """Write a map in RING order, NaN as UNSEEN, for `healpy.read_map`."""
    columns: Float32[np.ndarray, "c n"] = np.where(np.isnan(values), healpy.UNSEEN, values).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        healpy.write_map(
            path,
            list(columns.astype(np.float32)),
            nest=False,
            dtype=np.float32,
            column_names=[channel.key for channel in channels],
            column_units=[channel.units for channel in channels],
            overwrite=True,
        )
