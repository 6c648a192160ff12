"""What people look at: orbits, strips of views, and targets beside their reconstructions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from functa_core import Artefact
from functa_nerf.rendering import Rendering

FRAME_MILLISECONDS = 70
"""About 14 frames a second; the GIF format counts in hundredths."""
STRIP_VIEWS = 6
FIGURE_PIXELS = 128
"""Orbits in the report are enlarged to at least this, by whole factors."""


def to_bytes(colours: Float[Tensor, "*shape"]) -> np.ndarray:
    """Colours in [0, 1], what lies outside cut off, as uint8."""
    scaled = colours.clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.asarray(scaled.cpu().numpy())


def write_gif(frames: Float[Tensor, "V H W 3"], path: Path) -> None:
    """An animation that repeats for ever."""
    images = [Image.fromarray(frame) for frame in to_bytes(frames)]
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=FRAME_MILLISECONDS, loop=0
    )


def write_strip(frames: Float[Tensor, "V H W 3"], path: Path) -> None:
    """A few evenly spread views side by side."""
    count = min(STRIP_VIEWS, len(frames))
    chosen = frames[torch.arange(count) * len(frames) // count]
    Image.fromarray(to_bytes(torch.cat(list(chosen), dim=1))).save(path)


def write_orbits(
    views: Float[Tensor, "B V H W 3"], out: Path, names: Sequence[str]
) -> list[Artefact]:
    """For each of B scenes its orbit as a GIF and a strip of views as a PNG."""
    artefacts = []
    for name, frames in zip(names, views, strict=True):
        gif, png = out / f"{name}.gif", out / f"{name}.png"
        write_gif(frames, gif)
        write_strip(frames, png)
        artefacts.append(Artefact(gif, "image/gif", f"{name}: one turn of the camera around it."))
        artefacts.append(Artefact(png, "image/png", f"{name}: views on the way round."))
    return artefacts


def write_side_by_side(views: Float[Tensor, "B V H W 3"], path: Path) -> Artefact:
    """The orbits of several scenes in one GIF."""
    factor = -(-FIGURE_PIXELS // views.shape[2])
    frames = torch.cat(list(views), dim=2)
    large = frames.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)
    write_gif(large, path)
    caption = f"{len(views)} test scenes, each rendered from its latent, once around."
    return Artefact(path, "image/gif", caption)


def psnr(predicted: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"]) -> float:
    """Peak signal-to-noise ratio in dB, for values in [0, 1]."""
    error = (predicted - target).square().mean().clamp_min(1e-10)
    return float(-10 * error.log10())


def write_views(
    rows: Sequence[tuple[str, Sequence[tuple[Tensor, Rendering]]]],
    depths: tuple[float, float],
    path: Path,
) -> Artefact:
    """A row for each scene: target, rendering and depth of some views, with the view's PSNR.

    Args:
        rows: name of the scene, and for each view its target (H, W, 3) and its rendering, with
            colour (H, W, 3), depth (H, W) and weights (H, W, P).
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
            _show(next(cells), _depth_picture(rendering, depths), "depth")
    figure.savefig(path, dpi=110)
    return Artefact(
        path,
        "image/png",
        "Views of test scenes that the latent was not to see: target, rendering with its PSNR, "
        f"and depth (dark is near, from {depths[0]:g} to {depths[1]:g}; nothing there is white).",
    )


def write_steps(rows: Sequence[tuple[str, Tensor, Sequence[Tensor]]], path: Path) -> Artefact:
    """A row for each scene: the target of one view, and its rendering after 0, 1, … inner steps.

    Args:
        rows: name, target (H, W, 3), renderings (H, W, 3).
        path: of the PNG.
    """
    columns = 1 + len(rows[0][2])
    figure = Figure(figsize=(1.5 * columns, 1.75 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (name, target, fits) in zip(grid, rows, strict=True):
        _show(axes[0], to_bytes(target), name)
        for step, (cell, fit) in enumerate(zip(axes[1:], fits, strict=True)):
            _show(cell, to_bytes(fit), f"{step} steps: {psnr(fit, target):.1f} dB")
        for cell in axes:
            cell.axis("off")
    figure.savefig(path, dpi=110)
    return Artefact(path, "image/png", "One view of each test scene after 0, 1, … inner steps.")


def _depth_picture(rendering: Rendering, depths: tuple[float, float]) -> np.ndarray:
    """Mean depth where a ray meets something, in colours over white."""
    near, far = depths
    opacity = rendering.weights.sum(dim=-1)
    # The depth of a half transparent ray is half as large: the mean is over what was met.
    mean = rendering.depth / opacity.clamp_min(1e-3)
    share = ((mean - near) / (far - near)).clamp(0, 1).cpu().numpy()
    colours = matplotlib.colormaps["viridis"](share)[..., :3]
    cover = opacity.clamp(0, 1).cpu().numpy()[..., None]
    return np.asarray(np.round(255 * (colours * cover + 1 - cover)).astype(np.uint8))


def _show(axes: Axes, picture: np.ndarray, title: str) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title, fontsize=7)
