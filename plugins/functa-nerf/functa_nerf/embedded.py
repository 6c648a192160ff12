"""The embedded set: small scenes of furniture, made once and kept in the cache.

Each scene is seen by cameras of its own, as in the SRN sets: spread evenly around it, and turned by
an angle that no other scene has.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from jaxtyping import Float, UInt8
from torch import Tensor

from functa_core import Dataset, DataSource, Split, cached
from functa_nerf import furniture
from functa_nerf.cameras import Lens, Orbit, rays
from functa_nerf.furniture import KINDS, Part, piece
from functa_nerf.scenes import Scene

SEED = 1
TRAIN, TEST = 48, 12
VIEWS, SIDE = 16, 32
SUPERSAMPLING = 3
"""Rays along each side of a pixel; their mean is the pixel."""
RIG = Orbit(target=(0.0, 0.0, 0.0), up=(0.0, 0.0, 1.0), radius=1.3, elevation=20.0)
LENS = Lens(focal=65.625 / 64 * SIDE, cx=SIDE / 2, cy=SIDE / 2, height=SIDE, width=SIDE)
LIGHTS = (((-0.45, -0.65, 0.6), 0.42), ((0.7, 0.45, 0.5), 0.22))
"""Direction to each distant light and its strength. They stand still in the world, so that a point
has the same colour from everywhere, which is what a field without view directions can say."""
AMBIENT = 0.5


def embedded(split: Split, source: DataSource) -> Dataset[Scene]:
    """The embedded scenes of one split, made on first use (a few seconds)."""
    folder = cached(f"nerf-furniture-{_fingerprint()}", _make)
    with np.load(folder / "scenes.npz") as stored:
        images, poses = torch.from_numpy(stored["images"]), torch.from_numpy(stored["poses"])
    kinds = [_kind(i) for i in range(len(images))]
    ids = [f"{kind}-{i:03d}" for i, kind in enumerate(kinds)]
    names = sorted(KINDS)
    every = Dataset(
        ids=ids,
        load=lambda i: Scene(ids[i], images[i], poses[i], LENS),
        labels=[names.index(kind) for kind in kinds],
        label_names=names,
    )
    return every.split(split, source, [i >= TRAIN for i in range(len(images))])


def parts_of(index: int) -> list[Part]:
    """The solids that a scene of the embedded set is made of."""
    return piece(_kind(index), (SEED, index))


def rig(index: int) -> Float[Tensor, "V 4 4"]:
    """Poses of a scene's cameras: all around, from 10° below the horizon to 60° above it.

    Neighbours in the order are far apart, so that every n-th view is spread over the sphere too.
    The first camera's place is random; the others keep their distances from it.
    """
    turn, lift = np.random.default_rng((SEED, 1, index)).random(2)
    order = torch.arange(VIEWS, dtype=torch.float64)
    azimuth = (order * (5 / VIEWS) + turn) * 2 * math.pi
    height = torch.tensor([_radical_inverse(i, 3) for i in range(VIEWS)], dtype=torch.float64)
    return RIG.at(azimuth, torch.deg2rad(-10 + 70 * ((height + lift) % 1)))


def photograph(
    parts: list[Part], poses: Float[Tensor, "V 4 4"], lens: Lens
) -> UInt8[np.ndarray, "V H W 3"]:
    """Views of an object on white, diffusely lit, without shadows."""
    s = SUPERSAMPLING
    fine = lens.resized(lens.height * s, lens.width * s)
    beams = rays(poses, fine).reshape(-1, 6).numpy()
    # What misses the unit-diameter sphere misses the object: not worth a cast.
    cast = np.flatnonzero(_distance_to_origin(beams) < 0.5)
    origins, directions = beams[cast, :3].astype(np.float64), beams[cast, 3:].astype(np.float64)
    mesh: Any = trimesh.util.concatenate([part.mesh for part in parts])
    faces = mesh.ray.intersects_first(origins, directions)
    pixels = np.ones((len(beams), 3), np.float32)
    pixels[cast[faces >= 0]] = _face_colours(parts, mesh.face_normals)[faces[faces >= 0]]
    cells = pixels.reshape(len(poses), lens.height, s, lens.width, s, 3)
    means = cells.sum(axis=2).sum(axis=3) / s**2
    return np.asarray((means * 255).round(), dtype=np.uint8)


def _fingerprint() -> str:
    """Names the set by the code that makes it, so that a change of either is never overlooked."""
    code = b"".join(Path(file).read_bytes() for file in (__file__, furniture.__file__))
    return hashlib.sha256(code).hexdigest()[:12]


def _make(folder: Path) -> None:
    """Render all scenes into a cache folder."""
    poses = torch.stack([rig(i) for i in range(TRAIN + TEST)])
    images = np.stack([photograph(parts_of(i), seen, LENS) for i, seen in enumerate(poses)])
    np.savez(folder / "scenes.npz", images=images, poses=poses.numpy())


def _kind(index: int) -> str:
    return sorted(KINDS)[index % len(KINDS)]


def _face_colours(parts: list[Part], normals: Float[np.ndarray, "F 3"]) -> Float[np.ndarray, "F 3"]:
    """Lambert's law: the colours of the parts' faces, one part after the other, in the light."""
    light = np.full(len(normals), AMBIENT)
    for direction, strength in LIGHTS:
        towards = np.array(direction) / np.linalg.norm(direction)
        light += strength * np.clip(normals @ towards, 0, None)
    faces = [len(part.mesh.faces) for part in parts]
    colours = np.repeat([part.colour for part in parts], faces, axis=0)
    return np.asarray(colours * light.clip(0, 1)[:, None])


def _distance_to_origin(beams: Float[np.ndarray, "n 6"]) -> Float[np.ndarray, " n"]:
    """How close the line of each ray comes to the origin."""
    origins, directions = beams[:, :3], beams[:, 3:]
    offsets = np.linalg.norm(np.cross(origins, directions), axis=1)
    return np.asarray(offsets / np.linalg.norm(directions, axis=1))


def _radical_inverse(number: int, base: int) -> float:
    """The van der Corput sequence: digits mirrored at the point, evenly spread in [0, 1)."""
    total, unit = 0.0, 1.0 / base
    while number:
        number, digit = divmod(number, base)
        total += digit * unit
        unit /= base
    return total
