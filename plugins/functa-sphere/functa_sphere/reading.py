"""From what the user pointed at to a collection of fields."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from functa_core import UserError
from functa_sphere.arrays import read_arrays
from functa_sphere.collection import Channel, Collection, checked, concatenate
from functa_sphere.kinds import GRIB, NETCDF, is_fits, is_zarr
from functa_sphere.wanted import Wanted

READ = "NetCDF (.nc), GRIB (.grib), Zarr, HEALPix maps (.fits) and .npz files are read."


def read(path: Path, wanted: Wanted, skip_bad: bool) -> Collection:
    """All fields of a file, or of a folder of NetCDF, GRIB, Zarr or FITS files.

    Raises:
        UserError: there is nothing at `path`, it is of another kind, or its content is unusable.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder.\n{READ}")
    if path.is_dir() and not is_zarr(path):
        found = _read_folder(path, wanted, skip_bad)
    elif path.suffix.lower() == ".npz":
        found = read_arrays(path, wanted)
    elif _in_folders(path):
        found = _read_file(path, wanted)
    else:
        kind = f"a {path.suffix} file" if path.suffix else "a file without a suffix"
        raise UserError(f"{path} is {kind}, which is not read.\n{READ}")
    found = checked(found, skip_bad)
    if wanted.prepared is not None:
        _check_prepared(found, wanted.prepared, path)
    return found


def _in_folders(path: Path) -> bool:
    return is_fits(path) or path.suffix.lower() in NETCDF + GRIB or is_zarr(path)


def _read_file(path: Path, wanted: Wanted) -> Collection:
    # Each with a library that takes half a second or more to import.
    if is_fits(path):
        from functa_sphere.healpix import read_healpix

        return read_healpix(path, wanted)
    from functa_sphere.gridded import read_gridded

    return read_gridded(path, wanted)


def _read_folder(folder: Path, wanted: Wanted, skip_bad: bool) -> Collection:
    """All files of a folder in the order of their names, damaged ones left out if allowed."""
    files = [p for p in sorted(folder.iterdir()) if _in_folders(p) and not p.name.startswith(".")]
    parts: list[tuple[str, Collection]] = []
    skipped: list[str] = []
    for file in files:
        try:
            parts.append((file.name.split(".")[0], _read_file(file, wanted)))
        except UserError:
            if not skip_bad:
                raise
            skipped.append(file.name)
    if not parts:
        left = f" ({len(skipped)} damaged ones were left out)" if skipped else ""
        raise UserError(f"{folder} has no file that can be read{left}.\n{READ}")
    names = [name for name, _ in parts]
    if len(set(names)) < len(names):
        # x.nc and x.grib: the whole name tells them apart.
        kept = [file.name for file in files if file.name not in skipped]
        parts = [(name, part) for name, (_, part) in zip(kept, parts, strict=True)]
    whole = concatenate(parts)
    if skipped:
        note = f"left out {len(skipped)} that cannot be used: {', '.join(skipped[:5])}"
        return attrs.evolve(whole, notes=[*whole.notes, note])
    return whole


def _check_prepared(found: Collection, prepared: Sequence[Channel], path: Path) -> None:
    """That new data is what a run was trained on; its grid may be another one.

    Raises:
        UserError: other channels, or other units of the same ones.
    """
    ours, theirs = ([(c.variable, c.level) for c in cs] for cs in (prepared, found.channels))
    if ours != theirs:
        raise UserError(
            f"{path} has the channels {_list(found.channels)}; this run was trained on "
            f"{_list(prepared)}.\nGive data with the same variables and levels."
        )
    for trained, new in zip(prepared, found.channels, strict=True):
        if trained.units and new.units and trained.units != new.units:
            raise UserError(
                f"{path} has {new.label} in '{new.units}'; this run was trained on it in "
                f"'{trained.units}'.\nConvert it first."
            )


def _list(channels: Sequence[Channel]) -> str:
    return ", ".join(channel.label for channel in channels)
