"""Camera-to-world matrices as files have them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from functa_core import UserError
from functa_nerf.plausible import FURTHEST

ORTHONORMAL_TOLERANCE = 1e-2
"""How far RᵀR may be from the identity: poses are often written with few digits."""


def checked_pose(
    pose: Float[np.ndarray, "4 4"], what: str, may_be_scaled: bool = False
) -> tuple[Float[np.ndarray, "4 4"], float]:
    """A camera-to-world matrix of a rotation and a place, and the scale that it had.

    Args:
        pose: the matrix in the file.
        what: names it in errors.
        may_be_scaled: divide a uniform scale of the axes out. It has no meaning for a camera, but
            a 3D program writes it where the camera's parent is scaled.

    Raises:
        UserError: it is not finite, too large, or no camera-to-world matrix.
    """
    if not np.isfinite(pose).all():
        raise UserError(f"{what} must be 16 finite numbers (a 4x4 matrix); some are not finite.")
    if np.abs(pose).max() > FURTHEST:
        raise UserError(
            f"{what} has the number {pose.flat[np.abs(pose).argmax()]:.3g}; at most "
            f"{FURTHEST:g} is taken. Scale the scene."
        )
    if not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-4):
        raise UserError(
            f"{what} must end with the row 0 0 0 1 (camera to world); "
            f"found {' '.join(f'{v:g}' for v in pose[3])}."
        )
    scale = float(np.cbrt(np.linalg.det(pose[:3, :3]))) if may_be_scaled else 1.0
    if abs(scale - 1) < ORTHONORMAL_TOLERANCE or scale <= 0:
        scale = 1.0
    rotation = pose[:3, :3] / scale
    error = np.abs(rotation.T @ rotation - np.eye(3)).max()
    if error > ORTHONORMAL_TOLERANCE or np.linalg.det(rotation) < 0:
        kinds = "mirrored or sheared" if may_be_scaled else "mirrored, scaled or sheared"
        raise UserError(
            f"{what}: its upper left 3x3 block is no rotation ({kinds}; RᵀR is off by {error:.2g})."
        )
    whole = pose.copy()
    whole[:3, :3] = rotation
    return whole, scale
