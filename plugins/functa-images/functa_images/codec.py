"""JPEG, for compressed latents to be compared with."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from functa_core import Codec, Observations
from functa_images.pixels import Pixels, image_of, to_float

QUALITIES = (2, 5, 10, 20, 40, 60, 80, 95)
ABBREVIATED = 2
"""Pillow's streamtype of a JPEG without its tables."""


def jpeg() -> Codec:
    """Pillow's JPEG of grey and RGB pictures, as it is by default but for the quality."""
    return Codec(
        name="JPEG",
        settings=QUALITIES,
        code=_code,
        counts=(
            "whole streams of Pillow's JPEG at the qualities given, without the quantisation and "
            "Huffman tables, which all pictures share"
        ),
    )


def _code(
    signals: Sequence[Pixels], observations: Observations, setting: float | str
) -> tuple[Float[Tensor, " B"], Float[Tensor, "B N C"]]:
    """Bits of each picture at a quality, and its pixels after decoding."""
    coded = [_one(image_of(signal), int(setting)) for signal in signals]
    pixels = np.stack([to_float(decoded) for _, decoded in coded])
    values = torch.from_numpy(pixels).reshape(observations.values.shape)
    return torch.tensor([float(bits) for bits, _ in coded]), values


def _one(image: Image.Image, quality: int) -> tuple[int, Pixels]:
    """Bits without tables, and pixels (h, w, c)."""
    whole, abbreviated = BytesIO(), BytesIO()
    image.save(whole, "JPEG", quality=quality)
    # The same scan; only the tables, which a decoder of many pictures needs once, are missing.
    image.save(abbreviated, "JPEG", quality=quality, streamtype=ABBREVIATED)
    with Image.open(whole) as decoded:
        pixels = np.asarray(decoded)
    return 8 * len(abbreviated.getvalue()), pixels.reshape(*pixels.shape[:2], -1)
