"""JPEG 2000 beside compressed latents, and fields as raw arrays."""

import numpy as np
import pytest
import torch
from sphere_helpers import prepared, temperatures

from functa_sphere.codec import filled, jpeg2000
from functa_sphere.grids import HealpixGrid


@pytest.fixture
def run(tmp_path):
    """Two smooth variables on 32 x 64 cells, some of which have no value."""
    data = temperatures(rows=32, columns=64)
    phi, lam = np.deg2rad(np.meshgrid(data.latitude, data.longitude, indexing="ij"))
    data.t.values[:] = 280 + 30 * np.cos(phi) * np.cos(lam + np.arange(4)[:, None, None])
    data.u.values[:] = 5 * np.sin(2 * phi) * np.sin(lam)
    data.t.values[:, 3, 4:9] = np.nan
    data.to_netcdf(tmp_path / "data.nc")
    return prepared(tmp_path / "data.nc", variable=("t", "u"))


def test_finer_settings_take_more_bits_and_are_better(run):
    signals = list(run.dataset("train"))
    seen = run.observations(signals)
    codec = run.codec()
    sizes, errors = [], []
    for setting in codec.settings:
        bits, values = codec.code(signals, seen, setting)
        assert values.shape == seen.values.shape
        error = torch.where(seen.weights[..., None] > 0, values - seen.values, 0.0)
        sizes.append(float(bits.mean()))
        errors.append(float(error.square().mean()))
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-5
    assert sizes[-1] < 2 * 16 * 32 * 64 / 8  # of two channels of 16 bits a value


def test_a_channel_of_one_value_comes_back(run):
    signals = list(run.dataset("train"))
    seen = run.observations(signals)
    flat = type(seen)(seen.queries, torch.full_like(seen.values, 0.25), seen.weights)
    _, values = jpeg2000().code(signals, flat, 50)
    assert values.sub(0.25).abs().max() < 1e-6


def test_raw_arrays_are_on_the_grid_and_have_no_holes(run):
    signals = list(run.dataset("train"))
    raw = run.raw(signals)
    assert raw.shape == (3, 2, 32, 64)
    assert raw.isfinite().all()
    seen = run.observations(signals)
    known = seen.values[..., 0].isfinite()
    assert torch.equal(raw[:, 0].flatten(1)[known], seen.values[..., 0][known])
    holes = filled(seen)[..., 0][~known].reshape(3, -1)
    means = torch.stack([v[k].mean() for v, k in zip(seen.values[..., 0], known, strict=True)])
    torch.testing.assert_close(holes, means[:, None].expand_as(holes))


def test_healpix_maps_have_no_codec(run):
    state = {**run.state, "grid": HealpixGrid(4).plain()}
    assert type(run)(run.config, run.source, state).codec() is None
