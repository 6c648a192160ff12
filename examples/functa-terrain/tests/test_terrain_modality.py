"""What a tile becomes: scales, weights, figures, pictures and files out."""

import numpy as np
import pytest
import rasterio
import torch
from functa_core import UserError
from terrain_on_disk import prepared, slope, terrain

from functa_terrain.embedded import CELL, KINDS
from functa_terrain.modality import rmse_m
from functa_terrain.shading import Shading, lit
from functa_terrain.tile import Tile, reduced, turned


class Plane:
    """A field that needs no training: its value is `start + rise · row`."""

    def __init__(self, *start: float, rise: float = 0.0) -> None:
        self.start, self.rise = start, rise

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, chosen: slice) -> "Plane":
        return Plane(*self.start[chosen], rise=self.rise)

    def __call__(self, coords: torch.Tensor) -> torch.Tensor:
        start = torch.tensor(self.start).reshape(-1, 1, 1)
        return start + self.rise * coords[..., :1]


@pytest.fixture
def data(tmp_path):
    """Four tiles: two slopes, a sea, and a slope with a hole."""
    heights = np.stack([slope(low=0), slope(low=1000) * 3, np.full((8, 8), 7), slope(low=50)])
    heights[3, :4, :4] = np.nan
    np.savez(tmp_path / "a.npz", heights=heights, is_test=np.array([0, 0, 0, 1], bool))
    return tmp_path / "a.npz"


def test_each_tile_is_scaled_by_itself(data):
    modality = prepared(data)
    observed = modality.observations(list(modality.dataset("all")))
    assert observed.shared
    known = observed.weights > 0
    assert [int(row.sum()) for row in known] == [64, 64, 64, 48]
    for i in (0, 1, 3):
        values = observed.values[i][known[i]]
        assert (values.min(), values.max()) == (0, 1)
    assert torch.equal(observed.values[2], torch.zeros(64, 1)), "a sea is not divided by nothing"


def test_psnr_is_that_of_the_published_benchmark(data):
    """The mean over tiles of 10 log10(1 / MSE), heights scaled by each tile's own ends."""
    from functa_core.meta.outer import psnr_db

    modality = prepared(data)
    tiles = list(modality.dataset("all"))[:2]
    observed = modality.observations(tiles)
    off = [tile.heights + 5.0 for tile in tiles]
    predicted = torch.stack(
        [
            torch.from_numpy((o - t.heights.min()) / np.ptp(t.heights)).reshape(-1, 1)
            for o, t in zip(off, tiles, strict=True)
        ]
    )
    ours = psnr_db(predicted.float(), observed, modality.spec.peak)
    theirs = [20 * np.log10(np.ptp(tile.heights) / 5.0) for tile in tiles]
    assert ours.numpy() == pytest.approx(theirs, abs=1e-3)
    assert rmse_m(predicted.float(), observed).numpy() == pytest.approx([5.0, 5.0], rel=1e-4)


@pytest.mark.parametrize("scaling", ["tile", "data"])
def test_errors_are_in_metres_over_the_cells_that_have_a_height(data, scaling):
    modality = prepared(data, scaling=scaling)
    tiles = list(modality.dataset("all"))
    observed = modality.observations(tiles)
    spans = torch.tensor([modality.scale(tile).span for tile in tiles]).reshape(-1, 1, 1)
    noise = torch.randn(observed.values.shape, generator=torch.Generator().manual_seed(0))
    predicted = observed.known_values + noise / spans
    known = observed.weights > 0
    expected = [float(noise[i][known[i]].square().mean().sqrt()) for i in range(len(tiles))]
    assert rmse_m(predicted, observed).tolist() == pytest.approx(expected, rel=1e-3)


def test_an_update_sees_the_same_few_cells_of_every_tile(data):
    modality = prepared(data, points=5, turns=False)
    tiles = list(modality.dataset("train"))
    few = modality.observations(tiles, torch.Generator().manual_seed(0))
    whole = modality.observations(tiles)
    assert (few.shared, few.count, whole.count) == (True, 5, 64)
    places = (few.queries * 8 - 0.5).round().long()
    chosen = places[:, 0] * 8 + places[:, 1]
    assert torch.equal(few.values, whole.values[:, chosen])


def test_updates_see_every_tile_in_eight_ways(data):
    modality = prepared(data)
    tile = modality.dataset("all")[0]
    ways = {tuple(turned(tile.heights, way).ravel().tolist()) for way in range(8)}
    assert len(ways) == 8
    seen = modality.observations([tile] * 60, torch.Generator().manual_seed(0))
    found = modality.scale(tile).metres(seen.values.squeeze(-1)).round()
    assert {tuple(row.tolist()) for row in found} == ways
    still = prepared(data, turns=False).observations([tile], torch.Generator().manual_seed(0))
    assert torch.equal(still.values, modality.observations([tile]).values)


def test_reduction_is_the_mean_of_areas():
    assert reduced(slope(8, 8, 0), 2).tolist() == [[16.5, 20.5], [56.5, 60.5]]
    holed = slope(4, 4, 0)
    holed[0, 0] = np.nan  # three of four are left
    holed[2:, 2:] = np.nan
    holed[2, 2] = 5  # one of four
    found = reduced(holed, 2)
    assert found[0, 0] == pytest.approx((1 + 10 + 11) / 3)
    assert np.isnan(found[1, 1])


def test_a_latent_alone_gives_shares_of_the_range_or_metres(data, tmp_path):
    for scaling, low, high, what in [
        ("tile", 0.0, 1.0, "share of the tile's range"),
        ("data", 0.0, 3231.0, "height in m"),
    ]:
        modality = prepared(data, scaling=scaling)
        field = Plane(0.0, 0.25, rise=1.0)
        decoded = modality.decode(field, 16)
        assert decoded.shape == (2, 16, 16, 1)
        assert float(decoded[0, 0, 0, 0]) == pytest.approx(low + (high - low) / 32)
        out = tmp_path / scaling
        out.mkdir()
        made = modality.render(field, out, ["a", "b"], 16)
        assert [a.path.name for a in made] == ["a.tif", "a.png", "b.tif", "b.png"]
        with rasterio.open(out / "b.tif") as file:
            assert np.allclose(file.read(1), decoded[1, :, :, 0], atol=1e-3)
            assert file.descriptions == (what,)
            assert file.transform.a == pytest.approx(15.0)  # 8 cells of 30 m as 16
    tile = terrain(data).dataset("all")[1]
    relief = torch.tensor([0.0, 1.0])
    assert prepared(data).scale(tile).metres(relief).tolist() == [3000.0, 3231.0]


def test_a_tile_of_another_size_is_refused(data):
    modality = prepared(data)
    with pytest.raises(UserError, match=r"tile 1 of the batch has \(4, 4\) cells"):
        modality.observations([modality.dataset("all")[0], Tile(slope(4, 4))])


def test_pictures_of_tiles_with_holes_and_seas(data, tmp_path):
    modality = prepared(data)
    tiles = modality.dataset("all")
    field = Plane(0.0, 0.1, 0.2, 0.3, rise=0.5)
    made = [
        *modality.figures(list(tiles), [field, field], tmp_path),
        *modality.compare(list(tiles), {"few": field, "many": field}, tmp_path),
        *modality.preview(tiles, tmp_path),
    ]
    assert [artefact.path.name for artefact in made] == ["fits.png", "compared.png", "tiles.png"]
    assert "1, which count as having 1 m" in modality.describe(tiles)["tiles without relief"]


def test_the_sun_shines_from_the_north_west():
    """Of a roof the sides to the north and the west are bright, as much as it is steep."""
    ridge = 30.0 - 30 * np.abs(np.arange(-8, 8) + 0.5)
    rows = np.repeat(ridge[:, None], 16, axis=1).astype(np.float32)
    shading = Shading(-300.0, 100.0, (30.0, 30.0), 1.0)
    for roof in (rows, rows.T):
        light = shading.draw(np.ascontiguousarray(roof)).sum(axis=2)
        bright, dark = (light[4, 8], light[11, 8]) if roof is rows else (light[8, 4], light[8, 11])
        assert bright > 1.3 * dark
    # 45° towards the light and away from it, which is at 45° in the north-west; and level ground.
    light = lit(rows, (30.0, 30.0), 1.0)
    assert light[4, 8] == pytest.approx(np.sqrt(0.5) * (0.5 + np.sqrt(0.5)))
    assert light[11, 8] == pytest.approx(np.sqrt(0.5) * (np.sqrt(0.5) - 0.5))
    assert lit(rows * 0, (30.0, 30.0), 1.0) == pytest.approx(np.sqrt(0.5))
    assert np.allclose(lit(rows, (60.0, 60.0), 2.0), light)
    rows[0, 0] = np.nan
    assert shading.draw(rows)[0, 0].tolist() == [0.6, 0.6, 0.6]


@pytest.mark.parametrize("make", KINDS)
def test_made_terrain_has_the_slopes_of_terrain(make):
    """A function of its generator, with slopes that ground can have; islands have a sea."""
    heights = make(np.random.default_rng(1))
    assert np.array_equal(heights, make(np.random.default_rng(1)))
    steepness = np.degrees(np.arctan(np.hypot(*np.gradient(heights, CELL))))
    assert 1 < np.median(steepness[steepness > 0]) < 45
    sea = (heights == 0).mean()
    assert 0.15 < sea < 0.65 if make.__name__ == "islands" else sea == 0
