"""Packed bits and Deflate, for compressed latents to be compared with."""

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core import Codec, Observations

DEFLATE_LEVEL = 9


def packed_bits() -> Codec:
    """A bit for each cell, eight to a byte, and zlib's Deflate over them: nothing is lost."""
    return Codec(
        name="packed bits, Deflate",
        settings=("lossless",),
        code=_code,
        counts="zlib streams of one shape each, a bit for each cell before Deflate",
    )


def _code(
    signals: Sequence[np.ndarray], observations: Observations, setting: float | str
) -> tuple[Float[Tensor, " B"], Float[Tensor, "B N 1"]]:
    """Bits of each shape, and its cells after decoding: those that went in."""
    packed = [np.packbits(signal == 1).tobytes() for signal in signals]
    streams = [zlib.compress(one, DEFLATE_LEVEL) for one in packed]
    return torch.tensor([8.0 * len(stream) for stream in streams]), observations.values
