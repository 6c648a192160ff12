"""Contact sheets for the report and for `functa inspect`."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import attrs
import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image, ImageDraw, ImageFont

from functa_images.pixels import Pixels, image_of, to_channels, to_float

Values: TypeAlias = Float32[np.ndarray, "_h _w _c"]

TILE = 160
"""Pixels that the longer side of a picture is brought to, as nearly as whole factors allow."""
GAP = 8
TEXT = 15
"""Height of a line of text, in pixels."""
COLUMNS = 8
"""Of a sheet of the data."""
HIDDEN = (0.78, 0.62, 0.78)
"""Colour of pixels that were not observed: one that pictures seldom have."""
BRIGHTER = 4
"""Factor on the absolute error, which could hardly be seen without."""


@attrs.frozen
class Tile:
    """A picture on a sheet, and the line below it."""

    image: Image.Image
    caption: str = ""


def fits_sheet(
    originals: Sequence[Values], fits: Sequence[Float32[np.ndarray, "B h w c"]]
) -> Image.Image:
    """A sheet: a row for each signal; the original, its fits after 0, 1, … steps, the last error.

    Args:
        originals: B pictures.
        fits: for each number of inner steps the B fits, unclipped.
    """
    titles = ["original", *(f"{k} step{'' if k == 1 else 's'}" for k in range(len(fits)))]
    rows = []
    for i, original in enumerate(originals):
        tiles = [Tile(shown(original))]
        tiles += [Tile(shown(fit[i]), f"{psnr(fit[i], original):.1f} dB") for fit in fits]
        error = np.abs(fits[-1][i] - original).mean(axis=2, keepdims=True)
        rows.append([*tiles, Tile(shown(error * np.float32(BRIGHTER)))])
    return _sheet([*titles, f"|error| x {BRIGHTER}"], rows)


def enlarged_sheet(
    originals: Sequence[Values], fits: Sequence[Values], fine: Sequence[Values]
) -> Image.Image:
    """A sheet: a row for each signal; pixels, bicubic interpolation and the field between them.

    Args:
        originals: B pictures.
        fits: their fits at the same size.
        fine: the same fields read on a finer grid.
    """
    fine_side, side = max(fine[0].shape[:2]), max(originals[0].shape[:2])
    factor = fine_side // side
    enlarge = max(1, round(TILE / fine_side))
    rows = []
    for original, fit, finer in zip(originals, fits, fine, strict=True):
        field = _rgb(finer)
        bicubic = _rgb(original).resize(field.size, Image.Resampling.BICUBIC)
        coarse = [_magnified(_rgb(values), enlarge * factor) for values in (original, fit)]
        smooth = [_magnified(image, enlarge) for image in (bicubic, field)]
        rows.append([Tile(image) for image in coarse + smooth])
    return _sheet(["original", "fit", f"original, bicubic {factor}x", f"field at {factor}x"], rows)


def masked_sheet(
    originals: Sequence[Values],
    visible: Sequence[Bool[np.ndarray, "_h _w"]],
    fits: Mapping[str, Float32[np.ndarray, "B h w c"]],
) -> Image.Image:
    """A sheet: a row for each signal; what was observed, completions, and the original.

    Below each completion is its PSNR over the hidden pixels.

    Args:
        originals: B pictures.
        visible: which of their pixels were seen; the others are drawn in `HIDDEN`.
        fits: by what is said of them, B completions, unclipped.
    """
    rows = []
    for i, (original, seen) in enumerate(zip(originals, visible, strict=True)):
        observed = np.where(seen[..., None], to_channels(original, 3), np.array(HIDDEN, np.float32))
        tiles = [Tile(shown(observed))]
        for fit in fits.values():
            score = psnr(fit[i][~seen], original[~seen])
            tiles.append(Tile(shown(fit[i]), f"hidden: {score:.1f} dB"))
        rows.append([*tiles, Tile(shown(original))])
    return _sheet(["observed", *fits, "truth"], rows)


def gallery_sheet(sets: Mapping[str, Float32[np.ndarray, "B h w c"]]) -> Image.Image:
    """A sheet: a column for each set of pictures, below its name."""
    rows = [[Tile(shown(picture)) for picture in row] for row in zip(*sets.values(), strict=True)]
    return _sheet(list(sets), rows)


def data_sheet(pictures: Sequence[Pixels], captions: Sequence[str]) -> Image.Image:
    """A sheet of at least one picture, in equal rows, each above its caption.

    Those that would leave the last row incomplete are not on it.
    """
    columns = min(COLUMNS, len(pictures))
    font = ImageFont.load_default(size=TEXT - 3)
    tiles = []
    for picture, caption in zip(pictures, captions, strict=True):
        image = shown(to_float(picture))
        tiles.append(Tile(image, _ending(caption, max(image.width, TILE // 2), font)))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles) - columns + 1, columns)]
    return _sheet([""] * columns, rows)


def psnr(fit: Float32[np.ndarray, "*n"], original: Float32[np.ndarray, "*n"]) -> float:
    """PSNR in dB of unclipped values from 0 to 1, infinite for a perfect fit."""
    error = float(np.square(fit.astype(np.float64) - original).mean())
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def _rgb(values: Values) -> Image.Image:
    """A picture of any number of channels as people would see it on a white page."""
    return image_of(to_channels(values.clip(0, 1), 3))


def shown(values: Values) -> Image.Image:
    """A picture at about the size of a tile, reduced if it is large."""
    image = _rgb(values)
    longer = max(image.size)
    if longer > 2 * TILE:
        image.thumbnail((2 * TILE, 2 * TILE), Image.Resampling.BOX)
        return image
    return _magnified(image, max(1, round(TILE / longer)))


def _magnified(image: Image.Image, factor: int) -> Image.Image:
    """Enlarged by a whole factor, so that pixels stay sharp squares."""
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _ending(text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """The end of a text, which tells paths apart, as far as it fits into so many pixels."""
    for start in range(len(text)):
        shown = text if start == 0 else "…" + text[start:]
        if font.getlength(shown) <= width:
            return shown
    return ""


def _sheet(titles: Sequence[str], rows: Sequence[Sequence[Tile]]) -> Image.Image:
    """Tiles in rows below a line of titles; columns are as wide as titles and pictures need."""
    font = ImageFont.load_default(size=TEXT - 3)
    widths = [
        max(round(font.getlength(title)), *(row[c].image.width for row in rows)) + GAP
        for c, title in enumerate(titles)
    ]
    heights = [max(tile.image.height for tile in row) + TEXT + GAP for row in rows]
    sheet = Image.new("RGB", (sum(widths) + GAP, sum(heights) + TEXT + 2 * GAP), "white")
    draw = ImageDraw.Draw(sheet)
    x = GAP
    for c, title in enumerate(titles):
        draw.text((x, GAP // 2), title, fill="black", font=font)
        y = TEXT + GAP
        for row, height in zip(rows, heights, strict=True):
            sheet.paste(row[c].image, (x, y))
            draw.text((x, y + row[c].image.height + 1), row[c].caption, fill="black", font=font)
            y += height
        x += widths[c]
    return sheet
