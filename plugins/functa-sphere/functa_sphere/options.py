"""The options of the `sphere` modality."""

import attrs

from functa_core import option


@attrs.frozen
class SphereConfig:
    """What can be chosen about how fields are read, sampled and written."""

    variable: str | tuple[str, ...] | None = option(
        None,
        "name in the file, or a list of names that become the channels of one field. "
        "null: the only one there is",
    )
    level: float | tuple[float, ...] | None = option(
        None, "level or list of levels to read, in the file's unit. null: all of them"
    )
    levels_as: str = option(
        "signals",
        "whether each level is a signal of its own or a channel with a scale of its own",
        choices=("signals", "channels"),
    )
    level_type: str | None = option(
        None,
        "name of the level coordinate, where a GRIB file has a variable on several kinds of level",
    )
    time: str | None = option(
        None, "ISO time (2017-01) or interval (2017-01-01/2017-01-31) to read. null: all times"
    )
    points: int | None = option(
        512,
        "cells of each training step, drawn by area and the same for the whole batch, so that a "
        "step costs the same on any grid. null: all of them",
        low=1,
    )
    fit_points: int | None = option(
        16384,
        "cells that a fit after training uses; figures are of all cells all the same. "
        "null: all of them",
        low=1,
    )
    output_nside: int | None = option(
        None,
        "resolution of HEALPix maps that decoding writes beside NetCDF, a power of two. "
        "null: the data's own, if it was HEALPix, else none",
        choices=tuple(2**k for k in range(14)),
    )
    output_latitudes: tuple[float, ...] | None = option(
        None,
        "first, last and number of the latitudes that decoding writes, in degrees: [90, -90, 61]. "
        "null: the data's own, or what --resolution says",
    )
    output_longitudes: tuple[float, ...] | None = option(
        None,
        "first, last and number of the longitudes, in degrees east: [0, 357, 120], or "
        "[-10, 40, 51] for a region. null: the data's own",
    )
    coastlines: bool | None = option(
        None,
        "whether maps show the Earth's coastlines. null: for latitude-longitude grids and not for "
        "HEALPix maps, which are often of the sky",
        choices=(True, False),
    )

    def __attrs_post_init__(self) -> None:
        _check_axes(self.output_latitudes, self.output_longitudes)


def _check_axes(latitudes: tuple[float, ...] | None, longitudes: tuple[float, ...] | None) -> None:
    """That both or neither are given, and make a grid."""
    if (latitudes is None) != (longitudes is None):
        given, missing = ("latitudes", "longitudes") if latitudes else ("longitudes", "latitudes")
        raise ValueError(f"output_{given} needs output_{missing} beside it")
    if latitudes is None or longitudes is None:
        return
    for name, axis in (("latitudes", latitudes), ("longitudes", longitudes)):
        if len(axis) != 3 or axis[2] < 2 or axis[2] != int(axis[2]):
            raise ValueError(
                f"output_{name} must be first, last and number (at least 2), got {list(axis)}"
            )
    if latitudes[0] == latitudes[1] or max(map(abs, latitudes[:2])) > 90:
        raise ValueError(
            f"output_latitudes must go between two latitudes of -90 to 90, got {list(latitudes)}"
        )
    if not 0 < longitudes[1] - longitudes[0] < 360:
        raise ValueError(
            "output_longitudes must go east, less than once around (the last of 360 is 357 if "
            f"they are 3 degrees apart), got {list(longitudes)}"
        )
