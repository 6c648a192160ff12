"""What `functa inspect` says about scenes, and what looks wrong with them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch

from functa_core import Dataset
from functa_nerf.cameras import orbit_of
from functa_nerf.config import NerfConfig
from functa_nerf.scenes import Scene


def describe(scenes: Dataset[Scene], config: NerfConfig) -> Mapping[str, str]:
    """Views, lens and cameras of at least one scene, as lines."""
    poses = torch.cat([scene.poses for scene in scenes])
    lens, orbit = scenes[0].lens, orbit_of(poses)
    distances = poses[:, :3, 3].norm(dim=-1).tolist()
    return {
        "views per scene": _span([scene.views for scene in scenes]),
        "view size": f"{lens.height}x{lens.width} pixels",
        "focal length": f"{_span([scene.lens.focal for scene in scenes])} pixels",
        "camera distance": f"{_span(distances)} from the origin",
        "rays": f"{config.points_per_ray} points, depth {config.near:g} to {config.far:g}",
        "looked at": f"{_point(orbit.target)} (up is {_point(orbit.up)})",
        "evaluation": _evaluation(scenes, config),
    }


def range_notes(scenes: Dataset[Scene], config: NerfConfig) -> Iterator[str]:
    """A warning if rays are sampled where these cameras do not look."""
    if len(scenes) == 0:
        return
    poses = torch.cat([scene.poses for scene in scenes])
    offsets = torch.tensor(orbit_of(poses).target) - poses[:, :3, 3]
    depth = float(-(offsets * poses[:, :3, 2]).sum(dim=-1).median())
    if depth < 0:
        yield (
            "The cameras look away from what they surround: poses are read as SRN's (y down, "
            "looking along +z); multiply OpenGL's by diag(1, -1, -1, 1) on the right first."
        )
    elif not config.near < depth < config.far:
        yield (
            f"The cameras look at a point at depth {depth:.3g}, but rays are sampled from "
            f"{config.near:g} to {config.far:g}: for an object of diameter 1 say "
            f"--set modality.near={max(depth - 0.5, 0.05):.3g} "
            f"--set modality.far={depth + 0.5:.3g}."
        )


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
