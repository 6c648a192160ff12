"""Compares fused layers with plain ones in float32; test_fused.py runs it as a process."""

import itertools

import torch

from functa_core.networks import fused
from functa_core.networks.buffers import Buffers
from functa_core.networks.fastest import layers_for
from functa_core.networks.layers import PlainLayers

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
HALF = torch.bfloat16
SIZES = [
    (32, 32, 3, 50),
    (48, 2, 2, 130),
    (20, 3, 2, 33),
    (130, 70, 1, 140),
    (128, 128, 2, 64),
    (64, 20, 2, 40),
]
"""Rows, terms, signals and coordinates: few and many, with and without tiles that stick out."""


DIGITS = 3e-3 if DEVICE.type == "cuda" else 6e-3
"""Relative error of a bfloat16; the interpreter does not round but cuts."""


def compare(found, expected):
    """All results to a bfloat16's digits, relative to their size."""
    for ours, theirs in zip(found, expected, strict=True):
        assert float((ours.float() - theirs).norm() / theirs.norm()) < DIGITS


def compare_few():
    """Products with a few rows, which are in float32, however many columns there are."""
    layers = layers_for(DEVICE, HALF, torch.float32, Buffers())
    plain = PlainLayers(torch.float32, torch.float32, Buffers())
    for few, (_, many, signals, count) in itertools.product((1, 3, 16), SIZES):
        count *= 40 if few == 3 else 1
        x = torch.randn(many, signals, count, device=DEVICE).to(HALF)
        matrix = torch.randn(few, many, device=DEVICE)
        found, expected = layers.mix(matrix, x), plain.mix(matrix, x.float())
        assert float((found - expected).norm() / expected.norm()) < 1e-5
        left = torch.randn(few, signals, count, device=DEVICE)
        found, expected = layers.share(left, x), plain.share(left, x.float())
        assert float((found - expected).norm() / expected.norm()) < 1e-5


def main():
    """Every line at every size, for one direction a signal and for one a coordinate."""
    torch.manual_seed(0)
    layers = layers_for(DEVICE, HALF, torch.float32, Buffers())
    assert isinstance(layers, fused.FusedLayers)
    plain = PlainLayers(torch.float32, torch.float32, Buffers())
    for (rows, terms, signals, count), single in itertools.product(SIZES, (True, False)):
        thin = terms in (2, 20)  # coordinates and channels, few or many, are in float32
        matrix = torch.randn(rows, terms, device=DEVICE) / terms**0.5
        x = torch.rand(terms, signals, count, device=DEVICE) * 2 - 1
        matrix, x = (each if thin else each.to(HALF) for each in (matrix, x))
        c, s, a, z = torch.randn(4, rows, signals, count, device=DEVICE).to(HALF).unbind()
        shift = 20 * torch.randn(rows, signals, device=DEVICE)
        wide = matrix.float(), x.float()
        z = z[..., :1] if single else z
        compare(layers.wave(matrix, x, shift, keep=True), plain.wave(*wide, shift, keep=True))
        compare(layers.back(matrix, x, c), plain.back(*wide, c.float()))
        compare(layers.fold(matrix, x, c), plain.fold(*wide, c.float()))
        one = c[:, :1].contiguous()  # what all signals share
        compare(layers.back(matrix, x, one), plain.back(*wide, one.float()))
        if rows == terms:
            for cosine in (c, one):
                expected = plain.along(matrix.float(), x.float(), z.float(), cosine.float())
                compare(layers.along(matrix, x.clone(), z, cosine), expected)
        ours, theirs = a.clone(), a.float()
        found = layers.bend(matrix, x, s, c, ours, z, spent=False)
        compare(found, plain.bend(*wide, s.float(), c.float(), theirs, z.float(), spent=False))
        compare([ours], [theirs])


if __name__ == "__main__":
    compare_few()
    main()
    fused.MANY = 1  # large tiles for all
    main()
