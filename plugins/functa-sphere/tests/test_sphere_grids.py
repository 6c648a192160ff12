"""Cells and their areas, random cells, views: numbers against closed forms."""

import json
from typing import Any

import healpy
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import sph_harm_y

from functa_sphere.coastlines import land_share, look_up
from functa_sphere.grids import HealpixGrid, LatLonGrid, NearestCell, grid_from, unit_vectors
from functa_sphere.sampling import draw_by_area
from functa_sphere.scaling import mask_of, runs_of
from functa_sphere.views import globe, mollweide, plate

WITH_POLES = LatLonGrid(np.linspace(90.0, -90.0, 61), np.arange(120) * 3.0)
GAUSSIAN = LatLonGrid(
    np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(32)[0]))[::-1].copy(),
    np.arange(64) * 5.625,
)
GRIDS = [WITH_POLES, GAUSSIAN, LatLonGrid.regular(23), HealpixGrid(8)]


@pytest.mark.parametrize("grid", GRIDS, ids=lambda g: g.words())
def test_areas_are_those_of_the_sphere(grid):
    assert grid.areas.sum() == pytest.approx(4 * np.pi, rel=1e-12)
    assert grid.areas.min() > 0
    assert np.linalg.norm(grid.points, axis=1) == pytest.approx(1)
    assert grid.count == len(grid.points) == len(grid.areas) == np.prod(grid.shape)
    assert grid_from(json.loads(json.dumps(grid.plain()))).same_as(grid)


def test_gaussian_areas_are_near_gaussian_weights():
    weights = np.polynomial.legendre.leggauss(32)[1]
    rows = GAUSSIAN.areas.reshape(32, 64).sum(axis=1) / (2 * np.pi)
    assert rows == pytest.approx(weights, rel=0.06)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda g: g.words())
@pytest.mark.parametrize(("degree", "order"), [(1, 0), (2, 1), (3, 3), (6, 4)])
def test_spherical_harmonics_under_the_weights(grid, degree, order):
    """Their mean is 0, and that of |Y|² is 1/4π."""
    theta = np.arccos(grid.points[:, 2].clip(-1, 1))
    harmonic = sph_harm_y(degree, order, theta, np.arctan2(grid.points[:, 1], grid.points[:, 0]))
    assert abs(np.sum(grid.areas * harmonic)) < 0.01
    assert np.sum(grid.areas * abs(harmonic) ** 2) == pytest.approx(1, rel=0.02)


@given(
    st.lists(st.integers(-89, 89), min_size=2, max_size=12, unique=True),
    st.lists(st.integers(0, 359), min_size=2, max_size=12, unique=True),
)
@settings(max_examples=60, deadline=None)
def test_no_area_is_lost_or_counted_twice(latitudes, longitudes):
    grid = LatLonGrid(np.sort(latitudes)[::-1].astype(float), np.sort(longitudes).astype(float))
    assert (grid.areas > 0).all()
    assert grid.areas.sum() <= 4 * np.pi * (1 + 1e-12)


def test_a_regional_grid_has_the_area_of_its_box():
    grid = LatLonGrid(np.arange(60, 29, -2.0), np.arange(10, 51, 2.0))
    box = (np.sin(np.deg2rad(61)) - np.sin(np.deg2rad(29))) * np.deg2rad(42)
    assert grid.areas.sum() == pytest.approx(box)
    across = LatLonGrid(np.arange(60, 29, -2.0), np.array([0, 2, 4, 356, 358.0]))
    assert across.areas.reshape(16, 5).sum(axis=1) == pytest.approx(
        (grid.areas.reshape(16, 21).sum(axis=1)) * 5 / 21
    )


def test_the_nearest_cell():
    rng = np.random.default_rng(0)
    anywhere = rng.normal(size=(500, 3))
    anywhere /= np.linalg.norm(anywhere, axis=1, keepdims=True)
    grid: Any
    for grid in GRIDS:
        brute = (anywhere @ grid.points.T).argmax(axis=1)
        found = NearestCell(grid)(anywhere)
        assert (found >= 0).all()
        chords = np.einsum("nd,nd->n", anywhere, grid.points[found])
        assert chords == pytest.approx(np.einsum("nd,nd->n", anywhere, grid.points[brute]))
    region = LatLonGrid(np.arange(60, 29, -2.0), np.arange(10, 51, 2.0))
    far, near = unit_vectors(np.array([0.0, 45.0]), np.array([30.0, 30.5]))
    assert NearestCell(region)(np.stack([far, near])).tolist()[0] == -1
    assert NearestCell(region)(near[None])[0] >= 0


def test_draws_are_unbiased_and_better_than_independent_ones():
    """The mean over drawn cells estimates the mean over the sphere, with less variance."""
    grid = LatLonGrid.regular(24)
    areas = torch.from_numpy(grid.areas) * torch.from_numpy(grid.points[:, 0] > -0.5)
    values = torch.from_numpy(grid.points[:, 2] ** 2 + grid.points[:, 0])
    exact = float((areas * values).sum() / areas.sum())
    independent, stratified, uniform = [], [], []
    for seed in range(400):
        rng = torch.Generator().manual_seed(seed)
        drawn = draw_by_area(areas, 64, rng)
        assert (areas[drawn] > 0).all()
        stratified.append(float(values[drawn].mean()))
        again = torch.multinomial(areas, 64, replacement=True, generator=rng)
        independent.append(float(values[again].mean()))
        cells = torch.randperm(grid.count, generator=rng)[:64]
        uniform.append(float((areas * values)[cells].sum() / areas[cells].sum()))
    error = np.std(stratified) / np.sqrt(400)
    assert np.mean(stratified) == pytest.approx(exact, abs=4 * error)
    assert np.std(stratified) < 0.8 * np.std(independent) < 0.9 * np.std(uniform)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 50), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_cells_without_area_are_never_drawn(areas, count, seed):
    areas = torch.tensor([*areas, 1.0, 0.0], dtype=torch.float64)
    drawn = draw_by_area(areas, count, torch.Generator().manual_seed(seed))
    assert len(drawn) == count
    assert (areas[drawn] > 0).all()
    expected = count * areas / areas.sum()
    assert ((torch.bincount(drawn, minlength=len(areas)) - expected).abs() < 2 + 1e-9).all()


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_masks_as_runs(mask):
    runs = json.loads(json.dumps(runs_of(np.array(mask))))
    assert mask_of(runs, len(mask)).tolist() == mask


def test_views_show_the_sphere():
    oval = mollweide(100)
    # An ellipse covers π/4 of its box, and equal areas of it are equal areas of the sphere.
    assert oval.inside.mean() == pytest.approx(np.pi / 4, rel=0.01)
    assert np.nanmean(oval.points[..., 2] > np.sin(np.deg2rad(30))) * 4 / np.pi == pytest.approx(
        0.25, rel=0.02
    )
    assert oval.points[50, 100] == pytest.approx([1, 0, 0], abs=0.03)
    assert oval.points[0][oval.inside[0]][:, 2].min() > 0.95
    half = globe(101, 90.0, 20.0)
    centre = unit_vectors(np.array(20.0), np.array(90.0))
    assert half.points[50, 50] == pytest.approx(centre)
    assert np.nanmin(half.points @ centre) >= 0
    assert half.points[20, 50, 2] > half.points[80, 50, 2], "north is up"
    assert half.points[50, 20, 0] > half.points[50, 80, 0], "east is right"
    for view in (oval, half, plate(20)):
        assert np.linalg.norm(view.points[view.inside], axis=1) == pytest.approx(1)


def test_looking_up_a_raster_is_exact_where_it_is_linear():
    view = plate(90)
    latitude = np.arcsin(view.points[..., 2])
    points = unit_vectors(np.array([10.3, -60.1, 0.0]), np.array([17.2, 200.0, 180.0]))
    assert np.rad2deg(look_up(latitude, points)) == pytest.approx([10.3, -60.1, 0.0], abs=1e-9)


@pytest.mark.parametrize(
    ("place", "latitude", "longitude", "land"),
    [
        ("Sahara", 23, 10, True),
        ("Brazil", -10, -55, True),
        ("Siberia", 62, 100, True),
        ("Antarctica", -85, 0, True),
        ("Pacific", 0, -150, False),
        ("Atlantic", 30, -45, False),
        ("Indian Ocean", -20, 80, False),
    ],
)
def test_land_is_where_it_is(place, latitude, longitude, land):
    share = land_share(unit_vectors(np.array(float(latitude)), np.array(float(longitude))))
    assert (float(share) > 0.5) is land, place


def test_the_earth_is_mostly_water():
    grid = LatLonGrid.regular(90)
    share = float(grid.areas @ land_share(grid.points) / (4 * np.pi))
    assert share == pytest.approx(0.29, abs=0.02)


def test_healpix_points_are_healpys():
    grid = HealpixGrid(4)
    theta, phi = healpy.pix2ang(4, np.arange(192))
    assert grid.points == pytest.approx(unit_vectors(90 - np.rad2deg(theta), np.rad2deg(phi)))
