"""What masks leave to be seen of the sphere."""

import numpy as np
import pytest
import torch

from functa_core import Observations
from functa_sphere.collection import Map
from functa_sphere.grids import LatLonGrid
from functa_sphere.masks import HALF_SWATH, INCLINATION, MASKS, near_orbits

GRID = LatLonGrid.regular(90)


def seen(name, seed=0):
    mask = next(mask for mask in MASKS if mask.name == name)
    size = GRID.count
    observed = Observations(
        torch.from_numpy(GRID.points).float(), torch.zeros(2, size, 1), torch.ones(2, size)
    )
    fields = [Map(np.zeros((size, 1), np.float32), GRID)] * 2
    return mask.visible(fields, observed, torch.Generator().manual_seed(seed)).numpy()


def test_the_eastern_hemisphere_and_the_poles():
    latitude, longitude = np.meshgrid(GRID.latitudes, GRID.longitudes, indexing="ij")
    assert (seen("eastern")[0] == (longitude.ravel() < 180)).all()
    assert (seen("no-poles")[1] == (np.abs(latitude.ravel()) < 60)).all()


def test_swaths_lie_along_inclined_great_circles():
    """Points of an orbit, made by turning the equator, are seen, and so is all beside them."""
    tilt, start = np.deg2rad(INCLINATION), 0.4
    turn = np.linspace(0, 2 * np.pi, 200)
    for away in (0.0, HALF_SWATH - 0.1, -HALF_SWATH + 0.1):
        side = np.deg2rad(away)
        flat = np.stack(
            [np.cos(side) * np.cos(turn), np.cos(side) * np.sin(turn), 0 * turn + np.sin(side)]
        )
        tilted = [
            [1, 0, 0],
            [0, np.cos(tilt), -np.sin(tilt)],
            [0, np.sin(tilt), np.cos(tilt)],
        ]
        turned = [
            [np.cos(start), -np.sin(start), 0],
            [np.sin(start), np.cos(start), 0],
            [0, 0, 1],
        ]
        points = (np.array(turned) @ np.array(tilted) @ flat).T
        assert near_orbits(torch.from_numpy(points).float(), start).all()


def test_swaths_see_about_half_and_differ_between_signals():
    one, other = seen("swaths")
    for shown in (one, other):
        share = GRID.areas[shown].sum() / GRID.areas.sum()
        assert share == pytest.approx(0.5, abs=0.1)
    assert (one != other).any()
