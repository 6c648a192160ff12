"""Cameras: lenses, rays through pixels, and orbits around what a set of cameras looks at.

Conventions, here and everywhere in this package: a pose is a camera-to-world matrix (4, 4) of an
OpenGL camera, whose x axis points right, y up, and which looks along its −z axis. Lengths are in
the units of the poses, focal lengths and principal points in pixels. Pixel (row 0, column 0) is the
top left one, and its centre lies at (0.5, 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import torch
from jaxtyping import Float, Int
from torch import Tensor


@attrs.frozen
class Lens:
    """A pinhole camera's intrinsics.

    Attributes:
        focal: focal length in pixels.
        cx, cy: principal point in pixels from the left and from the top edge.
        height, width: of the image, in pixels.
    """

    focal: float
    cx: float
    cy: float
    height: int
    width: int

    def resized(self, height: int, width: int) -> Lens:
        """The same camera with its image resampled to another size of the same proportions."""
        scale = width / self.width
        return Lens(self.focal * scale, self.cx * scale, self.cy * scale, height, width)

    def fitted(self, side: int) -> Lens:
        """A square image of `side` pixels that shows what this one does along its shorter side."""
        focal = self.focal * side / min(self.height, self.width)
        return Lens(focal, side / 2, side / 2, side, side)


def rays(
    poses: Float[Tensor, "V 4 4"], lens: Lens, pixels: Int[Tensor, "V n"] | None = None
) -> Float[Tensor, "V n 6"]:
    """Rays through the centres of pixels: origin, then direction, both in world coordinates.

    A direction has length 1 along the camera's axis, not along itself: distances on a ray are
    depths, as in the authors' code.

    Args:
        poses: one camera for each of V views.
        lens: what all of them have.
        pixels: row · width + column of n pixels for each view; all, in that order, when left out.
    """
    if pixels is None:
        pixels = torch.arange(lens.height * lens.width).expand(len(poses), -1)
    x = (pixels % lens.width + 0.5 - lens.cx) / lens.focal
    y = (pixels // lens.width + 0.5 - lens.cy) / lens.focal
    local = torch.stack([x, -y, -torch.ones_like(x)], dim=-1).to(poses)
    directions = local @ poses[:, :3, :3].mT
    origins = poses[:, None, :3, 3].expand_as(directions)
    return torch.cat([origins, directions], dim=-1)


def look_at(
    positions: Float[Tensor, "V 3"], target: Float[Tensor, "3"], up: Float[Tensor, "3"]
) -> Float[Tensor, "V 4 4"]:
    """Poses of cameras at `positions` that look at `target` and do not roll against `up`.

    No position may lie straight above or below the target.
    """
    back = torch.nn.functional.normalize(positions - target, dim=-1)
    right = torch.nn.functional.normalize(torch.linalg.cross(up.expand_as(back), back), dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(back, right), back], dim=-1)
    poses = torch.eye(4, dtype=positions.dtype).repeat(len(positions), 1, 1)
    poses[:, :3, :3] = rotation
    poses[:, :3, 3] = positions
    return poses


@attrs.frozen
class Orbit:
    """A circle of cameras around a target.

    Attributes:
        target: what they look at.
        up: the unit vector that is up in their pictures.
        radius: their distance from the target.
        elevation: their angle above the horizon, in degrees.
    """

    target: tuple[float, ...]
    up: tuple[float, ...]
    radius: float
    elevation: float

    def poses(self, count: int) -> Float[Tensor, "count 4 4"]:
        """`count` cameras at equal angles, counter-clockwise when seen from above."""
        azimuth = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
        return self.at(azimuth, torch.full_like(azimuth, math.radians(self.elevation)))

    def at(
        self, azimuth: Float[Tensor, "V"], elevation: Float[Tensor, "V"]
    ) -> Float[Tensor, "V 4 4"]:
        """Cameras at the orbit's distance in the given directions, angles in radians."""
        up = torch.tensor(self.up, dtype=torch.float64)
        target = torch.tensor(self.target, dtype=torch.float64)
        # The coordinate axis furthest from `up` says where azimuth 0 is.
        axis = torch.eye(3, dtype=torch.float64)[up.abs().argmin()]
        east = torch.nn.functional.normalize(axis - (axis @ up) * up, dim=0)
        north = torch.linalg.cross(up, east)
        flat = azimuth.cos()[:, None] * east + azimuth.sin()[:, None] * north
        towards = elevation.cos()[:, None] * flat + elevation.sin()[:, None] * up
        return look_at(target + self.radius * towards, target, up).float()


def orbit_of(poses: Float[Tensor, "V 4 4"]) -> Orbit:
    """The orbit that resembles given cameras: same target, up, median radius and elevation.

    The target is where the optical axes meet.
    """
    cameras = poses.double()
    positions = cameras[:, :3, 3]
    target, _ = meeting_point(cameras)
    up = _up(cameras)
    offsets = positions - target
    radius = offsets.norm(dim=-1).median().clamp_min(1e-6)
    sines = (offsets @ up / offsets.norm(dim=-1).clamp_min(1e-6)).clamp(-1, 1)
    # At a pole an orbit is a point and "up" is undefined, so it stays below.
    elevation = sines.asin().rad2deg().median().clamp(-75, 75)
    return Orbit(_numbers(target), _numbers(up), float(radius), float(elevation))


def meeting_point(poses: Float[Tensor, "V 4 4"]) -> tuple[Float[Tensor, "3"], float]:
    """The point closest to all optical axes (least squares), and how well they determine it.

    The second is the smallest eigenvalue of the mean projection across the axes: 0 where they are
    parallel, sin² of the angle for axes at that angle from their mean all around.
    """
    positions, axes = poses[:, :3, 3], poses[:, :3, 2]
    across = torch.eye(3).to(axes) - axes[:, :, None] * axes[:, None, :]
    # The pseudo-inverse takes the smallest solution where the axes are parallel.
    moment = (across @ positions[:, :, None]).sum(0)[:, 0]
    target = torch.linalg.pinv(across.sum(0), rtol=1e-6) @ moment
    return target, float(torch.linalg.eigvalsh(across.mean(0))[0])


def _up(cameras: Float[Tensor, "V 4 4"]) -> Float[Tensor, "3"]:
    """The world's up: perpendicular to every camera's x axis if the cameras do not roll."""
    mean = cameras[:, :3, 1].mean(dim=0)
    rights = cameras[:, :3, 0]
    spread, vectors = torch.linalg.eigh(rights.mT @ rights / len(rights))
    # Fewer than two distinct x axes leave the perpendicular open: then the mean picture's up it is.
    up = vectors[:, 0] if spread[1] > 1e-3 else mean
    up = torch.nn.functional.normalize(up, dim=0)
    return -up if float(up @ mean) < 0 else up


def _numbers(values: Tensor) -> tuple[float, ...]:
    """Plain numbers, rounded so that rounding errors do not look like information."""
    plain: Sequence[float] = values.tolist()
    return tuple(round(v, 6) + 0.0 for v in plain)
