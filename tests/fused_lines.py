"""Compares fused layers with plain ones in float32; test_fused.py runs it as a process."""

import itertools

import torch

from functa_core.networks.buffers import Buffers
from functa_core.networks.fastest import layers_for
from functa_core.networks.fused import FusedLayers
from functa_core.networks.layers import PlainLayers

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
HALF = torch.bfloat16
SIZES = [(32, 32, 3, 50), (48, 2, 2, 130), (20, 3, 2, 33), (130, 70, 1, 140), (128, 128, 2, 64)]
"""Rows, terms, signals and coordinates: few and many, with and without tiles that stick out."""


def compare(found, expected):
    """All results to a bfloat16's digits, relative to their size."""
    for ours, theirs in zip(found, expected, strict=True):
        assert float((ours.float() - theirs).norm() / theirs.norm()) < 6e-3


def main():
    """Every line at every size, for one direction a signal and for one a coordinate."""
    torch.manual_seed(0)
    fused = layers_for(DEVICE, HALF, torch.float32, Buffers())
    assert isinstance(fused, FusedLayers)
    plain = PlainLayers(torch.float32, torch.float32, Buffers())
    for (rows, terms, signals, count), single in itertools.product(SIZES, (True, False)):
        thin = terms < 16
        matrix = torch.randn(rows, terms, device=DEVICE) / terms**0.5
        x = torch.rand(terms, signals, count, device=DEVICE) * 2 - 1
        matrix, x = (each if thin else each.to(HALF) for each in (matrix, x))
        c, s, a, z = torch.randn(4, rows, signals, count, device=DEVICE).to(HALF).unbind()
        shift = 20 * torch.randn(rows, signals, device=DEVICE)
        wide = matrix.float(), x.float()
        z = z[..., :1] if single else z
        compare(fused.wave(matrix, x, shift, keep=True), plain.wave(*wide, shift, keep=True))
        compare(fused.back(matrix, x, c), plain.back(*wide, c.float()))
        compare(fused.fold(matrix, x, c), plain.fold(*wide, c.float()))
        if rows == terms:
            expected = plain.along(matrix.float(), x.float(), z.float(), c.float())
            compare(fused.along(matrix, x.clone(), z, c), expected)
        ours, theirs = a.clone(), a.float()
        found = fused.bend(matrix, x, s, c, ours, z)
        compare(found, plain.bend(*wide, s.float(), c.float(), theirs, z.float()))
        compare([ours], [theirs])


if __name__ == "__main__":
    main()
