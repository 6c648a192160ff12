"""Commands as processes of their own: they end well, whatever libraries they have loaded."""

import subprocess
import sys

import pytest
from sphere_helpers import temperatures, write_grib


def ended_well(*arguments):
    """Run Python with some arguments; what it wrote to standard output."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout


@pytest.mark.slow
def test_maps_of_grib_files_are_drawn_by_a_process_that_ends_well(tmp_path):
    """ecCodes and pyproj bring a PROJ each, and together these crash the process at its end."""
    write_grib(tmp_path / "x.grib", temperatures(times=2).t.values)
    shown = ["--modality", "sphere", "--data", tmp_path / "x.grib", "--out", tmp_path / "look"]
    assert "fields.png" in ended_well("-m", "functa_core", "inspect", *shown)
    assert (tmp_path / "look" / "fields.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "first",
    ["eccodes", pytest.param("xarray; xarray.backends.list_engines()", marks=pytest.mark.slow)],
)
def test_land_is_looked_up_without_importing_what_clashes(first):
    said = ended_well(
        "-c",
        f"import sys, {first}\n"
        "from functa_sphere.coastlines import land_raster\n"
        "print(land_raster().mean() > 0.2, {'cartopy', 'pyproj'} & set(sys.modules))",
    )
    assert said.split() == ["True", "set()"]
