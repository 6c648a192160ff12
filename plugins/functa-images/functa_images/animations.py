"""Pictures that change, as GIF."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw, ImageFont

from functa_images.pictures import GAP, TEXT, shown

MILLISECONDS = 80
"""A frame."""
HOLD = 600
"""Milliseconds that each end is held, or nobody could tell where the way begins."""


def write_gif(path: Path, ways: Mapping[str, Float32[np.ndarray, "F h w c"]]) -> None:
    """Ways side by side, each below its name, forwards and backwards for ever."""
    count = len(next(iter(ways.values())))
    frames = [_frame({name: pictures[i] for name, pictures in ways.items()}) for i in range(count)]
    # One palette for all, or still parts would flicker.
    tall = Image.new("RGB", (frames[0].width, frames[0].height * count))
    for i, frame in enumerate(frames):
        tall.paste(frame, (0, i * frame.height))
    palette = tall.quantize(256)
    flat = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [HOLD, *[MILLISECONDS] * (count - 2), HOLD][:count]
    there_and_back = [*flat, *flat[-2:0:-1]]
    there_and_back[0].save(
        path,
        save_all=True,
        append_images=there_and_back[1:],
        duration=[*times, *times[-2:0:-1]],
        loop=0,
    )


def _frame(pictures: Mapping[str, Float32[np.ndarray, "h w c"]]) -> Image.Image:
    """Pictures side by side, each below its name."""
    font = ImageFont.load_default(size=TEXT - 3)
    tiles = {name: shown(picture) for name, picture in pictures.items()}
    widths = [max(tile.width, round(font.getlength(name))) + GAP for name, tile in tiles.items()]
    height = max(tile.height for tile in tiles.values()) + TEXT + 2 * GAP
    frame = Image.new("RGB", (sum(widths) + GAP, height), "white")
    draw = ImageDraw.Draw(frame)
    x = GAP
    for (name, tile), width in zip(tiles.items(), widths, strict=True):
        draw.text((x, GAP // 2), name, fill="black", font=font)
        frame.paste(tile, (x, TEXT + GAP))
        x += width
    return frame
