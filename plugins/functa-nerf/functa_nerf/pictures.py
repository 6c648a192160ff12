"""Pictures: strips of views, depths in colours, targets beside their reconstructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import matplotlib
import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from functa_core import Artefact
from functa_nerf.animations import Gif, watchable
from functa_nerf.views import View

STRIP_VIEWS = 6
HIDDEN = (0.78, 0.62, 0.78)
"""Colour of what was not observed."""
HELD = 5
"""Frames that each end of a way is held, or nobody could tell where it begins."""


def to_bytes(colours: Float[Tensor, "*shape"]) -> np.ndarray:
    """Colours in [0, 1], what lies outside cut off, as uint8."""
    scaled = colours.clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.asarray(scaled.cpu().numpy())


class Strip:
    """A few evenly spread pictures side by side, as a PNG.

    Args:
        path: of the PNG.
        count: of the pictures that will come.
    """

    def __init__(self, path: Path, count: int) -> None:
        few = min(STRIP_VIEWS, count)
        self._path, self._chosen = path, {i * count // few for i in range(few)}
        self._kept: list[np.ndarray] = []
        self._seen = 0

    def add(self, frame: UInt8[np.ndarray, "H W 3"]) -> None:
        """The next picture."""
        if self._seen in self._chosen:
            self._kept.append(frame)
        self._seen += 1

    def close(self) -> None:
        """Write the file, if there was any picture."""
        if self._kept:
            Image.fromarray(np.concatenate(self._kept, axis=1)).save(self._path)


def depth_picture(view: View, between: tuple[float, float]) -> UInt8[np.ndarray, "H W 3"]:
    """Depth in colours, from the first to the second of `between`, paler where less is met."""
    near, far = between
    share = ((view.depth - near) / (far - near)).clamp(0, 1).numpy()
    colours = matplotlib.colormaps["viridis"](share)[..., :3]
    cover = view.opacity.clamp(0, 1).numpy()[..., None]
    return np.asarray(np.round(255 * (colours * cover + 1 - cover)).astype(np.uint8))


def psnr(predicted: Float[Tensor, "*n 3"], target: Float[Tensor, "*n 3"]) -> float:
    """Peak signal-to-noise ratio in dB, for values in [0, 1]."""
    error = (predicted - target).square().mean().clamp_min(1e-10)
    return float(-10 * error.log10())


def write_views(
    rows: Sequence[tuple[str, Sequence[tuple[Tensor, View]]]],
    depths: tuple[float, float],
    path: Path,
) -> Artefact:
    """A row for each scene: target, rendering and depth of some views, with the view's PSNR.

    Args:
        rows: name of the scene, and for each view its target (H, W, 3) and its rendering.
        depths: near and far, the ends of the colour map.
        path: of the PNG.
    """
    columns = 3 * max(len(views) for _, views in rows)
    figure = Figure(figsize=(1.5 * columns, 1.75 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (name, views) in zip(grid, rows, strict=True):
        for cell in axes:
            cell.axis("off")
        cells = iter(axes)
        for target, rendering in views:
            _show(next(cells), to_bytes(target), name)
            figure_psnr = psnr(rendering.colour, target)
            _show(next(cells), to_bytes(rendering.colour), f"{figure_psnr:.1f} dB")
            _show(next(cells), depth_picture(rendering, depths), "depth")
    figure.savefig(path, dpi=110)
    return Artefact(
        path,
        "image/png",
        "Views of test scenes that the latent was not to see: target, rendering with its PSNR, "
        f"and depth (dark is near, from {depths[0]:g} to {depths[1]:g}; nothing there is white).",
    )


def write_fits(
    rows: Sequence[tuple[str, Tensor, Mapping[str, Tensor]]], path: Path, caption: str
) -> Artefact:
    """A row for each scene: one view of it, and renderings of the same view with their PSNR.

    Args:
        rows: name of the scene, target (H, W, 3), renderings (H, W, 3) by what is said of them.
        path: of the PNG.
        caption: of the picture.
    """
    columns = 1 + len(rows[0][2])
    figure = Figure(figsize=(1.5 * columns, 1.75 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (name, target, fits) in zip(grid, rows, strict=True):
        _show(axes[0], to_bytes(target), name)
        for cell, (label, fit) in zip(axes[1:], fits.items(), strict=True):
            _show(cell, to_bytes(fit), f"{label}: {psnr(fit, target):.1f} dB")
        for cell in axes:
            cell.axis("off")
    figure.savefig(path, dpi=110)
    return Artefact(path, "image/png", caption)


def write_masked(
    rows: Sequence[tuple[str, Tensor, Tensor, Mapping[str, Tensor]]], path: Path
) -> Artefact:
    """A row for each scene: what was observed of a view, completions with their PSNR, the truth.

    Args:
        rows: name of the scene, target (H, W, 3), which of its pixels were seen (H, W), and
            renderings (H, W, 3) by what is said of them.
        path: of the PNG.
    """
    names = list(rows[0][3])
    columns = 2 + len(names)
    figure = Figure(figsize=(1.5 * columns, 1.75 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (name, target, seen, fits) in zip(grid, rows, strict=True):
        observed = torch.where(seen[..., None], target, torch.tensor(HIDDEN))
        _show(axes[0], to_bytes(observed), f"{name}: observed")
        for cell, (label, fit) in zip(axes[1:], fits.items(), strict=False):
            _show(cell, to_bytes(fit), f"{label}: {psnr(fit[~seen], target[~seen]):.1f} dB")
        _show(axes[-1], to_bytes(target), "truth")
        for cell in axes:
            cell.axis("off")
    figure.savefig(path, dpi=110)
    caption = (
        f"One context view of test scenes: what was observed of it, completions "
        f"({', '.join(names)}) with their PSNR where it was hidden, and the view."
    )
    return Artefact(path, "image/png", caption)


def write_ways(frames: Sequence[Sequence[Float[Tensor, "H W 3"]]], path: Path) -> None:
    """A GIF of views side by side, there and back."""
    joined = [
        np.concatenate([watchable(to_bytes(view)) for view in frame], axis=1) for frame in frames
    ]
    held = [joined[0]] * HELD + joined[1:-1] + [joined[-1]] * HELD
    with closing(Gif(path)) as gif:
        for frame in [*held, *joined[-2:0:-1]]:
            gif.add(frame)


def write_gallery(sets: Mapping[str, Sequence[Tensor]], path: Path) -> Artefact:
    """A column of views (H, W, 3) for each set, below its name."""
    count = len(next(iter(sets.values())))
    figure = Figure(figsize=(1.5 * len(sets), 1.75 * count), layout="constrained")
    grid = figure.subplots(count, len(sets), squeeze=False)
    for column, (name, views) in zip(grid.T, sets.items(), strict=True):
        for cell, view in zip(column, views, strict=True):
            _show(cell, to_bytes(view), name)
            cell.axis("off")
    figure.savefig(path, dpi=110)
    caption = f"One view of scenes, a column each: {', '.join(sets)}."
    return Artefact(path, "image/png", caption)


def _show(axes: Axes, picture: np.ndarray, title: str) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title, fontsize=7)
