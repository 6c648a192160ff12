"""Fields on disk and fields that need no training."""

from typing import Any

import numpy as np
import torch
import xarray as xr

from functa_core import DataSource
from functa_sphere.modality import Sphere
from functa_sphere.options import SphereConfig


def sphere(path=None, state=None, *, seed=0, fraction=0.1, skip_bad=False, **options):
    """The modality on some data."""
    return Sphere(SphereConfig(**options), DataSource(path, fraction, seed, skip_bad), state)


def prepared(path=None, **options):
    """The modality, prepared on its own training split."""
    unprepared = sphere(path, **options)
    return sphere(path, unprepared.prepare(unprepared.dataset("train")), **options)


def temperatures(times=4, members=0, levels=0, rows=9, columns=18, seed=0):
    """A data set as models write it: t and u in time, ensemble, level, latitude, longitude."""
    rng = np.random.default_rng(seed)
    sizes = {"time": times, "number": members, "level": levels}
    dims = [name for name, size in sizes.items() if size]
    shape = [size for size in sizes.values() if size] + [rows, columns]
    dims += ["latitude", "longitude"]
    start = np.datetime64("2017-01-01T00", "ns")
    coordinates = {
        "time": start + np.arange(times) * np.timedelta64(12, "h"),
        "number": np.arange(members),
        "level": ("level", [500.0, 850.0, 1000.0][:levels], {"units": "hPa"}),
        "latitude": ("latitude", np.linspace(90, -90, rows), {"units": "degrees_north"}),
        "longitude": ("longitude", np.arange(columns) * 360 / columns, {"units": "degrees_east"}),
    }
    about = {"units": "K", "standard_name": "air_temperature", "long_name": "temperature"}
    return xr.Dataset(
        {
            "t": (dims, (280 + 10 * rng.normal(size=shape)).astype(np.float32), about),
            "u": (dims, rng.normal(size=shape).astype(np.float32), {"units": "m s**-1"}),
        },
        {name: c for name, c in coordinates.items() if name in dims},
    )


class Vertical:
    """A field that needs no training: channel c is 0.5 + z / (2 (c + 1)) at (x, y, z)."""

    def __init__(self, count=1, channels=1):
        self.count, self.channels = count, channels

    def __len__(self):
        return self.count

    def __getitem__(self, chosen):
        return Vertical(len(range(*chosen.indices(self.count))), self.channels)

    def __call__(self, coords):
        z = coords[..., 2:]
        values = torch.cat([0.5 + z / (2 * (c + 1)) for c in range(self.channels)], dim=-1)
        return values.expand(self.count, -1, -1) if values.ndim == 2 else values


def write_grib(path, fields, kind=100, levels=(500,), mode="wb"):
    """Fields (time, 9, 18) of temperature, 12 hours apart, on each level, as GRIB 2 messages."""
    import eccodes

    with path.open(mode) as file:
        for level in levels:
            for hours, field in enumerate(fields):
                message = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib2")
                keys: dict[str, Any] = {"Ni": 18, "Nj": 9, "iDirectionIncrementInDegrees": 20}
                keys |= {
                    "jDirectionIncrementInDegrees": 22.5,
                    "latitudeOfFirstGridPointInDegrees": 90,
                }
                keys |= {"latitudeOfLastGridPointInDegrees": -90, "dataDate": 20170101}
                keys |= {"longitudeOfFirstGridPointInDegrees": 0, "dataTime": 1200 * hours}
                keys |= {"longitudeOfLastGridPointInDegrees": 340, "typeOfFirstFixedSurface": kind}
                keys |= {"shortName": "t", "level": level, "bitsPerValue": 24}
                for key, value in keys.items():
                    eccodes.codes_set(message, key, value)
                eccodes.codes_set_values(message, field.astype(float).ravel())
                eccodes.codes_write(message, file)
                eccodes.codes_release(message)
