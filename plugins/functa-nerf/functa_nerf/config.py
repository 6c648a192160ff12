"""Options of the `nerf` modality."""

from __future__ import annotations

from typing import Any

import attrs

from functa_core import option


@attrs.frozen
class NerfConfig:
    """What can be chosen; `functa config --modality nerf` prints it."""

    resolution: int | None = option(
        None,
        "pixels a side that square views are resampled to, by area; null: as they are. "
        "A small network cannot show more than it holds, and evaluation costs as its square",
        low=1,
    )
    max_views: int | None = option(
        None, "views read of each scene, evenly spread; null: all. Bounds memory and time", low=1
    )
    points_per_ray: int = option(
        12, "points P a ray is sampled at; the paper has 32, which costs in proportion", low=2
    )
    near: float = option(
        0.8,
        "depth of a ray's first point, in units of the poses; SRN's objects begin here",
        above=0,
    )
    far: float = option(1.8, "depth of a ray's last point, in units of the poses", above=0)
    white_background: bool = option(
        True, "what is behind the last point: white, as in SRN's views, else black"
    )
    views: int = option(8, "views of a scene drawn for each training step", low=1)
    rays: int = option(
        24, "rays drawn from each of these views; the paper has 1024, which is for a GPU", low=1
    )
    fit_rays: int | None = option(
        256, "rays of each view that a fit after training uses; null: all of them", low=1
    )
    coord_noise: bool = option(
        True, "sample each ray at random depths in training, so that no depth is never seen"
    )
    held_out_every: int = option(
        4,
        "every n-th view of a test scene is hidden from the fit and scored: the n-th, 2n-th, …",
        low=2,
    )
    orbit_views: int = option(24, "views of one turn around a scene, in animations", low=1)
    outputs: tuple[str, ...] = option(
        ("gif", "mp4", "png", "depth", "glb"),
        "what is written of a scene: one turn as an animation (gif, mp4), views side by side "
        "(png), depth as pictures and as numbers, the surface as a mesh (glb)",
        choices=("gif", "mp4", "png", "depth", "glb"),
    )
    surface_resolution: int = option(
        64, "cells of a mesh's grid along the object; --resolution N raises it", low=2
    )
    surface_density: float | None = option(
        None,
        "density, per unit of the poses, at which a mesh has its surface; null: for each scene "
        "the one whose outlines are most like those in its views",
        above=0,
    )

    @far.validator  # type: ignore[attr-defined, untyped-decorator, unused-ignore]
    def _beyond_near(self, _: Any, far: float) -> None:
        if not far > self.near:
            raise ValueError(f"far must be greater than near ({self.near:g}), got {far:g}")
