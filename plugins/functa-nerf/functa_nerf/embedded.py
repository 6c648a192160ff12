"""The embedded set: small scenes of furniture, made once and kept in the cache.

Each scene is seen by cameras of its own, as in the SRN sets: spread evenly around it, and turned by
an angle that no other scene has.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core import Dataset, DataSource, Split, cached, fingerprint
from functa_nerf import cameras, furniture, photography, surfaces
from functa_nerf.furniture import KINDS, Part, piece
from functa_nerf.photography import photograph, rig, square_lens
from functa_nerf.scenes import Scene
from functa_nerf.surfaces import Surface, plain

SEED = 1
TRAIN, TEST = 48, 12
VIEWS, SIDE = 16, 32
LENS = square_lens(SIDE)
_MAKERS = (sys.modules[__name__], cameras, furniture, photography, surfaces)


def embedded(split: Split, source: DataSource) -> Dataset[Scene]:
    """The embedded scenes of one split, made on first use (a few seconds)."""
    folder = cached(f"nerf-furniture-{fingerprint(*_MAKERS)}", _make)
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
        is_test=[i >= TRAIN for i in range(len(images))],
    )
    return every.split(split, source)


def parts_of(index: int) -> list[Part]:
    """The solids that a scene of the embedded set is made of."""
    return piece(_kind(index), (SEED, index))


def surface_of(index: int) -> Surface:
    """The surface of a scene of the embedded set."""
    parts = parts_of(index)
    corners = np.concatenate([np.asarray(part.mesh.triangles) for part in parts])
    faces = [len(part.mesh.faces) for part in parts]
    colours = np.repeat([part.colour for part in parts], faces, axis=0)
    return plain(corners, np.repeat(colours[:, None], 3, axis=1))


def poses_of(index: int) -> Float[Tensor, "V 4 4"]:
    """Poses of the cameras that see a scene of the embedded set."""
    return rig((SEED, 1, index), VIEWS)


def _make(folder: Path) -> None:
    """Render all scenes into a cache folder."""
    poses = torch.stack([poses_of(i) for i in range(TRAIN + TEST)])
    images = np.stack([photograph(surface_of(i), seen, LENS) for i, seen in enumerate(poses)])
    np.savez(folder / "scenes.npz", images=images, poses=poses.numpy())


def _kind(index: int) -> str:
    return sorted(KINDS)[index % len(KINDS)]
