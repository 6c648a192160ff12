"""Mesh files as solid voxels, made once and kept.

What is kept is named by the file's content, the resolution and the code that made it, so it is
never out of date.
"""

from __future__ import annotations

import functools
import hashlib
import io
import posixpath
import re
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import attrs
import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int, UInt8
from trimesh.exchange.load import mesh_formats

from functa_core import UserError, cached
from functa_voxels import crossings, voxelising
from functa_voxels.collection import pack
from functa_voxels.files import Files
from functa_voxels.jobs import in_parallel
from functa_voxels.voxelising import voxelise

ENDINGS = frozenset(f".{kind}" for kind in mesh_formats() if kind not in ("stl_ascii", "xyz"))
"""What trimesh reads here, but for points. More with its optional packages (lxml for 3MF)."""


@attrs.frozen
class Job:
    """All that a process needs to voxelise one mesh.

    Attributes:
        root: of the data.
        name: of the mesh file in it.
        side: cells a side.
        key: of the result in the cache.
    """

    root: Path
    name: str
    side: int
    key: str


def is_mesh(name: str) -> bool:
    """Whether a file is a mesh, by its ending."""
    return PurePosixPath(name).suffix.lower() in ENDINGS


def voxelised(
    files: Files, names: Sequence[str], side: int
) -> list[UInt8[np.ndarray, "r r bytes"] | UserError]:
    """Meshes as packed solids, or what is wrong with each, in order.

    What is not in the cache is made on all processors.
    """
    _files_of.cache_clear()  # they may have changed since
    jobs = [_job(files, name, side) for name in names]
    missing = {job.key: job for job in jobs if isinstance(job, Job) and not _is_cached(job)}
    faults = dict(zip(missing, in_parallel(_make, list(missing.values())), strict=True))
    return [
        job if isinstance(job, UserError) else faults.get(job.key) or _kept(job) for job in jobs
    ]


def read_mesh(files: Files, name: str) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """Corners and triangles of a mesh file, all of its objects together.

    Raises:
        UserError: it cannot be read, has no triangles, or no finite size.
    """
    kind = PurePosixPath(name).suffix.lower()[1:]
    try:
        mesh: Any = trimesh.load_mesh(
            io.BytesIO(files.read(name)),
            file_type=kind,
            resolver=_Companions(files, name),
            process=False,
            **({"skip_materials": True} if kind == "obj" else {}),
        )
        if isinstance(mesh, trimesh.Scene):
            mesh = mesh.to_mesh()
        vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces)
    except UserError:
        raise
    except Exception as error:  # its parsers raise almost anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"mesh '{name}' cannot be read as {kind.upper()}: {reason}.") from error
    if vertices.ndim != 2 or faces.ndim != 2 or not len(faces):
        raise UserError(
            f"mesh '{name}' has no triangles: an empty file, or points or lines only.\n"
            "Remove it, or leave such shapes out with --skip-bad."
        )
    if not 0 <= faces.min() <= faces.max() < len(vertices):
        raise UserError(f"mesh '{name}' is damaged: triangles name corners that are not there.")
    used = vertices[faces]
    if not np.isfinite(used).all():
        raise UserError(f"mesh '{name}' has corners that are not finite numbers.")
    if not np.ptp(used, axis=(0, 1)).max() > 0:
        raise UserError(f"mesh '{name}' has no extent: all of its corners are at one place.")
    return vertices, faces


class _Companions:
    """Finds what a mesh file names (a glTF's buffers) beside it in the data, and nowhere else."""

    def __init__(self, files: Files, mesh: str) -> None:
        self._files = files
        self._folder = posixpath.dirname(mesh)
        self._there = set(files.names)

    def get(self, told: str) -> bytes:
        """The contents of a named file. Raises `FileNotFoundError`, which trimesh expects."""
        path = posixpath.normpath(posixpath.join(self._folder, told.replace("\\", "/")))
        if path not in self._there:
            raise FileNotFoundError(told)
        return self._files.read(path)

    __getitem__ = get

    def namespaced(self, _: str) -> _Companions:
        """Names are relative to the mesh's folder, whoever asks."""
        return self


def _job(files: Files, name: str, side: int) -> Job | UserError:
    try:
        content = hashlib.sha256(files.read(name))
        for buffer in _buffers(files, name):
            content.update(buffer)
    except UserError as error:
        return error
    content.update(f"{PurePosixPath(name).suffix.lower()} {side} {_code()}".encode())
    return Job(files.root, name, side, f"voxels-mesh-{content.hexdigest()[:32]}")


def _buffers(files: Files, name: str) -> list[bytes]:
    """The files that a glTF names; the other formats hold their geometry themselves."""
    if not name.lower().endswith(".gltf"):
        return []
    companions, found = _Companions(files, name), []
    for told in re.findall(rb'"uri"\s*:\s*"([^"]+)"', files.read(name)):
        try:
            found.append(companions.get(told.decode("utf-8", errors="replace")))
        except FileNotFoundError:
            continue  # a data URI, or what trimesh will miss and say so
    return found


@functools.cache
def _code() -> str:
    """What made a solid: the code and the mesh library."""
    digest = hashlib.sha256(str(trimesh.__version__).encode())
    for module in (sys.modules[__name__], crossings, voxelising):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:16]


def _make(job: Job) -> UserError | None:
    """Voxelise a mesh into the cache; what is wrong with it if it cannot be."""
    try:
        cached(job.key, lambda folder: _write(job, folder))
    except UserError as error:
        return error
    return None


def _write(job: Job, folder: Path) -> None:
    vertices, faces = read_mesh(_files_of(job.root), job.name)
    solid: Bool[np.ndarray, "r r r"] = voxelise(vertices, faces, job.side)
    np.save(folder / "packed.npy", pack(solid))


def _kept(job: Job) -> UInt8[np.ndarray, "r r bytes"]:
    """A solid out of the cache; made again should somebody have emptied that meanwhile."""
    folder = cached(job.key, lambda folder: _write(job, folder))
    packed: UInt8[np.ndarray, "r r bytes"] = np.load(folder / "packed.npy")
    return packed


@functools.lru_cache(maxsize=1)
def _files_of(root: Path) -> Files:
    """The files of a folder or zip, listed once in a process that reads many of them."""
    return Files(root)


class _NotThereError(Exception):
    """Stops `cached` from making anything."""


def _is_cached(job: Job) -> bool:
    def refuse(_: Path) -> None:
        raise _NotThereError

    try:
        cached(job.key, refuse)
    except _NotThereError:
        return False
    return True
