"""Which kind of file something is, by its name: the libraries that read it are imported later."""

from __future__ import annotations

from pathlib import Path

NETCDF = (".nc", ".nc4", ".cdf", ".netcdf")
GRIB = (".grib", ".grib2", ".grb", ".grb2")
FITS = (".fits", ".fit", ".fits.gz", ".fit.gz")


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr store."""
    marks = (".zgroup", ".zmetadata", "zarr.json")
    return path.is_dir() and (path.suffix == ".zarr" or any((path / m).exists() for m in marks))


def is_fits(path: Path) -> bool:
    """Whether a file is named as FITS files are."""
    return path.name.lower().endswith(FITS)
