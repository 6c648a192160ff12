"""What `functa inspect` says about scenes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from functa_core import Dataset
from functa_nerf.cameras import orbit_of
from functa_nerf.config import NerfConfig
from functa_nerf.scenes import Scene


def describe(
    scenes: Dataset[Scene], config: NerfConfig, near: float | None, far: float | None
) -> Mapping[str, str]:
    """Views, lens and cameras of at least one scene, as lines.

    Args:
        near, far: the planes that rays are sampled between, None where they could not be derived.
    """
    poses = torch.cat([scene.poses for scene in scenes])
    lens, orbit = scenes[0].lens, orbit_of(poses)
    distances = poses[:, :3, 3].norm(dim=-1).tolist()
    return {
        "views per scene": _span([scene.views for scene in scenes]),
        "view size": f"{lens.height}x{lens.width} pixels",
        "focal length": f"{_span([scene.lens.focal for scene in scenes])} pixels",
        "camera distance": f"{_span(distances)} from the origin",
        "rays": f"{config.points_per_ray} points, {_planes(config, near, far)}",
        "looked at": f"{_point(orbit.target)} (up is {_point(orbit.up)})",
        "evaluation": _evaluation(scenes, config),
    }


def _planes(config: NerfConfig, near: float | None, far: float | None) -> str:
    """The depths of rays, and where they are from."""
    if near is None or far is None:
        return "at depths that could not be derived from the cameras"
    given = [name for name in ("near", "far") if getattr(config, name) is not None]
    source = f"{' and '.join(given)} as set" if given else "derived from the training cameras"
    return f"depth {near:g} to {far:g} ({source})"


def _evaluation(scenes: Dataset[Scene], config: NerfConfig) -> str:
    """Which views of a test scene are scored."""
    if any(scene.for_test is not None for scene in scenes):
        return "the views that are kept for testing are hidden and scored"
    return f"every {config.held_out_every}th view of a test scene is hidden and scored"


def _span(values: Sequence[float]) -> str:
    """One number, or the range that they cover."""
    low, high = min(values), max(values)
    return f"{low:.4g}" if math.isclose(low, high, rel_tol=1e-4) else f"{low:.4g} to {high:.4g}"


def _point(numbers: Sequence[float]) -> str:
    return "(" + ", ".join(f"{v:.3g}" for v in numbers) + ")"
