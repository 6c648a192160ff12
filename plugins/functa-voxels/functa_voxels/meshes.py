"""Mesh files as solid voxels, made once and kept.

What is kept is named by the file's content, the resolution and the code that made it, so it is
never out of date.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int, UInt8
from trimesh.exchange.load import mesh_formats

from functa_core import Files, UserError, cached, cached_all, fingerprint
from functa_voxels import crossings, voxelising
from functa_voxels.packing import pack
from functa_voxels.voxelising import voxelise

ENDINGS = frozenset(f".{kind}" for kind in mesh_formats() if kind not in ("stl_ascii", "xyz"))
"""What trimesh reads here, but for points. More with its optional packages (lxml for 3MF)."""
_MAKERS = (sys.modules[__name__], crossings, voxelising)


def is_mesh(name: str) -> bool:
    """Whether a file is a mesh, by its ending."""
    return PurePosixPath(name).suffix.lower() in ENDINGS


def voxelised(
    files: Files, names: Sequence[str], side: int
) -> list[UInt8[np.ndarray, "r r bytes"] | UserError]:
    """Meshes as packed solids, or what is wrong with each, in order.

    What is not in the cache is made on all processors.
    """
    code = fingerprint(str(trimesh.__version__), *_MAKERS)
    keys = [_key(files, name, side, code) for name in names]
    job_of = {k: name for k, name in zip(keys, names, strict=True) if not isinstance(k, UserError)}
    make = partial(_write, files, side)
    faults = cached_all(job_of, make, "voxelising meshes")

    def kept(key: str) -> UInt8[np.ndarray, "r r bytes"] | UserError:
        # Made again should somebody have emptied the cache meanwhile.
        return faults.get(key) or _read(cached(key, partial(make, job_of[key])))

    return [key if isinstance(key, UserError) else kept(key) for key in keys]


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
        self._mesh = mesh

    def get(self, told: str) -> bytes:
        """The contents of a named file. Raises `FileNotFoundError`, which trimesh expects."""
        path = self._files.beside(self._mesh, told)
        if path is None:
            raise FileNotFoundError(told)
        return self._files.read(path)

    __getitem__ = get

    def namespaced(self, _: str) -> _Companions:
        """Names are relative to the mesh's folder, whoever asks."""
        return self


def _key(files: Files, name: str, side: int, code: str) -> str | UserError:
    """Of the solid in the cache; what is wrong if the mesh cannot be read."""
    try:
        content = [files.read(name), *_buffers(files, name)]
    except UserError as error:
        return error
    kind = PurePosixPath(name).suffix.lower()
    return f"voxels-mesh-{fingerprint(*content, kind, str(side), code)}"


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


def _write(files: Files, side: int, name: str, folder: Path) -> None:
    """Voxelise a mesh into a folder of the cache."""
    vertices, faces = read_mesh(files, name)
    solid: Bool[np.ndarray, "r r r"] = voxelise(vertices, faces, side)
    np.save(folder / "packed.npy", pack(solid))


def _read(folder: Path) -> UInt8[np.ndarray, "r r bytes"]:
    packed: UInt8[np.ndarray, "r r bytes"] = np.load(folder / "packed.npy")
    return packed
