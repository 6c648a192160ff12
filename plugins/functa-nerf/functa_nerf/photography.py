"""Photographs of surfaces: cameras all around, and diffuse light that stands still in the world."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from functa_nerf.cameras import Lens, Orbit, rays
from functa_nerf.surfaces import Surface

SUPERSAMPLING = 3
"""Rays along each side of a pixel; their mean is the pixel."""
RIG = Orbit(target=(0.0, 0.0, 0.0), up=(0.0, 0.0, 1.0), radius=1.3, elevation=20.0)
LIGHTS = (((-0.45, -0.65, 0.6), 0.42), ((0.7, 0.45, 0.5), 0.22))
"""Direction to each distant light and its strength. They stand still in the world, so that a point
has the same colour from everywhere, which is what a field without view directions can say."""
AMBIENT = 0.5


def square_lens(side: int) -> Lens:
    """The lens of SRN's cars: from 1.3 away it shows an object of diameter 1 with little margin."""
    return Lens(focal=65.625 / 64 * side, cx=side / 2, cy=side / 2, height=side, width=side)


def rig(seed: Sequence[int], views: int) -> Float[Tensor, "views 4 4"]:
    """Poses of cameras all around an object, from 10° below the horizon to 60° above it.

    Neighbours in the order are far apart, so that every n-th view is spread over the sphere too.
    The first camera's place is random, by the seed; the others keep their distances from it.
    """
    turn, lift = np.random.default_rng(seed).random(2)
    order = torch.arange(views, dtype=torch.float64)
    azimuth = (order * (_stride(views) / views) + turn) * 2 * math.pi
    height = torch.tensor([_radical_inverse(i, 3) for i in range(views)], dtype=torch.float64)
    return RIG.at(azimuth, torch.deg2rad(-10 + 70 * ((height + lift) % 1)))


def photograph(
    surface: Surface, poses: Float[Tensor, "V 4 4"], lens: Lens, background: float = 1.0
) -> UInt8[np.ndarray, "V H W 3"]:
    """Views of a surface within the unit-diameter sphere, diffusely lit, without shadows.

    Both sides of a triangle are seen, each lit as what faces the camera.
    """
    import trimesh  # a second, which nobody who has the views in the cache should wait for

    corners = surface.triangles.reshape(-1, 3)
    mesh: Any = trimesh.Trimesh(
        corners, np.arange(len(corners)).reshape(-1, 3), process=False, validate=False
    )
    normals = surface.normals()
    # View by view: rays of all views at once would need gigabytes at a few hundred pixels a side.
    return np.stack([_view(mesh, surface, normals, pose, lens, background) for pose in poses])


def _view(
    mesh: Any,
    surface: Surface,
    normals: Float[np.ndarray, "F 3"],
    pose: Float[Tensor, "4 4"],
    lens: Lens,
    background: float,
) -> UInt8[np.ndarray, "H W 3"]:
    s = SUPERSAMPLING
    beams = rays(pose[None], lens.resized(lens.height * s, lens.width * s))[0].numpy()
    # What misses the unit-diameter sphere misses the object: not worth a cast.
    cast = np.flatnonzero(_distance_to_origin(beams) < 0.5)
    origins, directions = beams[cast, :3].astype(np.float64), beams[cast, 3:].astype(np.float64)
    faces = mesh.ray.intersects_first(origins, directions) if len(cast) else np.zeros(0, int)
    hit = faces >= 0
    faces, origins, directions = faces[hit], origins[hit], directions[hit]
    along = (directions * normals[faces]).sum(axis=1)
    facing = normals[faces] * np.where(along > 0, -1.0, 1.0)[:, None]
    offsets = ((surface.triangles[faces, 0] - origins) * normals[faces]).sum(axis=1)
    depths = offsets / np.where(along == 0, 1.0, along)
    shares = surface.shares_at(faces, origins + depths[:, None] * directions)
    pixels = np.full((len(beams), 3), background, np.float32)
    pixels[cast[hit]] = surface.colour_at(faces, shares) * _light(facing)[:, None]
    cells = pixels.reshape(lens.height, s, lens.width, s, 3)
    means = cells.sum(axis=1).sum(axis=2) / s**2
    return np.asarray((means * 255).round(), dtype=np.uint8)


def _light(normals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Lambert's law: how bright a white surface with these normals is, in [0, 1]."""
    light = np.full(len(normals), AMBIENT)
    for direction, strength in LIGHTS:
        towards = np.array(direction) / np.linalg.norm(direction)
        light += strength * np.clip(normals @ towards, 0, None)
    return light.clip(0, 1)


def _distance_to_origin(beams: Float[np.ndarray, "n 6"]) -> Float[np.ndarray, " n"]:
    """How close the line of each ray comes to the origin."""
    origins, directions = beams[:, :3], beams[:, 3:]
    offsets = np.linalg.norm(np.cross(origins, directions), axis=1)
    return np.asarray(offsets / np.linalg.norm(directions, axis=1))


def _stride(views: int) -> int:
    """The step between neighbours, of `views` equal ones around: near 5/16, and meeting all."""
    coprime = [step for step in range(1, views + 1) if math.gcd(step, views) == 1]
    return min(coprime, key=lambda step: abs(step / views - 5 / 16))


def _radical_inverse(number: int, base: int) -> float:
    """The van der Corput sequence: digits mirrored at the point, evenly spread in [0, 1)."""
    total, unit = 0.0, 1.0 / base
    while number:
        number, digit = divmod(number, base)
        total += digit * unit
        unit /= base
    return total
