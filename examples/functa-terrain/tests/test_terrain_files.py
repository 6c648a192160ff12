"""Reading GeoTIFF, PNG and npz, and saying what is wrong with them."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from functa_core import UserError
from rasterio.transform import Affine
from terrain_on_disk import slope, terrain, write


def tiles(path: Path, **options):
    return terrain(path, **options).dataset("all")


def test_a_large_file_is_cut_and_the_rest_left_out(tmp_path):
    path = write(tmp_path / "alps.tif", slope(17, 24))
    found = tiles(path)
    assert list(found.ids) == [f"alps.tif[{r},{c}]" for r in range(2) for c in range(3)]
    assert np.array_equal(found[4].heights, slope(17, 24)[8:16, 8:16])
    assert found[0].cell == (30.0, 30.0)
    assert any("no multiple of 8×8" in note for note in found.notes)
    exact = tiles(write(tmp_path / "b.tif", slope(8, 16)))
    assert (len(exact), list(exact.notes)) == (2, [])


def test_heights_survive_compression_type_scale_and_offset(tmp_path):
    import rasterio

    whole = slope().astype(np.int16)
    path = write(tmp_path / "a.tif", whole, compress="lzw", predictor=2)
    assert np.array_equal(tiles(path)[0].heights, whole)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.1,), (-50.0,)
    assert tiles(path)[0].heights == pytest.approx(whole * 0.1 - 50)


@pytest.mark.parametrize("mark", [-9999.0, -32768.0, np.nan, -3.4028235e38])
def test_cells_that_the_file_calls_missing_are(tmp_path, mark):
    heights = slope()
    heights[2, 3] = mark
    found = tiles(write(tmp_path / "a.tif", heights, nodata=mark))[0].heights
    assert np.isnan(found[2, 3])
    assert np.isfinite(found).sum() == 63


def test_a_mark_that_is_not_called_so_is_refused_with_what_to_do(tmp_path):
    for mark in (-9999, -32768):
        heights = slope().astype(np.int32)
        heights[2, 3] = mark
        path = write(tmp_path / f"a{mark}.tif", heights)
        with pytest.raises(UserError, match=rf"--set modality\.nodata={mark}"):
            tiles(path)
        assert np.isnan(tiles(path, nodata=float(mark))[0].heights[2, 3])


def test_tiles_without_heights_are_left_out_and_counted(tmp_path):
    heights = slope(8, 16)
    heights[:, :8] = np.nan
    found = tiles(write(tmp_path / "a.tif", heights, nodata=np.nan))
    assert list(found.ids) == ["a.tif[0,1]"]
    assert list(found.notes) == ["1 tiles without a height are left out."]
    with pytest.raises(UserError, match="no tile with heights"):
        tiles(write(tmp_path / "b.tif", slope() * np.nan, nodata=np.nan))


def test_the_size_of_a_cell_is_in_metres_whatever_the_file_counts_in(tmp_path):
    second = 1 / 3600
    north = Affine(3 * second, 0, 10, 0, -3 * second, 60 + 4 * 3 * second)
    down, across = tiles(write(tmp_path / "a.tif", slope(), crs="EPSG:4326", transform=north))[
        0
    ].cell
    assert down == pytest.approx(92.8, rel=0.01)  # 3 seconds of the meridian
    assert across == pytest.approx(92.8 / 2, rel=0.01)  # half as much at 60° north
    feet = Affine(10, 0, 0, 0, -20, 0)
    cell = tiles(write(tmp_path / "b.tif", slope(), crs="EPSG:2263", transform=feet))[0].cell
    assert cell == pytest.approx((6.096, 3.048), rel=1e-4)
    assert tiles(tmp_path / "b.tif", resolution=4, cell=5.0)[0].cell == (10.0, 10.0)


def test_png_in_both_depths(tmp_path):
    deep = (slope() * 7).astype(np.uint16)
    path = write(tmp_path / "a.png", deep)
    found = tiles(path, metres_per_unit=0.1)
    assert found[0].heights == pytest.approx(deep * 0.1)
    assert found[0].cell is None
    assert any("modality.cell" in note for note in found.notes)
    shallow = slope(low=0).astype(np.uint8)
    assert np.array_equal(tiles(write(tmp_path / "b.png", shallow))[0].heights, shallow)


def test_pictures_are_no_heights(tmp_path):
    colours = np.stack([slope(low=0).astype(np.uint8)] * 3)
    with pytest.raises(UserError, match=r"rgb\.png has 3 bands"):
        tiles(write(tmp_path / "rgb.png", colours))
    from PIL import Image

    image = Image.fromarray(colours.transpose(1, 2, 0)).convert("P")
    image.save(tmp_path / "palette.png")
    with pytest.raises(UserError, match="palette of colours"):
        tiles(tmp_path / "palette.png")


def test_folder_and_zip_are_read_in_the_order_of_names(tmp_path):
    folder = tmp_path / "dem"
    for i, name in enumerate(["b/2.tif", "a.TIF", "c.png"]):
        write(folder / name.lower(), slope(low=i).astype(np.uint16))
    (folder / "a.tif").rename(folder / "a.TIF")
    (folder / "notes.txt").write_text("not terrain")
    (folder / "._a.tif").write_bytes(b"left by another system")
    with zipfile.ZipFile(tmp_path / "dem.zip", "w") as archive:
        for path in sorted(folder.rglob("*"), reverse=True):
            archive.write(path, path.relative_to(folder).as_posix())
    for path in (folder, tmp_path / "dem.zip"):
        found = tiles(path)
        assert list(found.ids) == ["a.TIF", "b/2.tif", "c.png"]
        assert [tile.low for tile in found] == [1, 0, 2]


def test_npz(tmp_path):
    heights = np.stack([slope(8, 17, low) for low in (0, 50, 100)]).astype(np.int16)
    is_test = np.array([False, True, False])
    np.savez(tmp_path / "a.npz", elevation_m=heights, is_test=is_test, cell_m=90)
    assert list(tiles(tmp_path / "a.npz").ids) == [f"{i}[0,{c}]" for i in range(3) for c in (0, 1)]
    test = terrain(tmp_path / "a.npz").dataset("test")
    assert list(test.ids) == ["1[0,0]", "1[0,1]"]
    assert np.array_equal(test[1].heights, heights[1, :, 8:16])
    assert test[0].cell == (90.0, 90.0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "has nothing"),
        ({"a": np.zeros((8, 8))}, r"a \(8, 8\)"),
        ({"a": np.zeros((2, 8, 8)), "b": np.zeros((2, 8, 8))}, "no other of three dimensions"),
        ({"a": np.full((2, 8, 8), "x")}, "of heights in metres"),
        ({"a": np.zeros((2, 8, 8)), "is_test": np.array([True, True])}, "not all of them equal"),
        ({"a": np.zeros((2, 8, 8)), "is_test": np.array([1, 0])}, "booleans"),
        ({"a": np.zeros((2, 8, 8)), "cell_m": np.array([1.0, 0.0])}, "cell_m"),
        ({"a": np.full((2, 8, 8), np.inf)}, "array 0 has a height of inf"),
        ({"a": np.zeros((2, 8, 8)), "o": np.array([{}], object)}, "cannot be read as an .npz"),
    ],
)
def test_bad_npz(tmp_path, content, said):
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(UserError, match=said):
        tiles(tmp_path / "a.npz")


def test_what_is_nothing_of_the_kind_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("x")
    for name in ("b.tif", "b.png", "b.zip", "b.npz"):
        (tmp_path / name).write_bytes(b"no such thing")
    for name, said in [
        ("none", "there is no"),
        ("empty", "no GeoTIFF"),
        ("a.txt", "cannot be read"),
        ("b.tif", "b.tif cannot be read as a file of heights"),
        ("b.png", "b.png cannot be read as a file of heights"),
        ("b.zip", "not a whole zip"),
        ("b.npz", "cannot be read as an .npz"),
    ]:
        with pytest.raises(UserError, match=said):
            tiles(tmp_path / name)
    with pytest.raises(UserError, match=r"4×9 cells, and a tile 8×8"):
        tiles(write(tmp_path / "small.tif", slope(4, 9)))


def test_bad_files_are_left_out_when_asked(tmp_path):
    folder = tmp_path / "dem"
    whole = write(folder / "a.tif", slope(64, 64))
    cut_off = whole.read_bytes()[:9000]
    (folder / "b.tif").write_bytes(cut_off)
    write(folder / "small.tif", slope(4, 4))
    with pytest.raises(UserError, match=r"b\.tif"):
        tiles(folder)
    found = tiles(folder, skip_bad=True)
    assert len(found) == 64
    assert "left out as unreadable, 2 in all: b.tif, small.tif." in found.notes


def test_resolution_must_divide_the_tile():
    with pytest.raises(ValueError, match="resolution must divide tile, got 3 and 8"):
        terrain(None, resolution=3)
