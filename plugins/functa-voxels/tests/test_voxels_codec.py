"""Packed bits beside compressed latents, and shapes as raw arrays."""

import zlib

import numpy as np
import torch
from voxels_helpers import blobs, of_side


def test_bits_are_those_of_a_stream_that_gives_the_shape_back():
    modality = of_side(9)
    shapes = list(blobs(3, 9))
    seen = modality.observations(shapes)
    bits, values = modality.codec().code(shapes, seen, "lossless")
    assert torch.equal(values, seen.values)
    for shape, size in zip(shapes, bits, strict=True):
        stream = zlib.compress(np.packbits(shape).tobytes(), 9)
        assert size == 8 * len(stream)
        cells = np.unpackbits(np.frombuffer(zlib.decompress(stream), np.uint8), count=9**3)
        assert np.array_equal(cells.reshape(9, 9, 9).astype(bool), shape)
    as_numbers = [shape.astype(np.uint8) for shape in shapes]
    assert torch.equal(modality.codec().code(as_numbers, seen, "lossless")[0], bits)


def test_raw_arrays_are_occupancies():
    shapes = list(blobs(2, 6))
    raw = of_side(6).raw(shapes)
    assert raw.shape == (2, 1, 6, 6, 6)
    assert np.array_equal(raw[:, 0].numpy(), np.stack(shapes))
