"""Near and far: between which depths rays are sampled, derived from the cameras.

Depths are measured along a camera's axis, as everywhere in this package: a sphere around the point
that the camera looks at lies between the same two depths for the ray through any pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch

from functa_core import UserError
from functa_nerf.cameras import rays
from functa_nerf.checks import check_poses
from functa_nerf.scenes import Scene, spread
from functa_nerf.sight import Sight, sight_of_scene, sights
from functa_nerf.silhouettes import silhouettes_of

MEASURED_SCENES, MEASURED_VIEWS = 256, 16
"""Scenes, and views of each, whose silhouettes are measured: a bound on the time."""
ALL_AROUND = 0.2
"""Silhouettes bound an object from cameras with this spread of axes, a cone of 27 degrees."""
LEAST_SHARE = 0.05
"""Near is at least this share of the depth at which the cameras look."""


class Undetermined(UserError):
    """Near and far are neither given nor to be derived from the cameras."""


def depth_range(
    scenes: Sequence[Scene], near: float | None, far: float | None
) -> tuple[float, float]:
    """Near and far: as given, or else such that they hold what the cameras of the scenes look at.

    That is a sphere around the point where a scene's cameras look. Its radius is that of the
    largest object of the set, by its silhouettes on a plain background; without those the object
    is taken to fill the sphere that just fits into every picture. What is derived is rounded
    outwards to three digits.

    Raises:
        Undetermined: the cameras do not look at one point from several sides.
        UserError: the one plane that was given leaves nothing between it and the other.
    """
    if near is not None and far is not None:
        return near, far
    seen = sights(scenes)
    if seen[0].fault:
        raise _undetermined(scenes, seen[0].fault)
    radius = _object_radius(scenes, seen)
    nearest, furthest = min(s.nearest for s in seen), max(s.furthest for s in seen)
    first = _rounded(max(nearest - radius, LEAST_SHARE * nearest), math.floor)
    last = _rounded(furthest + radius, math.ceil)
    planes = first if near is None else near, last if far is None else far
    if planes[0] >= planes[1]:
        raise UserError(
            f"modality.{'far' if near is None else 'near'} leaves no depth to sample: the cameras "
            f"look at what lies between {first:g} and {last:g}, and rays would be sampled from "
            f"{planes[0]:g} to {planes[1]:g}.\nSet both, or leave both out."
        )
    return planes


def range_notes(scenes: Sequence[Scene], near: float | None, far: float | None) -> Iterator[str]:
    """A warning if planes that were given do not contain what the cameras look at."""
    seen = sights(scenes) if scenes and (near is not None or far is not None) else []
    if not seen or seen[0].fault:
        return
    nearest, furthest = min(s.nearest for s in seen), max(s.furthest for s in seen)
    if (near is not None and near >= nearest) or (far is not None and far <= furthest):
        told = [f"{name} {plane:g}" for name, plane in (("near", near), ("far", far)) if plane]
        yield (
            f"The cameras look at points at depth {_span(nearest, furthest)}, outside of "
            f"{' and '.join(told)}: leave modality.near and modality.far out, so that they are "
            "derived from the cameras."
        )


def furthest_coordinate(scenes: Sequence[Scene], planes: tuple[float, float]) -> float:
    """The largest coordinate of a point on a ray between two depths, along any axis."""
    largest = 0.0
    for scene in scenes:
        lens, last_row = scene.lens, (scene.lens.height - 1) * scene.lens.width
        corners = torch.tensor([0, lens.width - 1, last_row, last_row + lens.width - 1])
        beams = rays(scene.poses, lens, corners.expand(scene.views, -1))
        ends = [beams[..., :3] + depth * beams[..., 3:] for depth in planes]
        largest = max(largest, *(float(end.abs().max()) for end in ends))
    return largest


def _undetermined(scenes: Sequence[Scene], reason: str) -> Undetermined:
    found = " ".join(check_poses(scenes))
    return Undetermined(
        f"modality.near and modality.far cannot be derived from the cameras"
        f"{'.' if found else f': {reason}.'}\n"
        f"{found or 'Set both, as depths in units of the poses.'} "
        "To see the cameras: functa inspect --out DIR."
    )


def _object_radius(scenes: Sequence[Scene], seen: Sequence[Sight]) -> float:
    """Of the largest object around its scene's target, or of the sphere that pictures show."""
    measured = [_silhouette_radius(scenes[i]) for i in spread(len(scenes), MEASURED_SCENES)]
    radii = [radius for radius in measured if radius is not None]
    return max(radii) if radii else max(s.radius for s in seen)


def _silhouette_radius(scene: Scene) -> float | None:
    """Of one object, None where its silhouettes do not say it."""
    few = scene.thinned(MEASURED_VIEWS)
    sight, seen = sight_of_scene(few), silhouettes_of(few)
    if seen is None or sight.fault or sight.spread < ALL_AROUND:
        return None
    return seen.radius(few.poses, sight.target)


def _rounded(depth: float, towards: Callable[[float], int]) -> float:
    """Three significant digits."""
    unit = 10.0 ** (math.floor(math.log10(depth)) - 2)
    # What is a rounding error away from a rounded number is that number.
    return float(f"{towards(round(depth / unit, 3)) * unit:.3g}")


def _span(low: float, high: float) -> str:
    return f"{low:.3g}" if math.isclose(low, high, rel_tol=1e-3) else f"{low:.3g} to {high:.3g}"
