"""JPEG 2000 of latitude-longitude grids, for compressed latents to be compared with.

GRIB's packing by JPEG 2000 (WMO Manual on Codes, GRIB edition 2, template 5.40) stores fields as
integers in such streams too; here the streams are lossy, at several rates.
"""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from functa_core import Codec, Observations
from functa_sphere.collection import Map

RATES = (400, 200, 100, 50, 25, 12)
"""Factors by which streams are smaller than 16 bits a value."""
LEVELS = 65535
START_OF_DATA = b"\xff\x93"
"""Before this marker are the headers, which are the same for all fields of a grid."""
RANGE_BITS = 64
"""The least and greatest value of each channel, as GRIB stores a reference and a scale."""


def jpeg2000() -> Codec:
    """OpenJPEG's streams by way of Pillow, one for each channel, of values in 16 bits."""
    return Codec(
        name="JPEG 2000",
        settings=RATES,
        code=_code,
        counts=(
            "a code stream of each channel without its headers, which all fields share, at the "
            "compression factors given (of 16 bits a value), and its range; without where cells "
            "have no value"
        ),
    )


def _code(
    signals: Sequence[Map], observations: Observations, setting: float | str
) -> tuple[Float[Tensor, " B"], Float[Tensor, "B N C"]]:
    """Bits of each field at a rate, and its scaled values after decoding."""
    shape = signals[0].grid.shape
    bits, decoded = [], []
    for values in filled(observations).numpy():
        planes = [_plane(channel.reshape(shape), float(setting)) for channel in values.T]
        bits.append(float(sum(size for size, _ in planes)))
        decoded.append(np.stack([plane.ravel() for _, plane in planes], axis=-1))
    return torch.tensor(bits), torch.from_numpy(np.stack(decoded))


def filled(observations: Observations) -> Float[Tensor, "B N C"]:
    """Finite values: where there is none, the mean of the field's channel, which is cheap."""
    known = observations.values.isfinite()
    mean = observations.values.nanmean(dim=1, keepdim=True).nan_to_num(0.5)
    return torch.where(known, observations.values, mean)


def _plane(values: np.ndarray, rate: float) -> tuple[int, np.ndarray]:
    """Bits of one channel (h, w), and what it is after decoding."""
    low, high = float(values.min()), float(values.max())
    scale = (high - low) / LEVELS or 1.0
    levels = np.rint((values - low) / scale).astype(np.uint16)
    stream = BytesIO()
    Image.fromarray(levels).save(
        stream, "JPEG2000", no_jp2=True, irreversible=True, quality_layers=[rate]
    )
    with Image.open(stream) as image:
        decoded = (low + scale * np.asarray(image)).astype(np.float32)
    tiles = len(stream.getvalue()) - stream.getvalue().index(START_OF_DATA)
    return 8 * tiles + RANGE_BITS, decoded
