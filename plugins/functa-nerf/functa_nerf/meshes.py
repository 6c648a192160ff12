"""A folder of meshes as scenes: each one is rendered into posed views, once, and kept.

    chair/train/chair_0001.off                    as ModelNet has it
    02958343/ID/models/model_normalized.obj       as ShapeNet has it
    any/folders/teapot.glb

Folders named after a split give it (see `functa_nerf.splits`).
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import attrs
import numpy as np
import torch
import trimesh
from jaxtyping import Float, UInt8
from torch import Tensor

from functa_core import Files, UserError, cached, cached_all, class_folders, fingerprint
from functa_nerf import cameras, mesh_files, photography, surfaces
from functa_nerf.mesh_files import ENDINGS, named_by, read_surface
from functa_nerf.photography import photograph, rig, square_lens
from functa_nerf.reading import Layout, Loaded, Wanted
from functa_nerf.scenes import Scene, spread
from functa_nerf.splits import part_of

LAYOUT = "*.obj (with its .mtl and textures), *.glb, *.off, *.stl or *.ply"
SIDE = 64
"""Pixels a side where nothing else is asked for."""
DAMAGED = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged file of the cache raises: a disk was full, or someone tidied up."""
_MAKERS = (sys.modules[__name__], cameras, mesh_files, photography, surfaces)


@attrs.frozen
class MeshOptions:
    """How meshes are rendered.

    Attributes:
        views: rendered of each.
        up: the axis that is up in all files; None for what is usual in each kind of file.
        labels: whether the first folder is a class; None only where folders are as ModelNet's or
            ShapeNet's.
    """

    views: int = 24
    up: str | None = None
    labels: bool | None = None


@attrs.frozen
class Job:
    """What to render.

    Attributes:
        name: of the mesh file.
        key: of the result in the cache.
        seed: of the cameras, from the mesh's own content: not its name, nor how it is rendered.
        views, side, up, white: how it is rendered.
        complete: whether all files that it names are there.
    """

    name: str
    key: str
    seed: int
    views: int
    side: int
    up: str
    white: bool
    complete: bool


class MeshLayout(Layout):
    """The meshes of one folder or zip."""

    def __init__(
        self, files: Files, meshes: Sequence[str], wanted: Wanted, options: MeshOptions
    ) -> None:
        self._files = files
        self._wanted = wanted
        self._options = options
        self._code = fingerprint(str(trimesh.__version__), *_MAKERS)
        self._file_of = _ids(meshes)
        self.names = list(self._file_of)

    def load_all(self, names: Sequence[str], whole: bool) -> list[Loaded | UserError]:
        """Render what is not in the cache, on all processors, then read everything from it."""
        jobs: list[Job | UserError] = []
        for name in names:
            try:
                jobs.append(self._job(self._file_of[name]))
            except UserError as error:
                jobs.append(error)
        by_key = {job.key: job for job in jobs if isinstance(job, Job)}
        faults = cached_all(by_key, partial(_render_into, self._files), "rendering meshes")
        return [
            job if isinstance(job, UserError) else faults.get(job.key) or self._scene(name, job)
            for name, job in zip(names, jobs, strict=True)
        ]

    def load(self, name: str, whole: bool) -> Loaded:
        """One mesh as a scene, rendered if need be; there are no views for testing."""
        (result,) = self.load_all([name], whole)
        if isinstance(result, UserError):
            raise result
        return result

    def classes(self) -> Sequence[str | None] | None:
        """The first folder of each mesh that is not named after a split."""
        if self._options.labels is False:
            return None
        if self._options.labels is None and not all(map(_is_usual, self._file_of.values())):
            return None
        return class_folders([_folders(file) for file in self._file_of.values()])

    def _job(self, file: str) -> Job:
        """What to render, named by the content of all files that it takes."""
        data = self._files.read(file)
        companions = list(named_by(self._files, file))
        beside: list[str | bytes] = []
        for told, path in companions:
            beside += [told, "not there"] if path is None else [told, "", self._files.read(path)]
        size, kind = self._wanted.size, PurePosixPath(file).suffix.lower()
        side = min(size) if isinstance(size, tuple) else size or SIDE
        up = self._options.up or ENDINGS[kind]
        settings = repr((self._options.views, side, up, self._wanted.white, kind))
        return Job(
            name=file,
            key=f"nerf-mesh-{fingerprint(data, *beside, settings, self._code)}",
            seed=int.from_bytes(hashlib.sha256(data).digest()[:8]),
            views=self._options.views,
            side=side,
            up=up,
            white=self._wanted.white,
            complete=all(path is not None for _, path in companions),
        )

    def _scene(self, name: str, job: Job) -> Loaded:
        """A scene out of the cache, rendered if it is not there or damaged."""
        try:
            images, poses = _views(job, self._folder(job))
        except DAMAGED:
            shutil.rmtree(self._folder(job))
            images, poses = _views(job, self._folder(job))
        scene = Scene(name, images, poses, square_lens(job.side))
        scene = scene.only(spread(scene.views, self._wanted.max_views))
        lacking = "Materials or textures that a mesh names are not there: its colours lack."
        if isinstance(self._wanted.size, tuple):
            scene = scene.resized(*self._wanted.size)
        return Loaded(scene, [] if job.complete else [lacking])

    def _folder(self, job: Job) -> Path:
        return cached(job.key, partial(_render_into, self._files, job))


def is_mesh(name: str) -> bool:
    """Whether a file is a mesh, by its ending."""
    return PurePosixPath(name).suffix.lower() in ENDINGS


def _views(job: Job, folder: Path) -> tuple[UInt8[Tensor, "V side side 3"], Float[Tensor, "V 4 4"]]:
    """What a mesh was rendered to; one of `DAMAGED` if it is no more."""
    with np.load(folder / "views.npz") as f:
        images, poses = torch.from_numpy(f["images"]), torch.from_numpy(f["poses"])
    if images.shape != (job.views, job.side, job.side, 3) or poses.shape != (job.views, 4, 4):
        raise ValueError("not what was rendered")
    return images, poses


def _render_into(files: Files, job: Job, folder: Path) -> None:
    surface = read_surface(files, job.name, job.up)
    poses = rig((job.seed,), job.views)
    images = photograph(surface, poses, square_lens(job.side), float(job.white))
    np.savez_compressed(folder / "views.npz", images=images, poses=poses.numpy())


def _ids(meshes: Sequence[str]) -> dict[str, str]:
    """Files by scene: the path without its ending, or with it where that means several files."""
    stems = Counter(str(PurePosixPath(name).with_suffix("")) for name in meshes)
    by_stem = {name: str(PurePosixPath(name).with_suffix("")) for name in meshes}
    ids = {stem if stems[stem] == 1 else name: name for name, stem in by_stem.items()}
    return dict(sorted(ids.items()))


def _folders(file: str) -> tuple[str, ...]:
    """The folders on the way to a mesh, without those that name a split."""
    return tuple(f for f in PurePosixPath(file).parts[:-1] if part_of(f) is None)


def _is_usual(file: str) -> bool:
    """ModelNet's class/train/x.off, or ShapeNet's synset/ID/models/x.obj."""
    folders = PurePosixPath(file).parts[:-1]
    modelnet = len(folders) >= 2 and folders[-1] in ("train", "test")
    return modelnet or (len(folders) >= 3 and folders[-1] == "models")
