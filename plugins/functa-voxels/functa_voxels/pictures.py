"""Contact sheets: the data itself, and targets beside their fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw, ImageFont

from functa_core import Artefact
from functa_voxels.drawing import BLUE, GREY, VIEWS, Picture, draw, slice_picture

TILE = 168
"""Pixels a side of a picture on a sheet."""
GAP = 6
TEXT = 16
"""Height of a line of text, in pixels."""
PREVIEW_COLUMNS, PREVIEW_ROWS = 8, 4

Occupancy = Float[np.ndarray, "_r _r _r"]
"""A cube; its side is not bound, because one picture shows several resolutions."""


@attrs.frozen(eq=False)
class Tile:
    """A picture on a sheet, and the line below it."""

    picture: Picture
    caption: str = ""


def write_views(occupancy: Occupancy, up: str, path: Path) -> Artefact:
    """One shape from two sides."""
    tiles = [Tile(draw(occupancy, view, 2 * TILE, up, BLUE)) for view in VIEWS]
    Image.fromarray(np.concatenate([tile.picture for tile in tiles], axis=1)).save(path)
    caption = f"{path.stem}, from {len(occupancy)}³ cells, from two sides."
    return Artefact(path, "image/png", caption)


def write_fits(
    rows: Sequence[tuple[str, Occupancy, Occupancy, Occupancy]], up: str, path: Path
) -> Artefact:
    """A row for each shape: target and fit from two sides, a slice, and the field on a finer grid.

    Args:
        rows: name, target, fit on the same grid, fit on a finer one.
        up: the axis that is up.
        path: of the PNG.
    """
    tiles = []
    for name, target, fit, fine in rows:
        row = []
        for view in VIEWS:
            row.append(Tile(draw(target, view, TILE, up, GREY), name))
            row.append(Tile(draw(fit, view, TILE, up, BLUE), f"IoU {iou(fit, target):.3f}"))
        row.append(Tile(slice_picture(target, fit, up, TILE)))
        tiles.append([*row, Tile(draw(fine, VIEWS[0], TILE, up, BLUE))])
    side, finer = len(rows[0][1]), len(rows[0][3])
    titles = ["target", "fit", "target", "fit", "slice", f"fit, {finer} cells a side"]
    _sheet(tiles, titles).save(path)
    return Artefact(
        path,
        "image/png",
        f"Test shapes and their fits at {side}³ cells from two sides; a slice (grey right, red "
        f"missing, blue too many); and the same field read at {finer}³ cells.",
    )


def write_steps(
    rows: Sequence[tuple[Occupancy, Sequence[Occupancy]]], up: str, path: Path
) -> Artefact:
    """A row for each shape: the target, and its fit after 0, 1, … inner steps.

    Args:
        rows: target and fits.
        up: the axis that is up.
        path: of the PNG.
    """
    tiles = []
    for target, fits in rows:
        row = [Tile(draw(target, VIEWS[0], TILE, up, GREY))]
        for fit in fits:
            picture = draw(fit, VIEWS[0], TILE, up, BLUE)
            row.append(Tile(picture, f"IoU {iou(fit, target):.3f}"))
        tiles.append(row)
    counts = range(len(rows[0][1]))
    _sheet(tiles, ["target", *(f"{k} step{'' if k == 1 else 's'}" for k in counts)]).save(path)
    last = len(rows[0][1]) - 1
    caption = f"Test shapes and what the field shows of them after 0 to {last} inner steps."
    return Artefact(path, "image/png", caption)


def write_masked(
    shapes: Sequence[Occupancy],
    seen: Sequence[Bool[np.ndarray, "_r _r _r"]],
    fits: Mapping[str, Float[np.ndarray, "B r r r"]],
    up: str,
    path: Path,
) -> Artefact:
    """A row for each shape: its filled cells that were seen, completions, and the whole of it.

    Args:
        shapes: B targets.
        seen: the cells of each that were observed, filled or not.
        fits: B completions, by what is said of them.
        up: the axis that is up.
        path: of the PNG.
    """
    rows = []
    for i, (shape, known) in enumerate(zip(shapes, seen, strict=True)):
        row = [Tile(draw(shape * known, VIEWS[0], TILE, up, GREY), f"{known.mean():.0%} of cells")]
        for made in fits.values():
            score = iou(made[i][~known], shape[~known])
            row.append(Tile(draw(made[i], VIEWS[0], TILE, up, BLUE), f"hidden: IoU {score:.3f}"))
        rows.append([*row, Tile(draw(shape, VIEWS[0], TILE, up, GREY))])
    _sheet(rows, ["observed", *fits, "truth"]).save(path)
    caption = (
        f"The filled cells that were observed of test shapes, completions ({', '.join(fits)}) with "
        "their intersection over union in the hidden cells, the truth."
    )
    return Artefact(path, "image/png", caption)


def write_gallery(
    sets: Mapping[str, Float[np.ndarray, "B r r r"]], up: str, path: Path
) -> Artefact:
    """A column of shapes for each set, below its name."""
    rows = [
        [Tile(draw(shape, VIEWS[0], TILE, up, BLUE)) for shape in row]
        for row in zip(*sets.values(), strict=True)
    ]
    _sheet(rows, list(sets)).save(path)
    return Artefact(path, "image/png", f"Shapes, a column each: {', '.join(sets)}.")


def write_preview(shapes: Sequence[tuple[str, Occupancy]], up: str, path: Path) -> Artefact:
    """A few shapes with their names below."""
    tiles = [Tile(draw(shape, VIEWS[0], TILE, up, GREY), name) for name, shape in shapes]
    rows = [tiles[i : i + PREVIEW_COLUMNS] for i in range(0, len(tiles), PREVIEW_COLUMNS)]
    _sheet(rows, []).save(path)
    caption = f"{len(shapes)} training shapes, {up} up, each with its class or name."
    return Artefact(path, "image/png", caption)


def iou(fit: Float[np.ndarray, "*n"], target: Float[np.ndarray, "*n"]) -> float:
    """Intersection over union of what is above 0.5; 1 where both are empty."""
    ours, theirs = fit > 0.5, target > 0.5
    union = np.count_nonzero(ours | theirs)
    return np.count_nonzero(ours & theirs) / union if union else 1.0


def _sheet(rows: Sequence[Sequence[Tile]], titles: Sequence[str]) -> Image.Image:
    """Tiles in rows, each with its line of text, below a line of titles if there are any."""
    font = ImageFont.load_default(size=TEXT - 4)
    columns, height = max(len(row) for row in rows), TILE + TEXT + GAP
    top = GAP + (TEXT if titles else 0)
    size = (columns * (TILE + GAP) + GAP, top + len(rows) * height)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for c, title in enumerate(titles):
        pen.text((GAP + c * (TILE + GAP), GAP // 2), title, fill="black", font=font)
    for r, row in enumerate(rows):
        for c, tile in enumerate(row):
            x, y = GAP + c * (TILE + GAP), top + r * height
            sheet.paste(Image.fromarray(tile.picture), (x, y))
            pen.text((x, y + TILE), _cut(tile.caption, font), fill="black", font=font)
    return sheet


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The end of a text that is too long for a tile: names differ at the end."""
    if font.getlength(text) <= TILE:
        return text
    while text and font.getlength("…" + text) > TILE:
        text = text[1:]
    return "…" + text
