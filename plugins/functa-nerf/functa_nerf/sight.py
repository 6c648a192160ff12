"""What a set of cameras looks at.

Nothing here is told by a file: it follows from the poses and the lens, and holds for bounded
objects that are seen from around. Where the cameras do not say it, the answer is a reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from functa_nerf.cameras import meeting_point
from functa_nerf.scenes import Scene

SMALLEST_SPREAD = 0.01
"""Axes count as parallel below this spread: a cone of cameras of about 6 degrees."""
SAME_PLACE = 1e-4
"""Distances below this share of the largest coordinate are rounding errors of written poses."""
MOST = 0.5
"""The share of the cameras that must look at the target for it to be what they look at."""


@attrs.frozen(eq=False)
class Sight:
    """Where the optical axes of V cameras meet, and how each camera stands to that point.

    Attributes:
        target: the point nearest to all axes (least squares).
        depths: of the target in each view, along the axis, in units of the poses; negative behind.
        sees: whether the target is in the picture, in front of the camera.
        sines: of half the angle of view, along the shorter side.
        spread: of the axes, from 0 (parallel) on; see `meeting_point`.
        fault: why the target is not what the cameras look at; empty if it is.
    """

    target: Float[Tensor, "3"]
    depths: Float[Tensor, " V"]
    sees: Bool[Tensor, " V"]
    sines: Float[Tensor, " V"]
    spread: float
    fault: str

    @property
    def nearest(self) -> float:
        """The smallest depth of the target in a view that shows it."""
        return float(self.depths[self.sees].min())

    @property
    def furthest(self) -> float:
        """The largest depth of the target in a view that shows it."""
        return float(self.depths[self.sees].max())

    @property
    def radius(self) -> float:
        """Of the sphere around the target that just fits into every picture that shows it."""
        return float((self.depths * self.sines)[self.sees].min())


def sight_of(poses: Float[Tensor, "V 4 4"], tangents: Float[Tensor, " V"]) -> Sight:
    """What cameras look at.

    Args:
        poses: camera to world, OpenGL convention.
        tangents: of half the angle of view of each, along the shorter side.
    """
    cameras, slopes = poses.double(), tangents.double()
    target, spread = meeting_point(cameras)
    offsets = target - cameras[:, :3, 3]
    depths = -(offsets * cameras[:, :3, 2]).sum(dim=-1)
    aside = (offsets.square().sum(dim=-1) - depths.square()).clamp_min(0).sqrt()
    apart = depths.abs() > SAME_PLACE * cameras[:, :3, 3].abs().max()
    sees = apart & (depths > 0) & (aside <= slopes * depths)
    fault = _fault(spread, apart, depths, sees)
    return Sight(target, depths, sees, slopes.atan().sin(), spread, fault)


def _fault(
    spread: float, apart: Bool[Tensor, " V"], depths: Float[Tensor, " V"], sees: Bool[Tensor, " V"]
) -> str:
    """Why the cameras do not say what they look at; empty if they do."""
    if len(sees) < 2:
        return "a single view does not say how far away things are"
    if spread < SMALLEST_SPREAD:
        return "the cameras look in nearly the same direction"
    if _share(apart) <= MOST:
        return "the cameras stand at one point and look in different directions"
    if _share(apart & (depths < 0)) > MOST:
        return "the cameras look away from what they surround"
    return "" if _share(sees) > MOST else "the cameras do not look at one point"


def _share(flags: Bool[Tensor, " V"]) -> float:
    return float(flags.float().mean())


def sight_of_scene(scene: Scene) -> Sight:
    """What the cameras of one scene look at."""
    return sight_of(scene.poses, tangents(scene))


def sights(scenes: Sequence[Scene]) -> list[Sight]:
    """Of each of at least one scene, without those whose own cameras do not say it.

    Where none do, the one of all cameras together, which may have a fault too: scenes of one view
    each may still stand at the same place in the world.
    """
    each = [sight for sight in map(sight_of_scene, scenes) if not sight.fault]
    if each:
        return each
    poses = torch.cat([scene.poses for scene in scenes])
    return [sight_of(poses, torch.cat([tangents(scene) for scene in scenes]))]


def tangents(scene: Scene) -> Float[Tensor, " V"]:
    """Of half the angle of view along the shorter side, for each view."""
    lens = scene.lens
    return torch.full((scene.views,), min(lens.height, lens.width) / (2 * lens.focal))
