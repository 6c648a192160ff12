"""Maps and spinning globes.

matplotlib is imported by what draws with it: all commands of the modality import this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from functa_sphere.coastlines import land_share, look_up
from functa_sphere.views import View, globe

COLOURS, SIGNED = "viridis", "RdBu_r"
UNKNOWN = "#d4d4d4"
"""Cells without a value."""
FRAMES, GLOBE_PIXELS, MILLISECONDS = 30, 160, 100
HOLD = 800
"""Milliseconds that each end of a way is held, or nobody could tell where it begins."""
TILT = 20.0
"""Latitude in degrees that globes are seen from."""

Raster = Float[np.ndarray, "h w"]


@attrs.frozen(eq=False)
class Panel:
    """One map of a sheet.

    Attributes:
        values: a raster in the projection of the sheet, NaN outside and where nothing is known.
        title: above it.
        signed: whether it is a difference, drawn around 0.
    """

    values: Raster
    title: str = ""
    signed: bool = False


@attrs.frozen(eq=False)
class Row:
    """Maps side by side with one scale for what is signed and one for what is not.

    Attributes:
        name: at the left.
        unit: of the values.
        panels: from left to right.
        ends: of the colours of what is not signed; None for those of the first such panel.
    """

    name: str
    unit: str
    panels: Sequence[Panel]
    ends: tuple[float, float] | None = None

    def limits(self, signed: bool) -> tuple[float, float]:
        """The ends of the colours; 98 % of the differences lie within theirs."""
        if self.ends is not None and not signed:
            return self.ends
        values = [panel.values for panel in self.panels if panel.signed == signed]
        if signed:
            most = float(np.nanpercentile(np.abs(np.stack(values)), 98))
            return -max(most, 1e-12), max(most, 1e-12)
        return float(np.nanmin(values[0])), float(np.nanmax(values[0]))


def write_sheet(path: Path, view: View, rows: Sequence[Row], coastlines: bool) -> None:
    """Draw rows of maps, with a bar of colours beside the last map of each scale."""
    from matplotlib.figure import Figure

    columns = len(rows[0].panels)
    figure = Figure(figsize=(3.1 * columns + 0.6, 1.75 * len(rows) + 0.15), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for row, axes in zip(rows, grid, strict=True):
        for signed in (False, True):
            chosen = [i for i, panel in enumerate(row.panels) if panel.signed == signed]
            if not chosen:
                continue
            low, high = row.limits(signed)
            for i in chosen:
                _draw(axes[i], view, row.panels[i], (low, high), coastlines)
            last = axes[chosen[-1]]
            # Points say that what is signed goes on beyond the ends of its colours.
            beyond = "both" if signed else "neither"
            bar = figure.colorbar(
                last.images[0], ax=last, shrink=0.8, aspect=14, pad=0.02, extend=beyond
            )
            bar.ax.tick_params(labelsize=6)
            bar.set_label(row.unit, size=6)
        axes[0].set_title(f"{row.name}\n{row.panels[0].title}".strip(), fontsize=7)
        for unused in axes[len(row.panels) :]:
            unused.axis("off")
    figure.savefig(path, dpi=110)


def _draw(
    axes: Any, view: View, panel: Panel, limits: tuple[float, float], coastlines: bool
) -> None:
    """One map, on a matplotlib Axes."""
    axes.imshow(
        colour(panel.values, view, limits, SIGNED if panel.signed else COLOURS),
        interpolation="antialiased",
    )
    # For the bar of colours, which an image that is coloured already has none of.
    axes.images[0].set_cmap(SIGNED if panel.signed else COLOURS)
    axes.images[0].set_clim(*limits)
    land = land_share(view.points) if coastlines else None
    if land is not None:
        dark = "black" if panel.signed else "white"
        axes.contour(np.where(view.inside, land, 0), [0.5], colors=dark, linewidths=0.4, alpha=0.8)
    axes.set_title(panel.title, fontsize=7)
    axes.axis("off")


def colour(
    values: Raster, view: View, limits: tuple[float, float], colours: str = COLOURS
) -> UInt8[np.ndarray, "h w 4"]:
    """Values as colours, grey where nothing is known and transparent outside the sphere."""
    import matplotlib

    low, high = limits
    share = (values - low) / max(high - low, 1e-12)
    picture = matplotlib.colormaps[colours](np.nan_to_num(share.clip(0, 1)), bytes=True)
    picture[np.isnan(values)] = np.round(255 * np.array(matplotlib.colors.to_rgba(UNKNOWN)))
    picture[~view.inside] = 0
    return np.asarray(picture, np.uint8)


def write_globes(
    path: Path,
    rows: Sequence[Sequence[Raster]],
    limits: Sequence[tuple[float, float]],
    coastlines: bool,
) -> None:
    """A GIF of globes that turn once, in rows and columns.

    Args:
        path: of the GIF.
        rows: for each row its fields as rasters of equal angles from 90°N and 180°W.
        limits: the ends of the colours of each column.
        coastlines: whether they are drawn.
    """
    frames = []
    for turn in range(FRAMES):
        view = globe(GLOBE_PIXELS, 360.0 * turn / FRAMES, TILT)
        coast = _coast(view) if coastlines else np.zeros(view.inside.shape, bool)
        lines = []
        for row in rows:
            globes = []
            for raster, ends in zip(row, limits, strict=True):
                seen = view.picture(look_up(raster, view.points[view.inside]))
                picture = colour(seen, view, ends)
                picture[coast, :3] //= 3
                globes.append(_on_white(picture))
            lines.append(np.concatenate(globes, axis=1))
        frames.append(Image.fromarray(np.concatenate(lines, axis=0)))
    _write_gif(path, frames, [MILLISECONDS] * FRAMES)


def write_changing_maps(
    path: Path, view: View, ways: Sequence[Sequence[Raster]], coastlines: bool
) -> None:
    """A GIF of maps, a row for each way, there and back, in the colours of the first way's ends.

    Args:
        path: of the GIF.
        view: the projection.
        ways: for each way its frames.
        coastlines: whether they are drawn.
    """
    ends = np.stack([ways[0][0], ways[0][-1]])
    limits = float(np.nanmin(ends)), float(np.nanmax(ends))
    coast = _coast(view) if coastlines else np.zeros(view.inside.shape, bool)
    frames = []
    for rasters in zip(*ways, strict=True):
        pictures = [colour(raster, view, limits) for raster in rasters]
        for picture in pictures:
            picture[coast, :3] //= 3
        frames.append(Image.fromarray(np.concatenate([_on_white(p) for p in pictures])))
    times = [HOLD, *[MILLISECONDS] * (len(frames) - 2), HOLD][: len(frames)]
    _write_gif(path, [*frames, *frames[-2:0:-1]], [*times, *times[-2:0:-1]])


def _write_gif(path: Path, frames: Sequence[Image.Image], milliseconds: Sequence[int]) -> None:
    """With one palette for all frames, or colours would flicker."""
    both = np.concatenate([np.asarray(frames[0]), np.asarray(frames[len(frames) // 2])])
    palette = Image.fromarray(both).quantize(128)
    flat = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    flat[0].save(path, save_all=True, append_images=flat[1:], duration=list(milliseconds), loop=0)


def _coast(view: View) -> np.ndarray:
    """Pixels at which land begins."""
    share = land_share(view.points)
    if share is None:
        return np.zeros(view.inside.shape, bool)
    land = share > 0.5
    edge = (land != np.roll(land, 1, axis=0)) | (land != np.roll(land, 1, axis=1))
    inner = np.roll(view.inside, 1, axis=0) & np.roll(view.inside, 1, axis=1) & view.inside
    return np.asarray(edge & inner, bool)


def _on_white(picture: UInt8[np.ndarray, "_h _w 4"]) -> UInt8[np.ndarray, "_H _W 3"]:
    """With a margin of white."""
    cover = picture[..., 3:] > 0
    framed = np.pad(np.where(cover, picture[..., :3], 255), ((4, 4), (4, 4), (0, 0)))
    framed[:4], framed[-4:], framed[:, :4], framed[:, -4:] = 255, 255, 255, 255
    return np.asarray(framed, np.uint8)
