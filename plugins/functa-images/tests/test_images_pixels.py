"""Kinds of pictures: modes, channels, orientation, sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images_on_disk import images, picture, prepared, read
from PIL import Image

from functa_core import UserError
from functa_images.pixels import centre_square, image_of, to_channels, to_float, to_levels


def test_exif_orientation_is_respected(tmp_path):
    pixels = picture(6, 10)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read(tmp_path)[0], np.rot90(pixels, -1))


def test_large_jpegs_are_decoded_small_and_look_the_same(tmp_path):
    smooth = Image.fromarray(picture(4, 6)).resize((960, 640), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.jpg", quality=95)
    whole = centre_square(read(tmp_path)[0], 32).astype(int)
    assert np.abs(read(tmp_path, resolution=32)[0] - whole).max() <= 3


def test_16_bits_are_scaled_and_kept(tmp_path):
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    Image.fromarray(deep).save(tmp_path / "a.png")
    (read_back,) = read(tmp_path)
    assert read_back.dtype == np.float32
    assert np.allclose(read_back[..., 0], deep / 65535, atol=1e-7)


@pytest.mark.parametrize(
    ("mode", "suffix", "channels"),
    [
        ("1", "png", 1),
        ("L", "png", 1),
        ("L", "jpg", 1),
        ("P", "png", 3),
        ("RGB", "png", 3),
        ("CMYK", "jpg", 3),
        ("YCbCr", "jpg", 3),
        ("LA", "png", 1),  # opaque, so the alpha says nothing
        ("RGBA", "png", 3),
    ],
)
def test_modes(tmp_path, mode, suffix, channels):
    Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode).save(tmp_path / f"a.{suffix}")
    (pixels,) = read(tmp_path)
    assert pixels.shape == (8, 8, channels)
    assert pixels.min() >= 254


def test_transparency_is_a_fourth_channel(tmp_path):
    Image.new("LA", (8, 8), (255, 9)).save(tmp_path / "la.png")
    Image.new("P", (8, 8), 0).save(tmp_path / "p.png", transparency=0)
    Image.new("RGBA", (8, 8), (1, 2, 3, 4)).save(tmp_path / "rgba.png")
    grey, palette, colour = read(tmp_path)
    assert grey[0, 0].tolist() == [255, 255, 255, 9]
    assert palette[0, 0, 3] == 0
    assert colour[0, 0].tolist() == [1, 2, 3, 4]


def test_mixed_kinds_become_the_richest_and_say_so(tmp_path):
    image_of(picture(channels=1)).save(tmp_path / "grey.png")
    image_of(picture(channels=3)).save(tmp_path / "rgb.png")
    data = read(tmp_path)
    assert [p.shape[2] for p in data] == [3, 3]
    assert "1 grey, 1 RGB" in " ".join(data.notes)
    chosen = read(tmp_path, channels=1)
    assert [p.shape[2] for p in chosen] == [1, 1]
    assert not chosen.notes


def test_new_data_is_converted_only_where_nothing_is_lost(tmp_path):
    for name, channels in (("grey", 1), ("rgb", 3)):
        (tmp_path / name).mkdir()
        for i in range(2):
            image_of(picture(channels=channels)).save(tmp_path / name / f"{i}.png")
    colour = prepared(tmp_path / "rgb")
    assert images(tmp_path / "grey", colour.state).dataset("all")[0].shape == (8, 8, 3)
    grey = prepared(tmp_path / "grey")
    with pytest.raises(UserError, match=r"0\.png is RGB, and this run was trained on grey"):
        images(tmp_path / "rgb", grey.state).dataset("all")
    assert images(tmp_path / "rgb", grey.state, channels=1).dataset("all")[0].shape == (8, 8, 1)


def test_alpha_is_laid_on_white():
    clear = np.array([[[10, 20, 30, 0], [10, 20, 30, 255]]], np.uint8)
    assert to_channels(clear, 3).tolist() == [[[255, 255, 255], [10, 20, 30]]]
    assert to_channels(clear, 1).tolist() == [[[255], [18]]]


@pytest.mark.parametrize("have", [1, 3, 4])
@pytest.mark.parametrize("wanted", [1, 3, 4])
def test_floats_and_bytes_convert_alike(have, wanted):
    pixels = picture(channels=have)
    from_bytes = to_channels(pixels, wanted)
    from_floats = to_channels(to_float(pixels), wanted)
    assert from_bytes.shape == (8, 8, wanted)
    assert from_bytes.dtype == np.uint8
    assert np.abs(to_float(from_bytes) - from_floats).max() <= 1.01 / 255  # rounded twice


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([1, 3, 4]),
    st.integers(2, 20),
    st.booleans(),
)
def test_a_centre_square_is_square_and_in_range(height, width, channels, side, floats):
    pixels = picture(height, width, channels)
    square = centre_square(to_float(pixels) if floats else pixels, side)
    assert square.shape == (side, side, channels)
    assert square.dtype == (np.float32 if floats else np.uint8)
    assert to_float(square).min() >= 0
    assert to_float(square).max() <= 1


def test_the_square_is_the_centre():
    pixels = np.zeros((4, 10, 1), np.uint8)
    pixels[:, 3:7] = 200
    assert np.array_equal(centre_square(pixels, 4), np.full((4, 4, 1), 200))
    assert centre_square(pixels, 2).min() == 200


def test_levels_round_and_clip():
    values = np.array([[[-1.0], [0.5], [2.0]]], np.float32)
    assert to_levels(values).ravel().tolist() == [0, 128, 255]
