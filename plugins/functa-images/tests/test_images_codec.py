"""JPEG beside compressed latents, and pictures as raw arrays."""

from io import BytesIO

import numpy as np
import pytest
import torch
from images_on_disk import images, picture
from PIL import Image


def of_shape(height, width, channels):
    state = {"label_names": [], "height": height, "width": width, "channels": channels}
    return images(None, state)


def smooth(height, width, channels, shift):
    rows, columns = np.mgrid[:height, :width]
    wave = 127 + 100 * np.sin((rows + 2 * columns)[..., None] / 9 + np.arange(channels) + shift)
    return wave.astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_bits_and_pixels_are_those_of_a_jpeg_file(channels):
    modality = of_shape(40, 24, channels)
    signals = [smooth(40, 24, channels, shift) for shift in range(3)]
    codec = modality.codec()
    bits, values = codec.code(signals, modality.observations(signals), 60)
    for signal, size, decoded in zip(signals, bits, values, strict=True):
        file = BytesIO()
        Image.fromarray(signal.squeeze()).save(file, "JPEG", quality=60)
        wanted = np.asarray(Image.open(file)).reshape(-1, channels) / 255
        assert np.allclose(decoded.numpy(), wanted, atol=1e-6)
        # A file has also its tables: 64 bytes for each quantisation, about 420 for Huffman's.
        assert len(file.getvalue()) - 700 < size / 8 < len(file.getvalue()) - 250


def test_finer_settings_take_more_bits_and_are_better():
    modality = of_shape(32, 32, 3)
    signals = [smooth(32, 32, 3, 0.5)]
    seen = modality.observations(signals)
    codec = modality.codec()
    found = [codec.code(signals, seen, setting) for setting in codec.settings]
    sizes = [float(bits) for bits, _ in found]
    errors = [float((values - seen.values).square().mean()) for _, values in found]
    assert sizes == sorted(sizes)
    assert errors[-1] < errors[0] / 10


def test_pictures_with_alpha_have_no_codec():
    assert of_shape(8, 8, 4).codec() is None


def test_raw_arrays_have_channels_first():
    signals = [picture(5, 7, 3, seed=seed) for seed in range(2)]
    raw = of_shape(5, 7, 3).raw(signals)
    assert raw.shape == (2, 3, 5, 7)
    assert torch.equal(raw[1, 2], torch.from_numpy(signals[1][..., 2].astype(np.float32)) / 255)
