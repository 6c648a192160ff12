"""Observations, figures of merit, pictures, files written, the embedded set and a whole run."""

import json
import subprocess
import sys

import healpy
import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image
from scipy.special import sph_harm_y
from sphere_helpers import Vertical, prepared, sphere, temperatures

from functa_core import UserError
from functa_sphere.collection import Map
from functa_sphere.embedded import embedded
from functa_sphere.grids import HealpixGrid, LatLonGrid
from functa_sphere.options import SphereConfig
from functa_sphere.scaling import Scaling


@pytest.fixture
def path(tmp_path):
    """Two variables at four times, with a cell and a whole row of no values."""
    data = temperatures()
    data.t.values[:, 3, 4] = np.nan
    data.t.values[:, 8] = np.nan
    data.to_netcdf(tmp_path / "data.nc")
    return tmp_path / "data.nc"


@pytest.fixture
def run(path):
    return prepared(path, variable=("t", "u"))


def test_prepared_state(run, path):
    state = json.loads(json.dumps(run.state))
    train = xr.open_dataset(path).isel(time=slice(3))
    assert state["low"] == pytest.approx([float(train.t.min()), float(train.u.min())])
    assert state["high"] == pytest.approx([float(train.t.max()), float(train.u.max())])
    assert [c["units"] for c in state["channels"]] == ["K", "m s**-1"]
    assert state["unseen"] == [[3 * 18 + 4, 3 * 18 + 5], [8 * 18, 9 * 18]]
    assert (run.spec.channels, run.spec.domain.dim, run.spec.peak) == (2, 3, 1)
    again = sphere(path, state, variable=("t", "u"))
    assert again.dataset("test")[0].grid.same_as(run.dataset("test")[0].grid)


def test_infinite_values_are_missing(run, path, tmp_path):
    data = xr.open_dataset(path).load()
    data.t.values[:, 3, 4] = [np.inf, -np.inf, np.nan, np.inf]
    data.to_netcdf(tmp_path / "infinite.nc")
    again = prepared(tmp_path / "infinite.nc", variable=("t", "u"))
    assert again.state == run.state
    few = again.observations(list(again.dataset("train")))
    expected = run.observations(list(run.dataset("train")))
    assert torch.equal(few.weights, expected.weights)
    assert torch.equal(few.known_values, expected.known_values)


def test_observations(run, path):
    signals = run.dataset("train")
    seen = run.observations(list(signals))
    data = xr.open_dataset(path)
    known = np.isfinite(data.t.values[:3].reshape(3, -1))
    areas = signals[0].grid.areas
    assert seen.shared
    assert seen.weights.numpy() == pytest.approx(areas * known, rel=1e-5)
    assert seen.values[seen.weights > 0].min() == 0
    assert seen.values[seen.weights > 0].max() == 1
    phi, lam = np.deg2rad(67.5), np.deg2rad(40.0)
    expected = [np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)]
    assert seen.queries[18 + 2].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_training_step_sees_cells_by_area(path):
    run = prepared(path, variable=("t", "u"), points=50)
    signals = list(run.dataset("train"))
    draw = [run.observations(signals, torch.Generator().manual_seed(s)) for s in (5, 5, 6)]
    assert draw[0].queries.shape == (50, 3)
    assert torch.equal(draw[0].queries, draw[1].queries)
    assert not torch.equal(draw[0].queries, draw[2].queries)
    assert draw[0].weights.eq(1).all()
    assert draw[0].values.isfinite().all()


def test_masks_that_differ_within_a_batch(path):
    run = prepared(path, variable=("t", "u"), points=50)
    signals = list(run.dataset("train"))
    holed = Map(signals[0].values.copy(), signals[0].grid)
    holed.values[:60] = np.nan
    seen = run.observations([holed, *signals[1:]], torch.Generator())
    assert seen.weights[1:].eq(1).all()
    assert 0 < seen.weights[0].sum() < 50
    assert torch.equal(seen.weights[0] > 0, seen.values[0].isfinite().all(dim=1))


def test_new_data_may_have_another_grid_and_a_batch_may_not(run):
    grid = HealpixGrid(4)
    mine = Map(np.ones((grid.count, 2), np.float32), grid)
    assert run.observations([mine, mine]).queries.shape == (192, 3)
    with pytest.raises(UserError, match="grids that differ"):
        run.observations([mine, Map(np.ones((162, 2), np.float32), run.dataset("all")[0].grid)])
    with pytest.raises(UserError, match=r"values of shape \(192, 1\)"):
        run.observations([Map(np.ones((192, 1), np.float32), grid)])


def test_a_fit_sees_some_cells_of_a_large_grid(path):
    run = prepared(path, variable="u", fit_points=40)
    seen = run.observations(list(run.dataset("train")))
    assert run.fitted(seen).sum(dim=1).tolist() == [40, 40, 40]
    assert prepared(path, variable="u").fitted(seen) is None


@pytest.mark.parametrize(
    "grid", [LatLonGrid.regular(90), HealpixGrid(32)], ids=["latlon", "healpix"]
)
def test_errors_of_a_spherical_harmonic_are_known(grid):
    """An error of a·Y_lm has RMSE a/√4π, and so the PSNR is known in closed form."""
    theta = np.arccos(grid.points[:, 2])
    wave = sph_harm_y(4, 0, theta, 0 * theta).real
    values = np.stack([wave + 7, -wave + 3]).astype(np.float32)[..., None]
    low, high = float(values[0].min()), float(values[0].max())
    state = {"label_names": [], "low": [low], "high": [high], "grid": grid.plain(), "unseen": []}
    channel = {"variable": "t", "units": "K"}
    run = sphere(None, {**state, "channels": [channel]})
    seen = run.observations([Map(v, grid) for v in values])
    (metric,) = run.metrics()
    assert (metric.name, metric.unit, metric.higher_is_better) == ("rmse", "K", False)
    flat = (torch.tensor([7.0, 3.0]) - low) / (high - low)
    error = metric.compute(flat[:, None, None].expand(2, grid.count, 1), seen)
    assert error.tolist() == pytest.approx([1 / np.sqrt(4 * np.pi)] * 2, rel=1e-3)
    mean = (seen.weights[..., None] * seen.values).sum(dim=1) / seen.weights.sum(dim=1)[:, None]
    assert mean[:, 0].tolist() == pytest.approx(flat.tolist(), abs=1e-4)


def test_rmse_reads_nothing_of_weight_0(run):
    seen = run.observations(list(run.dataset("train")))
    widths = Scaling.of(run.state["low"], run.state["high"]).width
    for metric, width in zip(run.metrics(), widths, strict=True):
        error = metric.compute(seen.known_values + 0.5, seen)
        assert error.tolist() == pytest.approx([0.5 * float(width)] * 3, rel=1e-5)
    assert [m.name for m in run.metrics()] == ["rmse_t", "rmse_u"]


def test_decode(run):
    decoded = run.decode(Vertical(3, 2))
    assert decoded.shape == (3, 9, 18, 2)
    low, high = run.state["low"], run.state["high"]
    assert decoded[:, 0, :, 0].mean() == pytest.approx(high[0], rel=1e-5), "north is first"
    assert decoded[:, -1, :, 0].mean() == pytest.approx(low[0], rel=1e-5)
    assert run.decode(Vertical(3, 2), 10).shape == (3, 10, 20, 2)


def test_what_is_written_reads_back(tmp_path, run):
    artefacts = run.render(Vertical(2, 2), tmp_path, ["a", "b"])
    assert [a.path.name for a in artefacts] == ["a.png", "a.gif", "a.nc", "b.png", "b.gif", "b.nc"]
    data = xr.open_dataset(tmp_path / "a.nc")
    assert data.t.dims == ("latitude", "longitude")
    assert data.t.attrs == {
        "units": "K",
        "standard_name": "air_temperature",
        "long_name": "temperature",
    }
    assert data.latitude.attrs["units"] == "degrees_north"
    decoded = run.decode(Vertical(1, 2))[0].numpy()
    assert np.isnan(data.t.values[8]).all(), "nothing is known there"
    assert np.isnan(data.t.values[3, 4])
    assert data.t.values[:3] == pytest.approx(decoded[:3, :, 0])
    again = sphere(tmp_path / "b.nc", run.state, variable=("t", "u")).dataset("all")[0]
    assert again.grid.same_as(run.dataset("all")[0].grid)
    assert again.values[:50] == pytest.approx(decoded.reshape(-1, 2)[:50])


def test_levels_are_written_as_an_axis(tmp_path):
    temperatures(levels=2).to_netcdf(tmp_path / "data.nc")
    run = prepared(tmp_path / "data.nc", variable="t", levels_as="channels")
    run.render(Vertical(1, 2), tmp_path, ["a"], 12)
    data = xr.open_dataset(tmp_path / "a.nc")
    assert data.t.sizes == {"level": 2, "latitude": 12, "longitude": 24}
    assert data.level.values.tolist() == [500, 850]
    new = sphere(tmp_path / "a.nc", run.state, variable="t", levels_as="channels").dataset("all")
    assert new[0].values == pytest.approx(run.decode(Vertical(1, 2), 12)[0].reshape(-1, 2).numpy())


def test_decoding_to_a_grid_of_ones_own(tmp_path, path):
    """Any evenly spaced latitudes and longitudes, of a region across 0° too."""
    own = {"output_latitudes": (30.0, 60.0, 4.0), "output_longitudes": (-10.0, 20.0, 7.0)}
    run = prepared(path, variable="u", **own)
    run.render(Vertical(1, 1), tmp_path, ["a"])
    data = xr.open_dataset(tmp_path / "a.nc")
    assert data.latitude.values == pytest.approx([60, 50, 40, 30])
    assert data.longitude.values == pytest.approx([-10, -5, 0, 5, 10, 15, 20])
    low, high = run.state["low"][0], run.state["high"][0]
    z = np.sin(np.deg2rad(data.latitude.values))
    expected = low + (0.5 + z / 2) * (high - low)
    assert data.u.values == pytest.approx(np.repeat(expected[:, None], 7, axis=1), rel=1e-5)
    assert run.decode(Vertical(1, 1)).shape == (1, 4, 7, 1)
    assert run.decode(Vertical(1, 1), 8).shape == (1, 8, 16, 1), "--resolution goes before"


@pytest.mark.parametrize(
    ("latitudes", "longitudes", "message"),
    [
        ((90.0, -90.0, 61.0), None, "output_latitudes needs output_longitudes"),
        (None, (0.0, 357.0, 120.0), "output_longitudes needs output_latitudes"),
        ((90.0, -90.0), (0.0, 357.0, 120.0), "output_latitudes must be first, last and number"),
        ((90.0, -90.0, 61.0), (0.0, 357.0, 1.0), "output_longitudes must be first, last and"),
        ((90.0, -90.0, 60.5), (0.0, 357.0, 120.0), "output_latitudes must be first, last"),
        ((91.0, -90.0, 61.0), (0.0, 357.0, 120.0), "of -90 to 90"),
        ((40.0, 40.0, 61.0), (0.0, 357.0, 120.0), "two latitudes"),
        ((90.0, -90.0, 61.0), (0.0, 360.0, 121.0), "less than once around"),
        ((90.0, -90.0, 61.0), (40.0, -10.0, 20.0), "must go east"),
    ],
)
def test_grids_that_are_none(latitudes, longitudes, message):
    """Refused with the options, before anything is read or written."""
    with pytest.raises(ValueError, match=message):
        SphereConfig(output_latitudes=latitudes, output_longitudes=longitudes)


@pytest.mark.parametrize("resolution", [None, 12])
def test_healpix_maps_are_written(tmp_path, path, resolution):
    run = prepared(path, variable="u", output_nside=8)
    run.render(Vertical(1, 1), tmp_path, ["a"], resolution)
    values, header = healpy.read_map(tmp_path / "a.fits", h=True)
    z = np.array(healpy.pix2vec(8, np.arange(768)))[2]
    low, high = run.state["low"][0], run.state["high"][0]
    assert values == pytest.approx(low + (0.5 + z / 2) * (high - low), rel=1e-5)
    assert dict(header)["TUNIT1"] == "m s**-1"
    assert (tmp_path / "a.nc").is_file()


def test_a_run_on_healpix_maps_writes_healpix_maps(tmp_path):
    for i in range(3):
        values = np.random.default_rng(i).normal(size=192)
        values[:20] = healpy.UNSEEN
        healpy.write_map(tmp_path / f"{i}.fits", values, column_names=["T"], dtype=np.float64)
    run = prepared(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    run.render(Vertical(1, 1), out, ["a"])
    assert sorted(p.name for p in out.iterdir()) == ["a.fits", "a.gif", "a.png"]
    values = healpy.read_map(out / "a.fits")
    assert (values[:20] == np.float32(healpy.UNSEEN)).all()
    assert run.decode(Vertical(2, 1)).shape == (2, 192, 1)


def opened(artefacts):
    """The pictures of artefacts, all of which can be read."""
    for artefact in artefacts:
        with Image.open(artefact.path) as image:
            image.load()
            assert min(image.size) > 100
            assert artefact.media_type == f"image/{image.format.lower()}"
            yield artefact.path.name, image.copy(), getattr(image, "n_frames", 1)


@pytest.mark.slow
def test_pictures(tmp_path, run):
    signals = list(run.dataset("train"))
    fields = [Vertical(3, 2)] * 4
    drawn = {
        name: (image, frames)
        for name, image, frames in opened(
            [
                *run.figures(signals, fields, tmp_path),
                *run.compare(signals, {"one": fields[0], "other": fields[1]}, tmp_path),
                *run.preview(run.dataset("train"), tmp_path),
            ]
        )
    }
    assert set(drawn) == {"fits.png", "steps.png", "globes.gif", "compared.png", "fields.png"}
    assert drawn["globes.gif"][1] == 30
    assert len(np.unique(np.asarray(drawn["fits.png"][0]).reshape(-1, 4), axis=0)) > 100


def test_maps_without_the_picture_of_the_earth(tmp_path, run, monkeypatch, capfd):
    """Coastlines are left out, silently, where they cannot be had."""
    import functa_sphere.coastlines as coastlines

    monkeypatch.setattr(coastlines, "PICTURE", "data/nowhere.png")
    coastlines.land_raster.cache_clear()
    try:
        assert list(
            opened(run.compare(list(run.dataset("train")), {"x": Vertical(3, 2)}, tmp_path))
        )
        assert capfd.readouterr() == ("", "")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        with pytest.raises(UserError, match=r"cartopy ships(.|\n)*--data"):
            embedded()
    finally:
        coastlines.land_raster.cache_clear()


def test_inspect_lines(run):
    lines = run.describe(run.dataset("train"))
    assert lines["grid"] == "9x18 latitudes x longitudes"
    assert lines["split"] == "by time, the last 1 of 4 for testing (2017-01-02T12 on)"
    assert lines["fields"].endswith("(training range)")


def test_the_embedded_set():
    run = prepared(None)
    train, test = run.dataset("train"), run.dataset("test")
    assert (len(train), len(test)) == (240, 60)
    assert run.state["label_names"] == ["seasons", "storms", "waves"]
    assert set(train.labels) == set(test.labels) == {0, 1, 2}
    fields = np.stack([s.values[:, 0] for s in train])
    areas = train[0].grid.areas / (4 * np.pi)
    for signal in test:
        error = np.sqrt((areas * np.square(fields - signal.values[:, 0])).sum(axis=1))
        assert error.min() > 1.0, "kelvin: a test field is no copy of a training field"


def test_no_embedded_field_is_a_rotation_of_another():
    """The values of a rotated field, sorted by size, would be nearly the same."""
    run = prepared(None)
    areas = run.dataset("all")[0].grid.areas
    levels = np.linspace(0.01, 0.99, 50)

    def quantiles(signal):
        order = signal.values[:, 0].argsort()
        share = np.cumsum(areas[order]) / areas.sum()
        return np.interp(levels, share, signal.values[order, 0])

    train = np.stack([quantiles(s) for s in run.dataset("train")])
    for signal in run.dataset("test"):
        assert abs(train - quantiles(signal)).max(axis=1).min() > 0.2


def test_the_embedded_set_is_the_same_everywhere(monkeypatch, tmp_path):
    with np.load(embedded()) as first:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        with np.load(embedded()) as again:
            assert np.array_equal(first["values"], again["values"])


@pytest.mark.slow
def test_a_run_from_the_command_line(tmp_path):
    """Train, encode another grid, decode to files; a wrong variable ends with exit code 2."""

    def functa(*arguments):
        command = [sys.executable, "-m", "functa_core", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    temperatures(times=10).to_netcdf(tmp_path / "a.nc")
    temperatures(times=2, rows=17, columns=36).to_netcdf(tmp_path / "b.nc")
    data = ["--modality", "sphere", "--data", tmp_path / "a.nc"]
    refused = functa("run", *data, "--set", "modality.variable=tt", "--out", tmp_path / "run")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "Did you mean 't'" in refused.stderr
    assert not (tmp_path / "run").exists()
    small = ["modality.variable=t", "model.width=16", "model.depth=3", "model.latent_dim=4"]
    small += ["tasks.generate.model=flow", "tasks.generate.flow_steps=2", "tasks.impute.steps=2"]
    small += ["tasks.interpolate.frames=3", "meta.steps=3"]
    sets = [word for one in small for word in ("--set", one)]
    done = functa("run", *data, *sets, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["reconstruction"]["test"]["rmse"] > 0
    assert set(metrics["baselines"]) == {"mean", "nearest", "pca"}
    new = ["--data", tmp_path / "b.nc", "--out", tmp_path / "b.safetensors"]
    assert functa("encode", "--run", tmp_path / "run", *new).returncode == 0
    out = ["--latents", tmp_path / "b.safetensors", "--out", tmp_path / "b", "--resolution", 8]
    assert functa("decode", "--run", tmp_path / "run", *out).returncode == 0
    assert xr.open_dataset(tmp_path / "b" / "000001.nc").t.shape == (8, 16)
