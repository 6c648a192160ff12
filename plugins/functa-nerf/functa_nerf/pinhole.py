"""Lenses as `transforms.json` describes them: Blender's, instant-ngp's and nerfstudio's keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from functa_core import UserError
from functa_nerf.cameras import Lens
from functa_nerf.plausible import check_lens
from functa_nerf.resizing import Resampling

NUMBERS = (
    *("camera_angle_x", "camera_angle_y", "fl_x", "fl_y", "cx", "cy", "w", "h"),
    *("k1", "k2", "k3", "k4", "p1", "p2"),
)
OTHER_MODELS = ("FISHEYE", "EQUIRECTANGULAR", "ORTHO", "OMNI")
DISPLACEMENT_LIMIT = 0.5
"""Pixels of a view as it is used: what shifts nothing by more than half a pixel is not seen."""
LARGEST, LARGEST_IMAGE = 10**300, 1e6
"""Any number, and pixels of the side of an image."""
SMALLEST_ANGLE = 1e-6
"""Radians that an image shows at least: less has no tangent to divide by."""
MENTIONED = 0.05
"""Pixels that are worth a note."""


def read_pinhole(
    camera: Mapping[str, Any], where: str, size: tuple[int, int], to: Resampling
) -> tuple[Lens, str | None]:
    """The lens of resampled views, and a note if that is not quite what they were taken with.

    A lens here has one focal length and no distortion. What a file says beyond that is left out
    where it would move no pixel by more than half a pixel.

    Args:
        camera: the numbers of the file, by its keys.
        where: names the file in errors.
        size: height and width of the views in the files.
        to: what is done to them.

    Raises:
        UserError: the numbers are no pinhole camera's, or not close enough.
    """
    _check_model(camera, where)
    numbers = {key: _number(camera, key, where) for key in NUMBERS if camera.get(key) is not None}
    height, width = size
    across, down = width / numbers.get("w", width), height / numbers.get("h", height)
    focal_x = _focal(numbers, "x", width, across)
    focal_y = _focal(numbers, "y", height, down) or focal_x
    focal_x = focal_x or focal_y
    if focal_x is None or focal_y is None:
        raise UserError(
            f"{where} has neither camera_angle_x nor fl_x: one of them must tell the focal length."
        )
    lens = Lens(
        (focal_x + focal_y) / 2,
        numbers["cx"] * across if "cx" in numbers else width / 2,
        numbers["cy"] * down if "cy" in numbers else height / 2,
        height,
        width,
    )
    check_lens(lens, where)
    moved = _displacement(lens, focal_x, focal_y, numbers) * to.scale
    if not moved <= DISPLACEMENT_LIMIT:  # enormous distortion is not a number
        raise UserError(
            f"{where}: distortion, or fl_x unlike fl_y, moves pixels by up to {moved:.2g} of the "
            f"{to.height}x{to.width} views;\nundistort them first (COLMAP's image_undistorter), or "
            "choose a modality.resolution at which it is less than half a pixel."
        )
    note = None
    if moved > MENTIONED:
        note = (
            f"Distortion, or fl_x unlike fl_y, is left out: it moves no pixel by over {moved:.2g}."
        )
    return to.lens(lens), note


def _check_model(camera: Mapping[str, Any], where: str) -> None:
    model = str(camera.get("camera_model", ""))
    if camera.get("is_fisheye") or any(word in model.upper() for word in OTHER_MODELS):
        raise UserError(
            f"{where}: the camera is '{model or 'fisheye'}', and only pinhole cameras are read; "
            "undistort the views first."
        )


def _number(camera: Mapping[str, Any], key: str, where: str) -> float:
    value = camera[key]
    if isinstance(value, int) and abs(value) > LARGEST:
        value = math.inf  # JSON's whole numbers have no end, and Python's fractions do
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{where}: '{key}' must be a finite number, found {value!r:.40}.")
    if key in ("fl_x", "fl_y", "w", "h") and value <= 0:
        raise UserError(f"{where}: '{key}' must be greater than 0, found {value:g}.")
    if key in ("w", "h") and not 1 <= value <= LARGEST_IMAGE:
        raise UserError(
            f"{where}: '{key}' must be a number of pixels from 1 to {LARGEST_IMAGE:g}, "
            f"found {value:g}."
        )
    if key.startswith("camera_angle") and not SMALLEST_ANGLE < value < math.pi:
        raise UserError(
            f"{where}: '{key}' must be an angle in radians above 0 and below π, found {value:g}."
        )
    return float(value)


def _focal(numbers: Mapping[str, float], axis: str, pixels: int, scale: float) -> float | None:
    """The focal length along an axis, in pixels of the files; None where nothing tells it."""
    if f"fl_{axis}" in numbers:
        return numbers[f"fl_{axis}"] * scale
    if f"camera_angle_{axis}" in numbers:
        return pixels / 2 / math.tan(numbers[f"camera_angle_{axis}"] / 2)
    return None


def _displacement(
    lens: Lens, focal_x: float, focal_y: float, numbers: Mapping[str, float]
) -> float:
    """How far, at most, a pixel of the pinhole camera is from where the real lens has it.

    Radial (k1 to k4) and tangential (p1, p2) distortion as in OpenCV: k3 and k4 continue the
    series in r², as nerfstudio has it.
    """
    columns, rows = np.linspace(0, lens.width, 33), np.linspace(0, lens.height, 33)
    u, v = (grid.flatten() for grid in np.meshgrid(columns, rows))
    x, y = (u - lens.cx) / lens.focal, (v - lens.cy) / lens.focal
    k1, k2, k3, k4, p1, p2 = (numbers.get(key, 0.0) for key in ("k1", "k2", "k3", "k4", "p1", "p2"))
    r2 = x**2 + y**2
    # What overflows is no number, and no displacement that is small enough.
    with np.errstate(over="ignore", invalid="ignore"):
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
        real_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
        real_y = y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
        apart = np.hypot(focal_x * real_x + lens.cx - u, focal_y * real_y + lens.cy - v)
    return float(apart.max())
