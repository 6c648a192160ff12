"""What numbers cameras may have: what lies beyond is a slip, and would overflow further on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from functa_core import UserError
from functa_nerf.cameras import Lens

FURTHEST, NEAREST = 1e6, 1e-6
"""In units of the poses: the furthest place of a camera, and how far at least one of a scene's
cameras is from the origin. Single precision takes these with room to spare for squares."""
SHORTEST, LONGEST = 1e-3, 1e3
"""Focal lengths, by the width of the image: fields of view of 180 and of 0.06 degrees."""
OFF_CENTRE = 10
"""Sizes of the image that its principal point is at most away from its edge."""


def check_places(poses: Sequence[Float[np.ndarray, "4 4"]], where: str) -> None:
    """Raise a `UserError` if a scene's cameras lie too far from the origin, or all in it.

    Args:
        poses: at least one camera-to-world matrix.
        where: names the file in errors.
    """
    distances = np.abs(np.stack(poses)[:, :3, 3]).max(axis=1)
    if not distances.max() <= FURTHEST:
        raise UserError(
            f"{where} has a camera at {distances.max():.3g} units from the origin; at most "
            f"{FURTHEST:g} are taken. Scale the scene."
        )
    if not distances.max() >= NEAREST:
        raise UserError(
            f"{where}: all cameras are within {distances.max():.3g} units of the origin; at least "
            f"{NEAREST:g} are needed to tell their places. Scale the scene."
        )


def check_lens(lens: Lens, where: str) -> None:
    """Raise a `UserError` if no camera has such a lens; `where` names the file."""
    if not SHORTEST <= lens.focal / lens.width <= LONGEST:
        raise UserError(
            f"{where}: the focal length is {lens.focal:.3g} pixels for views that are "
            f"{lens.width} pixels wide; expected {SHORTEST:g} to {LONGEST:g} times their width."
        )
    for name, centre, size in (("cx", lens.cx, lens.width), ("cy", lens.cy, lens.height)):
        if not (math.isfinite(centre) and -OFF_CENTRE <= centre / size <= OFF_CENTRE + 1):
            raise UserError(
                f"{where}: the principal point has {name} {centre:.3g} pixels, in views of {size}; "
                f"expected at most {OFF_CENTRE} image sizes away."
            )
