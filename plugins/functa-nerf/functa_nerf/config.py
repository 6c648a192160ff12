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
        "pixels of the shorter side that views are resampled to, by area; null: as they are, "
        "and 64 for meshes. "
        "A small network cannot show more than it holds, and evaluation costs as its square",
        low=1,
    )
    max_views: int | None = option(
        None, "views read of each scene, evenly spread; null: all. Bounds memory and time", low=1
    )
    mesh_views: int = option(24, "views rendered of each mesh, from all around", low=1)
    mesh_up: str | None = option(
        None,
        "the axis that is up in mesh files; null: y in OBJ and GLB, z in OFF, STL and PLY",
        choices=("y", "z"),
    )
    mesh_labels: bool | None = option(
        None,
        "whether the first folder of a mesh is its class; null: where folders are as ModelNet's "
        "(class/train/x.off) or ShapeNet's (class/ID/models/x.obj)",
        choices=(False, True),
    )
    points_per_ray: int = option(
        12,
        "points P a ray is sampled at, (far - near) / (P - 1) apart, which bounds the detail in "
        "depth; the paper has 32, which costs in proportion",
        low=2,
    )
    near: float | None = option(
        None,
        "depth of a ray's first point, in units of the poses; null: just before what the training "
        "cameras look at",
        above=0,
    )
    far: float | None = option(
        None, "depth of a ray's last point; null: just behind what they look at", above=0
    )
    white_background: bool = option(
        True,
        "what is behind the last point: white, as in SRN's views, else black; "
        "also behind what is transparent in image files, and behind meshes",
    )
    views: int = option(8, "views of a scene drawn for each training step", low=1)
    rays: int = option(
        24, "rays drawn from each of these views; the paper has 1024, which is for a GPU", low=1
    )
    fit_rays: int | None = option(
        3072,
        "rays that a fit after training uses, evenly from the views that it sees; null: all",
        low=1,
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
    def _beyond_near(self, _: Any, far: float | None) -> None:
        if far is not None and self.near is not None and not far > self.near:
            raise ValueError(f"far must be greater than near ({self.near:g}), got {far:g}")
