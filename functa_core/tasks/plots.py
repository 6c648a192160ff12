"""Plots of what tasks found."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from functa_core.modality import Artefact

LOSSLESS_DB = 99.0
"""PSNR is cut off at 100 dB, where nothing is lost; such points would flatten a plot."""
MOST_NUMBERED = 20
"""Classes of a confusion matrix whose cells have room for numbers."""
MOST_NAMED = 60

Curve = Sequence[tuple[str, float, float]]
"""Points as (label, which may be empty, bits per signal, PSNR in dB)."""


def plotted(path: Path, caption: str) -> Artefact:
    """A plot that was written, its media type by its name."""
    return Artefact(path, mimetypes.guess_type(path.name)[0] or "", caption)


def rate_plot(curves: Mapping[str, Curve], path: Path) -> None:
    """PSNR against bits, a line for each curve; of lossless points only the bits, as a line down.

    Args:
        curves: by what the legend calls them.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for place, (name, curve) in enumerate(curves.items()):
        colour = f"C{place}"
        lossy = [point for point in curve if point[2] < LOSSLESS_DB]
        for label, bits, _ in (point for point in curve if point[2] >= LOSSLESS_DB):
            axes.axvline(bits, color=colour, linestyle=":", label=f"{name}, {label}")
        if lossy:
            labels, bits_of, psnr = zip(*lossy, strict=True)
            axes.plot(bits_of, psnr, "o-", color=colour, markersize=4, label=name)
            for label, x, y in zip(labels, bits_of, psnr, strict=True):
                axes.annotate(label, (x, y), (4, -9), textcoords="offset points", fontsize=7)
    axes.set_xscale("log")
    axes.set_xlabel("bits per signal")
    axes.set_ylabel("PSNR (dB)")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def confusion_plot(counts: Int[np.ndarray, "k k"], names: Sequence[str], path: Path) -> Artefact:
    """A matrix of how often each class was taken for each.

    Args:
        counts: rows are true classes, columns what was predicted.
        names: k of them.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    k = len(names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(2.2 + 0.38 * k, 4.0, 11.0))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    squares = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(squares, ax=axes, shrink=0.7, label="share of the true class")
    if k <= MOST_NUMBERED:
        for row, column in np.argwhere(counts > 0):
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = f"{100 * shares[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    if k <= MOST_NAMED:
        size = 8 if k <= MOST_NUMBERED else 6
        axes.set_xticks(range(k), names, rotation=90, fontsize=size)
        axes.set_yticks(range(k), names, fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    figure.savefig(path, dpi=130)
    caption = "Test signals of each class and what the classifiers of all seeds took them for."
    if k <= MOST_NUMBERED:
        caption += " Numbers are percent of the true class."
    return plotted(path, caption)
