"""The set used when no data is given: fields of temperature made by formula.

Real fields would be better, and no package that this plugin needs ships a set of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from functa_core import UserError, cached
from functa_sphere.coastlines import land_share
from functa_sphere.grids import LatLonGrid, unit_vectors
from functa_sphere.synthetic import KINDS, Earth

ROWS, COLUMNS = 46, 90
TRAIN, TEST = 80, 20
"""Fields of each kind. All are drawn independently, so none is a version of another."""
FINER = 4
"""Samples a side that the share of land in a cell is the mean of."""


def embedded() -> Path:
    """The set as an .npz file, made when it is first asked for.

    Raises:
        UserError: the picture that the continents come from is not there.
    """
    return cached("sphere-temperatures-v1", _make) / "temperatures.npz"


def _make(folder: Path) -> None:
    """Write the set into `folder`."""
    rng = np.random.default_rng(2201)
    grid = LatLonGrid(_centres(ROWS, 90.0, -90.0), _centres(COLUMNS, 0.0, 360.0))
    earth = Earth.of(grid.points, _land())
    fields, labels, is_test = [], [], []
    for label, make in enumerate(KINDS.values()):
        for i in range(TRAIN + TEST):
            fields.append(make(earth, rng).astype(np.float32).reshape(grid.shape))
            labels.append(label)
            is_test.append(i >= TRAIN)
    np.savez(
        folder / "temperatures.npz",
        values=np.stack(fields),
        latitude=grid.latitudes,
        longitude=grid.longitudes,
        variables=np.array(["temperature"]),
        units=np.array(["K"]),
        labels=np.array(labels),
        label_names=np.array(list(KINDS)),
        is_test=np.array(is_test),
    )


def _centres(count: int, start: float, stop: float) -> Float64[np.ndarray, " n"]:
    """Centres of equal parts of an interval."""
    centres: Float64[np.ndarray, " n"] = start + (np.arange(count) + 0.5) * ((stop - start) / count)
    return centres


def _land() -> Float64[np.ndarray, " n"]:
    """The share of land in each cell."""
    mesh = np.meshgrid(
        _centres(ROWS * FINER, 90.0, -90.0), _centres(COLUMNS * FINER, 0.0, 360.0), indexing="ij"
    )
    share = land_share(unit_vectors(*mesh))
    if share is None:
        raise UserError(
            "the embedded fields need the picture of the Earth that the package cartopy ships.\n"
            "Reinstall that package with pip, or give fields of your own with --data."
        )
    mean: Float64[np.ndarray, " n"] = share.reshape(ROWS, FINER, COLUMNS, FINER).mean(axis=(1, 3))
    return mean.ravel()
