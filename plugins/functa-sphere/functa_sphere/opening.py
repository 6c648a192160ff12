"""Opening files that xarray reads."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import xarray as xr

from functa_core import UserError
from functa_sphere.kinds import GRIB, is_zarr


def open_datasets(path: Path) -> tuple[list[xr.Dataset], list[str]]:
    """A file's contents, read when they are used, and notes on how it was opened.

    GRIB files may hold several: their messages need not fit into one grid of levels and times.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd attributes do not spoil the values
            if path.suffix.lower() in GRIB:
                return _open_grib(path), []
            engine = "zarr" if is_zarr(path) else "netcdf4"
            try:
                return [xr.open_dataset(path, engine=engine)], []
            except ValueError as error:
                if "time" not in str(error):
                    raise
            note = f"{path.name}: its times cannot be decoded and are taken as plain numbers"
            return [xr.open_dataset(path, engine=engine, decode_times=False)], [note]
    except Exception as error:  # decoders of damaged files raise anything
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise UserError(
            f"{path} cannot be read: {first[0]}\n"
            "It is damaged, or not of the kind that its name says."
        ) from error


def _open_grib(path: Path) -> list[xr.Dataset]:
    import cfgrib  # takes a second to import

    # Messages that do not fit are sorted into further datasets, so there is nothing to warn of.
    logging.getLogger("cfgrib").setLevel(logging.CRITICAL)
    # Without this an index file would be written beside the data.
    datasets = cfgrib.open_datasets(str(path), backend_kwargs={"indexpath": ""})
    if not datasets:
        raise ValueError("it has no messages")
    return list(datasets)
