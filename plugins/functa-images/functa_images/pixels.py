"""Pictures as arrays: decoding, number of channels, size."""

import warnings
from io import BufferedReader, BytesIO
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageOps

Pixels: TypeAlias = UInt8[np.ndarray, "_h _w _c"] | Float32[np.ndarray, "_h _w _c"]
"""One picture, rows first: uint8 of 0 to 255, or float32 of 0 to 1; c is 1, 3 or 4.

Pictures of several sizes meet in one function, so the names of the axes bind nothing.
"""

Stream: TypeAlias = BufferedReader | BytesIO
"""An open picture file, on disk or unpacked in memory."""

CHANNEL_WORDS = {1: "grey", 3: "RGB", 4: "RGB with alpha"}


def decode(stream: Stream, side: int | None = None) -> Pixels:
    """The picture in a PNG or JPEG file, upright, with as many channels as it needs.

    Where only a square of `side` pixels will be made of it, a large JPEG is decoded at a half, a
    quarter or an eighth of its size, never below twice that side, which is several times faster.

    Grey pictures of 16 bits become float32, because the upper 8 bits of a 12-bit measurement kept
    in 16 would be almost nothing. An alpha channel that is opaque everywhere is left out.

    Raises:
        Exception: of any kind, since decoders meet malformed bytes in the middle of their work.
    """
    with warnings.catch_warnings():
        # What Pillow warns of (odd metadata, a very large photograph) does not spoil the pixels;
        # beyond twice its limit of pixels it raises DecompressionBombError.
        warnings.simplefilter("ignore")
        with Image.open(stream, formats=("PNG", "JPEG")) as image:
            if side is not None:
                image.draft(None, (2 * side, 2 * side))
            return _array(ImageOps.exif_transpose(image))


def _array(image: Image.Image) -> Pixels:
    """A Pillow image of any mode as an array."""
    grey = image.mode in ("1", "L", "LA", "La")
    if image.mode == "I" or image.mode.startswith("I;16"):  # both are what 16-bit PNGs open as
        return (np.asarray(image) / 65535).astype(np.float32)[..., None]
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        if rgba[..., 3].min() < 255:
            return rgba
        return rgba[..., :1] if grey else rgba[..., :3]
    if grey:
        return np.asarray(image.convert("L"))[..., None]
    return np.asarray(image.convert("RGB"))


def nbytes(pixels: Pixels) -> int:
    """Bytes that a picture takes in memory."""
    return pixels.nbytes


def image_of(pixels: Pixels) -> Image.Image:
    """A uint8 or float picture of 1, 3 or 4 channels as a Pillow image of mode L, RGB or RGBA."""
    levels = to_levels(pixels)
    return Image.fromarray(np.ascontiguousarray(levels[..., 0] if levels.shape[2] == 1 else levels))


def to_float(pixels: Pixels) -> Float32[np.ndarray, "h w c"]:
    """The picture as float32 of 0 to 1."""
    if pixels.dtype == np.uint8:
        return np.divide(pixels, np.float32(255), dtype=np.float32)
    return pixels


def to_levels(pixels: Pixels) -> UInt8[np.ndarray, "h w c"]:
    """The picture as uint8, rounded; values outside 0 to 1 become the nearest of the two."""
    if pixels.dtype == np.uint8:
        return pixels
    levels: UInt8[np.ndarray, "h w c"] = np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)
    return levels


def to_channels(pixels: Pixels, channels: int) -> Pixels:
    """The picture with 1, 3 or 4 channels, in the dtype it has.

    Grey becomes three equal channels, a missing alpha is opaque, an unwanted alpha is laid on
    white, colour becomes grey by the weights of ITU-R BT.601.
    """
    have = pixels.shape[2]
    if have == channels:
        return pixels
    if have == 4:
        return to_channels(_on_white(pixels), channels)
    if have == 1:
        return to_channels(np.repeat(pixels, 3, axis=2), channels)
    if channels == 1:
        grey = to_float(pixels) @ np.array([0.299, 0.587, 0.114], np.float32)
        return _like(pixels, grey[..., None])
    opaque = np.full_like(pixels[..., :1], 255 if pixels.dtype == np.uint8 else 1)
    return np.concatenate([pixels, opaque], axis=2)


def _on_white(pixels: Pixels) -> Pixels:
    """A picture with alpha as it looks on a white page: 4 channels to 3."""
    values = to_float(pixels)
    alpha = values[..., 3:]
    return _like(pixels, values[..., :3] * alpha + (1 - alpha))


def _like(original: Pixels, values: Float32[np.ndarray, "h w c"]) -> Pixels:
    """`values` of 0 to 1 in the dtype of `original`."""
    return to_levels(values) if original.dtype == np.uint8 else values


def centre_square(pixels: Pixels, side: int) -> Pixels:
    """The centre square of the picture, resized to `side` pixels with antialiasing."""
    height, width, channels = pixels.shape
    if height == width == side:
        return pixels
    edge = min(height, width)
    left, top = (width - edge) // 2, (height - edge) // 2
    square = pixels[top : top + edge, left : left + edge]
    if pixels.dtype == np.uint8:
        resized = np.asarray(image_of(square).resize((side, side), Image.Resampling.BICUBIC))
        return resized.reshape(side, side, channels)
    planes = [
        Image.fromarray(np.ascontiguousarray(square[..., c])).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        for c in range(channels)
    ]
    # Bicubic interpolation overshoots at edges, and floats would keep that.
    return np.stack([np.asarray(plane) for plane in planes], axis=2).clip(0, 1)
