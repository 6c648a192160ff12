"""Observations, pictures and the embedded set."""

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from images_on_disk import Ramp, images, picture, prepared
from PIL import Image, ImageFont

from functa_core import Dataset, UserError, grid
from functa_images.embedded import PHOTOGRAPHS
from functa_images.modality import _captions
from functa_images.pictures import _ending
from functa_images.pixels import to_float


def of_shape(height: int, width: int, channels: int, **options):
    state = {"label_names": [], "height": height, "width": width, "channels": channels}
    return images(None, state, **options)


@pytest.fixture
def odd(tmp_path):
    """A run on pictures that are not square."""
    np.save(tmp_path / "x.npy", np.stack([picture(9, 12, 3, seed=i) for i in range(5)]))
    return prepared(tmp_path / "x.npy", points=20)


def test_prepared_state(odd):
    assert odd.state == {"label_names": [], "height": 9, "width": 12, "channels": 3}
    assert odd.spec.domain.dim == 2
    assert odd.spec.channels == 3
    assert odd.spec.peak == 1


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 4]), st.booleans())
@settings(max_examples=30, deadline=None)
def test_observations_are_the_pixels_in_order(height, width, channels, floats):
    batch = [picture(height, width, channels, seed=s) for s in range(2)]
    given_as = [to_float(p) for p in batch] if floats else batch
    seen = of_shape(height, width, channels).observations(given_as)
    expected = np.stack(batch).reshape(2, -1, channels).astype(np.float32) / np.float32(255)
    assert np.array_equal(seen.values.numpy(), expected)
    assert torch.equal(seen.queries, grid((height, width)))
    assert seen.shared
    assert seen.weights.eq(1).all()


def test_a_training_step_sees_one_random_part(odd):
    signals = list(odd.dataset("train"))
    before = torch.get_rng_state()
    draw = [odd.observations(signals, torch.Generator().manual_seed(s)) for s in (5, 5, 6)]
    assert torch.equal(torch.get_rng_state(), before)
    assert draw[0].count == 20
    assert torch.equal(draw[0].queries, draw[1].queries)
    assert torch.equal(draw[0].values, draw[1].values)
    assert not torch.equal(draw[0].queries, draw[2].queries)
    whole = odd.observations(signals)
    where = [(whole.queries == q).all(1).nonzero().item() for q in draw[0].queries]
    assert len(set(where)) == 20
    assert torch.equal(whole.values[:, where], draw[0].values)


@pytest.mark.parametrize("points", [None, 1000])
def test_all_pixels_where_there_are_no_more(points):
    modality = of_shape(4, 4, 1, points=points)
    assert modality.observations([picture(4, 4, 1)], torch.Generator()).count == 16


@pytest.mark.parametrize(
    "signal", [picture(8, 9), picture(8, 8, 1), picture(8, 8).astype(np.float64)]
)
def test_a_signal_that_does_not_fit(signal):
    with pytest.raises(UserError, match="image 0 of the batch"):
        of_shape(8, 8, 3).observations([signal])


def test_decode_at_native_and_other_sizes(odd):
    native = odd.decode(Ramp(2, 3))
    assert native.shape == (2, 9, 12, 3)
    assert torch.allclose(native[0, :, 0, 0], (torch.arange(9) + 0.5) / 9)
    assert torch.allclose(native[0, 0, :, 1], (torch.arange(12) + 0.5) / 12)
    assert odd.decode(Ramp(2, 3), 18).shape == (2, 18, 24, 3)


def test_decode_clips(odd):
    class Loud(Ramp):
        def __call__(self, coords):
            return super().__call__(coords) * 4 - 2

    decoded = odd.decode(Loud(1, 3))
    assert decoded.min() == 0
    assert decoded.max() == 1


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
@pytest.mark.parametrize("resolution", [None, 5, 20])
def test_render(tmp_path, channels, mode, resolution):
    modality = of_shape(10, 20, channels)
    artefacts = modality.render(Ramp(2, channels), tmp_path, ["a", "b"], resolution)
    assert [a.path.name for a in artefacts] == ["a.png", "b.png"]
    height = resolution or 10
    for artefact in artefacts:
        with Image.open(artefact.path) as image:
            assert image.size == (2 * height, height)
            assert image.mode == mode


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 12), (200, 500)])
def test_figures(tmp_path, channels, height, width):
    modality = of_shape(height, width, channels)
    signals = [picture(height, width, channels), to_float(picture(height, width, channels))]
    artefacts = modality.figures(signals, [Ramp(2, channels)] * 3, tmp_path)
    assert [a.path.name for a in artefacts] == ["fits.png", "enlarged.png"]
    for artefact, columns in zip(artefacts, (5, 4), strict=True):
        with Image.open(artefact.path) as image:
            image.load()
            # Rows and columns of tiles that are neither tiny nor huge.
            assert 60 * columns < image.width < 340 * columns
            assert 2 * 60 < image.height < 2 * 340


def test_ssim():
    modality = of_shape(16, 12, 3)
    (metric,) = modality.metrics()
    observations = modality.observations([picture(16, 12), picture(16, 12, seed=1)])
    assert metric.compute(observations.values, observations).tolist() == [1, 1]
    noisy = observations.values + 0.2 * torch.randn(2, 192, 3, generator=torch.Generator())
    assert metric.compute(noisy, observations).max() < 0.99
    keep = torch.arange(192).expand(2, -1) >= 96
    hidden = observations.masked(keep)
    hidden.values[:, :96] = torch.nan
    assert metric.compute(observations.values.nan_to_num(0.5), hidden).isfinite().all()


def test_no_ssim_of_tiny_pictures():
    assert not of_shape(6, 30, 3).metrics()


def test_inspect_lines(odd):
    assert odd.describe(odd.dataset("all")) == {"images": "12x9 pixels (width x height), RGB"}


@pytest.mark.parametrize(("count", "shape"), [(1, (9, 12, 3)), (30, (7, 7, 1)), (9, (400, 40, 4))])
def test_a_sheet_of_the_data(tmp_path, count, shape):
    h, w, c = shape
    np.save(tmp_path / "x.npy", np.stack([picture(h, w, c, seed=i) for i in range(count)]))
    run = prepared(tmp_path / "x.npy")
    (sheet,) = run.preview(run.dataset("train"), tmp_path)
    assert (sheet.path.name, sheet.media_type) == ("images.png", "image/png")
    with Image.open(sheet.path) as image:
        pixels = np.asarray(image.convert("L"))
    assert (pixels < 255).any()
    if shape == (7, 7, 1):  # enlarged by a whole factor: the first is the first training image
        first = run.dataset("train")[0][..., 0]
        top = np.flatnonzero((pixels < 250).any(axis=1))[0]
        side = 23 * 7
        block = pixels[top : top + side, 8 : 8 + side].reshape(7, 23, 7, 23)
        assert np.array_equal(block[:, 11, :, 11], first)


def test_the_sheet_says_the_label_or_the_end_of_the_id(tmp_path):
    names = ["one", "two"]
    known = Dataset(["a", "b", "c"], lambda _: picture(2, 2), labels=[1, -1, 0], label_names=names)
    assert _captions(known) == ["two", "b", "one"]
    assert _captions(attrs.evolve(known, labels=None)) == ["a", "b", "c"]
    font = ImageFont.load_default(size=12)
    assert _ending("cat.png", 100, font) == "cat.png"
    shown = _ending("a/very/long/path/to/a/picture-17.png", 100, font)
    assert shown.startswith("…")
    assert shown.endswith("picture-17.png")
    assert font.getlength(shown) <= 100


def test_the_embedded_set():
    run = prepared(None)
    train, test = run.dataset("train"), run.dataset("test")
    assert (len(train), len(test)) == (560, 100)
    assert run.state["label_names"] == [p.name for p in PHOTOGRAPHS]
    assert (run.state["height"], run.state["width"], run.state["channels"]) == (32, 32, 3)
    assert set(train.labels) == set(test.labels) == set(range(10))
    pixels = np.stack(list(run.dataset("all"))).reshape(660, -1)
    assert len(np.unique(pixels, axis=0)) == 660
    distance = np.square(pixels[-10:, None] / 255 - pixels[None, :56] / 255).mean(-1)
    assert distance.min() > 1e-3, "a test crop is no copy"


def test_the_embedded_set_is_the_same_everywhere(monkeypatch, tmp_path):
    first = list(images(None).dataset("all"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    again = list(images(None).dataset("all"))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_photographs_that_are_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("functa_images.embedded.files", lambda package: tmp_path)
    with pytest.raises(UserError, match=r"cannot be read(.|\n)*--data"):
        images(None).dataset("all")
