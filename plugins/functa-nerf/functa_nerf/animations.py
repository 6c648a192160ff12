"""Animations, written frame by frame: however many there are, one is in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import imageio.v2 as imageio
import numpy as np
from jaxtyping import UInt8
from PIL import GifImagePlugin, Image

FRAMES_PER_SECOND = 12.5
"""A turn of 24 views takes two seconds, and 80 ms are a whole number of a GIF's hundredths."""
WATCHABLE_PIXELS = 128
"""Smaller frames are enlarged to at least this, by whole factors, so that pixels stay visible."""
QUALITY = 20
"""H.264's constant rate factor: differences are hard to see, and a turn takes about 10 kB."""


class Frames(Protocol):
    """Takes frames of one size."""

    def add(self, frame: UInt8[np.ndarray, "H W 3"]) -> None:
        """The next frame."""
        ...

    def close(self) -> None:
        """Nothing comes any more."""
        ...


class Gif:
    """A GIF that repeats for ever, each frame with 256 colours of its own.

    Pillow's own writer keeps all frames until the last one is known; this one keeps none.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._begun = False

    def add(self, frame: UInt8[np.ndarray, "H W 3"]) -> None:
        """The next frame."""
        # An octree is ten times as fast as a median cut and half as large, at 40 dB against 41.
        image = Image.fromarray(watchable(frame)).quantize(
            256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
        )
        if not self._begun:
            header, _ = GifImagePlugin.getheader(image, info={"loop": 0, "optimize": False})
            self._file.writelines(header)
            self._begun = True
        duration = round(1000 / FRAMES_PER_SECOND)
        self._file.writelines(
            GifImagePlugin.getdata(
                image, duration=duration, optimize=False, include_color_table=True
            )
        )

    def close(self) -> None:
        """Write the trailer."""
        self._file.write(b";")
        self._file.close()


class Mp4:
    """H.264 with 4:2:0 colours, its index first: what browsers and phones play."""

    def __init__(self, path: Path) -> None:
        self._writer = imageio.get_writer(
            path,
            format="FFMPEG",
            mode="I",
            fps=FRAMES_PER_SECOND,
            codec="libx264",
            pixelformat="yuv420p",
            quality=None,
            macro_block_size=2,
            output_params=["-crf", str(QUALITY), "-movflags", "+faststart"],
        )

    def add(self, frame: UInt8[np.ndarray, "H W 3"]) -> None:
        """The next frame; an odd side is made even by repeating its last pixels."""
        large = watchable(frame)
        height, width = large.shape[:2]
        even = np.pad(large, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        self._writer.append_data(even)

    def close(self) -> None:
        """Wait for the encoder to finish."""
        self._writer.close()


def watchable(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """A frame at least `WATCHABLE_PIXELS` high and wide, by repeating its pixels."""
    factor = -(-WATCHABLE_PIXELS // min(frame.shape[:2]))
    return frame.repeat(factor, axis=0).repeat(factor, axis=1)
