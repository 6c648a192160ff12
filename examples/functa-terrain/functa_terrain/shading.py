"""Hill-shaded pictures.

matplotlib is imported by what draws with it: all commands of the modality import this module.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from jaxtyping import Float

from functa_terrain.tile import Heights

CELL = 30.0
"""Metres a side of a cell whose size is not known."""
Picture = Float[np.ndarray, "h w rgb=3"]


@attrs.frozen
class Shading:
    """How heights are drawn: light from the north-west at 45°, colour by height.

    Attributes:
        low, high: metres of the lowest and the highest colour.
        cell: metres from row to row and from column to column.
        exaggeration: how many times too steep slopes are.
    """

    low: float
    high: float
    cell: tuple[float, float]
    exaggeration: float

    def draw(self, heights: Heights) -> Picture:
        """Colours (h, w, 3) from 0 to 1; grey where there is no height."""
        from matplotlib import colormaps

        light = lit(heights, self.cell, self.exaggeration)
        share = ((heights - self.low) / max(self.high - self.low, 1e-6)).clip(0, 1)
        colours = colormaps["gist_earth"](0.25 + 0.7 * np.nan_to_num(share))[..., :3]
        picture = colours * (0.35 + 0.75 * light[..., None])
        return np.where(np.isfinite(heights)[..., None], picture, 0.6).clip(0, 1)


def lit(heights: Heights, cell: tuple[float, float], exaggeration: float) -> Heights:
    """Lambert's law: the cosine of the angle between the ground's normal and the light, 0 to 1.

    With east, north and up as axes the normal is (-∂z/∂east, -∂z/∂north, 1), and the light comes
    from (-1/2, 1/2, 1/√2); rows go south. matplotlib's `LightSource` stretches what it finds to the
    full range, so that plains look like mountains and a fit is not lit as its target is.
    """
    if min(heights.shape) < 2:
        return np.full(heights.shape, np.sqrt(0.5))
    south, east = np.gradient(exaggeration * heights.astype(np.float64), *cell)
    cosine = (east / 2 + south / 2 + np.sqrt(0.5)) / np.sqrt(1 + south**2 + east**2)
    return np.asarray(np.nan_to_num(cosine, nan=np.sqrt(0.5)).clip(0, 1))


def save(path: Path, heights: Heights, shading: Shading) -> None:
    """Write a PNG of one tile, a pixel a cell, or several where there are few cells."""
    from matplotlib.figure import Figure

    enlarged = max(1, 256 // len(heights))
    picture = shading.draw(heights).repeat(enlarged, axis=0).repeat(enlarged, axis=1)
    rows, columns = picture.shape[:2]
    figure = Figure(figsize=(columns / 100, rows / 100), dpi=100)
    figure.figimage(picture, origin="upper")
    figure.savefig(path, format="png")


@attrs.frozen(eq=False)
class Panel:
    """One picture of a sheet.

    Attributes:
        heights: (h, w) metres.
        title: above it.
        shading: how it is drawn; None for errors, in metres, blue below and red above.
    """

    heights: Heights
    title: str
    shading: Shading | None


def sheet(path: Path, rows: Sequence[Sequence[Panel]]) -> None:
    """Write a PNG with rows of panels, each row having as many."""
    from matplotlib.figure import Figure

    across = len(rows[0])
    figure = Figure(figsize=(2.3 * across, 2.5 * len(rows)), layout="constrained")
    for place, panel in enumerate((panel for row in rows for panel in row), start=1):
        axes = figure.add_subplot(len(rows), across, place)
        axes.set_axis_off()
        axes.set_title(panel.title, fontsize="small")
        if panel.shading is None:
            _draw_error(figure, axes, panel.heights)
        else:
            axes.imshow(panel.shading.draw(panel.heights), interpolation="nearest")
    figure.savefig(path, format="png", dpi=110)


def _draw_error(figure: Any, axes: Any, error: Heights) -> None:
    most = max(float(np.nanquantile(np.abs(error), 0.99)), 1e-3)
    drawn = axes.imshow(error, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8)
    bar.ax.tick_params(labelsize="x-small")
