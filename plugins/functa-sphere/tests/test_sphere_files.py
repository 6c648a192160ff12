"""Reading NetCDF, GRIB, Zarr, FITS and .npz files, and saying what is wrong with them."""

import healpy
import numpy as np
import pytest
import xarray as xr
from sphere_helpers import prepared, sphere, temperatures, write_grib

from functa_core import UserError


@pytest.fixture
def nc(tmp_path):
    def write(dataset, name="x.nc", **options):
        dataset.to_netcdf(tmp_path / name, **options)
        return tmp_path / name

    return write


def test_grib_on_several_kinds_of_level(tmp_path):
    fields = temperatures(times=2).t.values
    write_grib(tmp_path / "x.grib", fields, kind=100, levels=(500, 850))
    write_grib(tmp_path / "x.grib", fields + 5, kind=103, levels=(80,), mode="ab")
    with pytest.raises(UserError, match=r"'t' on several kinds of level: .*isobaricInhPa"):
        sphere(tmp_path / "x.grib").dataset("all")
    kinds = {"isobaricInhPa": 4, "heightAboveGround": 2}
    for kind, count in kinds.items():
        assert len(sphere(tmp_path / "x.grib", level_type=kind).dataset("all")) == count
    with pytest.raises(UserError, match="names 0 of them"):
        sphere(tmp_path / "x.grib", level_type="hybrid").dataset("all")


def values_of(path, **options):
    return [signal.values for signal in sphere(path, **options).dataset("all")]


def test_netcdf(nc):
    data = temperatures(times=3, members=2)
    signals = sphere(nc(data), variable="t").dataset("all")
    assert list(signals.ids)[:2] == [
        "time=2017-01-01T00, number=0",
        "time=2017-01-01T00, number=1",
    ]
    assert len(signals) == 6
    assert signals[1].values == pytest.approx(data.t.values[0, 1].reshape(-1, 1))
    assert signals[0].grid.words() == "9x18 latitudes x longitudes"


@pytest.mark.parametrize("store", ["x.zarr", "plain-folder"])
def test_zarr(tmp_path, store):
    data = temperatures(times=2)
    data.to_zarr(tmp_path / store)
    assert np.array_equal(
        values_of(tmp_path / store, variable="t")[1], data.t.values[1].reshape(-1, 1)
    )


@pytest.mark.parametrize("name", ["x.grib", "x.zarr"])
def test_levels_and_times_of_grib_and_zarr(tmp_path, name):
    data = temperatures(times=2, levels=2)
    if name == "x.grib":
        write_grib(tmp_path / name, data.t.values[:, 1], levels=(850,))
        write_grib(tmp_path / name, data.t.values[:, 0], levels=(500,), mode="ab")
    else:
        data.to_zarr(tmp_path / name, zarr_format=2)
    assert len(sphere(tmp_path / name, variable="t", level=850.0).dataset("all")) == 2
    (got,) = values_of(tmp_path / name, variable="t", level=850.0, time="2017-01-01T12")
    assert got[:, 0] == pytest.approx(data.t.values[1, 1].ravel(), abs=0.01)


def test_grib(tmp_path):
    data = temperatures(times=2)
    write_grib(tmp_path / "x.grib", data.t.values)
    before = sorted(tmp_path.iterdir())
    signals = sphere(tmp_path / "x.grib").dataset("all")
    assert sorted(tmp_path.iterdir()) == before, "no index file beside the data"
    assert list(signals.ids) == ["time=2017-01-01T00", "time=2017-01-01T12"]
    assert signals[1].values == pytest.approx(data.t.values[1].reshape(-1, 1), abs=0.01)
    assert prepared(tmp_path / "x.grib").state["channels"][0]["units"] == "K"


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("from_180", [False, True])
def test_orientation_and_longitude_range_do_not_matter(nc, flipped, from_180):
    data = temperatures(times=2)
    other = data.isel(latitude=slice(None, None, -1)) if flipped else data
    if from_180:
        other = other.assign_coords(longitude=(other.longitude + 180) % 360 - 180)
        other = other.sortby("longitude")
        other.longitude.attrs["units"] = "degrees_east"
    ours = prepared(nc(data, "a.nc"), variable="t")
    theirs = prepared(nc(other.transpose("longitude", "time", "latitude"), "b.nc"), variable="t")
    a, b = (m.observations(list(m.dataset("all"))) for m in (ours, theirs))
    assert a.queries == pytest.approx(b.queries)
    assert np.array_equal(a.values, b.values)
    assert a.weights == pytest.approx(b.weights)


def test_names_and_units_that_people_use(nc):
    data = temperatures(times=1)
    for latitude, longitude, units in (("lat", "lon", False), ("FNOCY", "FNOCX", True)):
        renamed = data.rename(latitude=latitude, longitude=longitude)
        if not units:
            for axis in (latitude, longitude):
                del renamed[axis].attrs["units"]
        got = values_of(nc(renamed, f"{latitude}.nc"), variable="t")
        assert np.array_equal(got, values_of(nc(data), variable="t"))


def test_axes_by_standard_name_and_along_other_dimensions(nc):
    data = temperatures(times=2)
    renamed = data.rename(latitude="a", longitude="b")
    renamed.a.attrs, renamed.b.attrs = {"standard_name": "latitude"}, {"standard_name": "longitude"}
    along = data.swap_dims(latitude="y", longitude="x")
    for name, other in (("named.nc", renamed), ("along.nc", along)):
        got = values_of(nc(other, name), variable="t")
        assert np.array_equal(got, values_of(nc(data), variable="t"))


def test_a_longitude_that_is_there_twice(nc):
    data = temperatures(times=1)
    again = data.isel(longitude=[0]).assign_coords(longitude=[360.0])
    cyclic = xr.concat([data, again], "longitude")
    signals = sphere(nc(cyclic), variable="t").dataset("all")
    assert signals[0].grid.shape == (9, 18)
    assert any("twice" in note for note in signals.notes)


def test_packed_values_and_missing_ones(nc):
    data = temperatures(times=2)
    data.t.values[:, 3, 4] = np.nan
    packing = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 280, "_FillValue": -32768}
    got = values_of(nc(data, encoding={"t": packing}), variable="t")
    assert got[0] == pytest.approx(data.t.values[0].reshape(-1, 1), abs=0.006, nan_ok=True)
    assert np.isnan(got[0][3 * 18 + 4, 0])


def test_levels_as_signals_and_as_channels(nc):
    data = temperatures(times=2, levels=2)
    path = nc(data)
    each = sphere(path, variable="t").dataset("all")
    assert list(each.ids)[:2] == [
        "time=2017-01-01T00, level=500",
        "time=2017-01-01T00, level=850",
    ]
    assert each[1].values[:, 0] == pytest.approx(data.t.values[0, 1].ravel())
    both = sphere(path, variable=("t", "u"), levels_as="channels").dataset("all")
    assert (len(both), both[0].values.shape) == (2, (162, 4))
    assert both[1].values[:, 3] == pytest.approx(data.u.values[1, 1].ravel())
    one = prepared(path, variable="t", level=850.0)
    assert one.dataset("all")[0].values[:, 0] == pytest.approx(data.t.values[0, 1].ravel())
    assert one.state["channels"][0]["level"] == 850


@pytest.mark.parametrize(
    ("time", "count"), [("2017-01-02", 2), ("2017-01-01/2017-01-02", 4), ("2017", 4)]
)
def test_times(nc, time, count):
    assert len(sphere(nc(temperatures()), variable="t", time=time).dataset("all")) == count


def test_the_last_times_are_held_out_whole(nc):
    run = sphere(nc(temperatures(times=5, members=3)), variable="t", fraction=0.3)
    train, test = run.dataset("train"), run.dataset("test")
    assert (len(train), len(test)) == (9, 6)
    assert {i.split(",")[0] for i in test.ids} == {"time=2017-01-02T12", "time=2017-01-03T00"}
    assert sphere(nc(temperatures(times=5)), variable="t", seed=9).dataset("test").ids == (
        sphere(nc(temperatures(times=5)), variable="t", seed=1).dataset("test").ids
    )


def test_forecasts_are_split_by_the_time_they_are_for(nc):
    """A forecast for a time is nearly the analysis at that time: never across the split."""
    data = temperatures(times=4, members=3).rename(number="step")
    data = data.assign_coords(step=np.arange(3) * np.timedelta64(12, "h").astype("timedelta64[ns]"))
    data = data.assign_coords(valid_time=data.time + data.step)
    run = sphere(nc(data), variable="t", fraction=0.4)
    # Times and steps are 12 hours apart: index 2 of times at step 1 is for the fourth of six times.
    assert (len(run.dataset("train")), len(run.dataset("test"))) == (9, 3)
    assert [i[5:18] for i in run.dataset("test").ids] == [
        "2017-01-02T00",
        "2017-01-02T12",
        "2017-01-02T12",
    ]


def test_fields_without_times_are_split_by_seed(nc):
    data = temperatures(times=0, members=20)
    path = nc(data)
    a, b = (sphere(path, variable="t", seed=s).dataset("test").ids for s in (0, 1))
    assert len(a) == len(b) == 2
    assert list(a) != list(b)


@pytest.mark.parametrize("nested", [False, True])
def test_healpix(tmp_path, nested):
    rng = np.random.default_rng(0)
    ring = rng.normal(size=192).astype(np.float32)
    ring[[3, 77]] = healpy.UNSEEN
    written = healpy.reorder(ring, r2n=True) if nested else ring
    healpy.write_map(
        tmp_path / "x.fits", written, nest=nested, column_names=["T"], column_units=["mK"]
    )
    run = prepared(tmp_path / "x.fits")
    signal = run.dataset("all")[0]
    assert signal.values[:, 0] == pytest.approx(
        np.where(ring == np.float32(healpy.UNSEEN), np.nan, ring), nan_ok=True
    )
    assert run.state["channels"][0] | {"variable": "T", "units": "mK"} == run.state["channels"][0]
    weights = run.observations([signal]).weights[0]
    assert weights[[3, 77]].tolist() == [0, 0]
    assert weights.sum() == pytest.approx(4 * np.pi * 190 / 192)


def test_a_partial_healpix_map(tmp_path):
    values = np.full(12 * 32**2, healpy.UNSEEN)
    values[1000:1050] = np.arange(50)
    healpy.write_map(tmp_path / "x.fits", values, partial=True, column_names=["T"])
    signal = sphere(tmp_path / "x.fits").dataset("all")[0]
    assert np.isfinite(signal.values[:, 0]).sum() == 50
    assert signal.values[1000:1050, 0].tolist() == list(range(50))


def test_columns_of_a_healpix_map_are_variables(tmp_path):
    maps = np.random.default_rng(0).normal(size=(3, 48))
    healpy.write_map(tmp_path / "x.fits", maps, column_names=["T", "Q", "U"])
    with pytest.raises(UserError, match="several variables: T, Q, U"):
        sphere(tmp_path / "x.fits").dataset("all")
    got = values_of(tmp_path / "x.fits", variable=("U", "T"))[0]
    assert got == pytest.approx(maps[[2, 0]].T.astype(np.float32))


def test_a_folder_of_files(tmp_path):
    for i in range(4):
        temperatures(times=1, seed=i).isel(time=0, drop=True).to_netcdf(tmp_path / f"{i}.nc")
    (tmp_path / "readme.txt").write_text("not a field")
    assert list(sphere(tmp_path, variable="t").dataset("all").ids) == ["0", "1", "2", "3"]
    temperatures(times=1, rows=5).to_netcdf(tmp_path / "4.nc")
    with pytest.raises(UserError, match="grids differ: 0 has 9x18"):
        sphere(tmp_path, variable="t").dataset("all")
    (tmp_path / "4.nc").write_bytes(b"not a file")
    with pytest.raises(UserError, match=r"4\.nc cannot be read"):
        sphere(tmp_path, variable="t").dataset("all")
    kept = sphere(tmp_path, variable="t", skip_bad=True).dataset("all")
    assert len(kept) == 4
    assert any("left out 1" in note for note in kept.notes)


def test_npz(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 4, 8, 2)).astype(np.float32)
    np.savez(
        tmp_path / "x.npz",
        values=values[:, ::-1],
        latitude=[-67.5, -22.5, 22.5, 67.5],
        longitude=np.arange(8) * 45.0,
        variables=["a", "b"],
        labels=[0, 1, 0, 1, 0, -1],
        label_names=["x", "y"],
        is_test=[False] * 4 + [True] * 2,
    )
    run = sphere(tmp_path / "x.npz", variable=("a", "b"))
    assert (len(run.dataset("train")), run.dataset("test").labels) == (4, [0, -1])
    assert np.array_equal(run.dataset("all")[2].values, values[2].reshape(32, 2))


@pytest.mark.parametrize("nested", [False, True])
def test_npz_of_healpix_maps(tmp_path, nested):
    ring = np.random.default_rng(0).normal(size=(5, 48))
    stored = np.stack([healpy.reorder(m, r2n=True) for m in ring]) if nested else ring
    np.savez(tmp_path / "x.npz", values=stored, nested=nested)
    got = np.stack(values_of(tmp_path / "x.npz"))[..., 0]
    assert got == pytest.approx(ring.astype(np.float32))


def bad(message, make, **options):
    return pytest.param(make, message, options, id=message[:40])


@pytest.mark.parametrize(
    ("make", "message", "options"),
    [
        bad("several variables: t, u", lambda: temperatures()),
        bad("no variable 'tt'(.|\n)*Did you mean 't'", lambda: temperatures(), variable="tt"),
        bad(
            "no level 700(.|\n)*500, 850(.|\n)*nearest is 850",
            lambda: temperatures(levels=2),
            variable="t",
            level=700.0,
        ),
        bad("has no levels", lambda: temperatures(), variable="t", level=500.0),
        bad("has no such time", lambda: temperatures(), variable="t", time="2031"),
        bad("is not a time", lambda: temperatures(), variable="t", time="soon"),
        bad("no axis of times", lambda: temperatures(times=0), variable="t", time="2017"),
        bad(
            "no variable on latitudes(.|\n)*dimensions time",
            lambda: temperatures().rename(latitude="a", longitude="b").drop_vars(["a", "b"]),
        ),
        bad(
            "curvilinear",
            lambda: (
                temperatures()
                .rename(latitude="y", longitude="x")
                .drop_vars(["x", "y"])
                .assign_coords(
                    lat=(("y", "x"), np.zeros((9, 18))), lon=(("y", "x"), np.zeros((9, 18)))
                )
            ),
        ),
        bad(
            "unstructured or reduced",
            lambda: temperatures(times=0).stack(cell=("latitude", "longitude")).reset_index("cell"),
        ),
        bad(
            "'time=2017-01-01T12' has no cell",
            lambda: temperatures().where(lambda d: d.time != d.time[1]),
            variable="t",
        ),
        bad(
            "fill value that the file does not declare",
            lambda: temperatures().fillna(0).where(lambda d: d.latitude > 0, 1e20),
            variable="t",
        ),
        bad(
            "latitudes of(.|\n)*cannot be used: 9 values from -180",
            lambda: temperatures().assign_coords(
                latitude=("latitude", np.linspace(180, -180, 9), {"units": "degrees_north"})
            ),
            variable="t",
        ),
        bad(
            "differ in their axes: none and time 4",
            lambda: temperatures().assign(t=temperatures(times=0).t),
            variable=("t", "u"),
        ),
    ],
)
def test_what_cannot_be_used(nc, make, message, options):
    with pytest.raises(UserError, match=message):
        sphere(nc(make()), **options).dataset("all")


def test_a_constant_variable(nc):
    data = temperatures()
    data["t"] = data.t * 0 + 7
    with pytest.raises(UserError, match="'t' is 7 everywhere"):
        prepared(nc(data), variable="t")


def test_skip_bad_leaves_empty_fields_out(nc):
    data = temperatures().where(lambda d: d.time != d.time[1])
    signals = sphere(nc(data), variable="t", skip_bad=True).dataset("all")
    assert len(signals) == 3
    assert "left out 1 without any value: time=2017-01-01T12" in signals.notes


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.nc", b"", "cannot be read"),
        ("x.nc", b"CDF\x01 and then nothing", "cannot be read"),
        ("x.grib", b"GRIB and then nothing", "cannot be read"),
        ("x.fits", b"SIMPLE and then nothing", "HEALPix"),
        ("x.npz", b"PK and then nothing", "cannot be read"),
        ("x.csv", b"1,2,3", "which is not read"),
    ],
)
def test_damaged_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        sphere(tmp_path / name).dataset("all")


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        sphere(tmp_path / "nowhere").dataset("all")
    with pytest.raises(UserError, match="no file that can be read"):
        sphere(tmp_path).dataset("all")


def test_a_fits_table_that_is_no_map(tmp_path):
    from astropy.io import fits

    table = fits.BinTableHDU.from_columns([fits.Column("T", "E", array=np.zeros(100))])
    table.writeto(tmp_path / "x.fits")
    with pytest.raises(UserError, match="12 nside² cells"):
        sphere(tmp_path / "x.fits").dataset("all")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"fields": np.zeros((2, 3, 4))}, "no array 'values'"),
        ({"values": np.zeros((2, 50))}, "12 nside² cells"),
        ({"values": np.zeros((2, 3, 4)), "latitude": [1, 2], "longitude": [1, 2]}, "2 latitudes"),
        ({"values": np.array(["a"])}, "must hold numbers"),
        ({"values": np.ones((2, 48)), "is_test": [True]}, "must be 2 booleans"),
        ({"values": np.ones((2, 48)), "labels": [0, 3], "label_names": ["a"]}, "goes from 0 to 3"),
        ({"values": np.ones((2, 48)), "ids": ["a", "a"]}, "not unique"),
        ({"values": np.ones((2, 48)), "units": ["a", "b"]}, "1 channels"),
    ],
)
def test_npz_files_that_are_wrong(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=message):
        sphere(tmp_path / "x.npz").dataset("all")


def test_new_data_for_a_run(nc):
    run = prepared(nc(temperatures(), "a.nc"), variable="t")
    finer = sphere(nc(temperatures(rows=17, columns=36), "b.nc"), run.state, variable="t")
    assert finer.observations(list(finer.dataset("all"))).queries.shape == (17 * 36, 3)
    celsius = temperatures()
    celsius.t.attrs["units"] = "degC"
    for data, message in (
        (celsius, "in 'degC'"),
        (temperatures()[["u"]], "no variable 't', which"),
    ):
        with pytest.raises(UserError, match=message):
            sphere(nc(data, "c.nc"), run.state, variable="t").dataset("all")
