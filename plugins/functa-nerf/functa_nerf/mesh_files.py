"""One mesh file, with the materials and textures it names, as a coloured surface."""

from __future__ import annotations

import io
import json
import posixpath
import re
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float
from trimesh.visual.material import PBRMaterial

from functa_core import Files, UserError
from functa_nerf.surfaces import NO_TEXTURE, Surface, joined, plain

ENDINGS = {".obj": "y", ".glb": "y", ".off": "z", ".stl": "z", ".ply": "z"}
"""What is read, and which axis is up in most files of that kind: glTF's standard says y, OBJ files
(ShapeNet's) mostly do; ModelNet's OFF files, and CAD and scanner programs, have z."""
GREY = 0.7
"""What has no colour of its own, in the file."""

_Y_UP_TO_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


class Companions:
    """Finds the files that a mesh names, for trimesh: in the same folder or zip and nowhere else.

    A zip is not unpacked for that, and a name like ../../secret leads nowhere.
    """

    def __init__(self, files: Files, mesh: str) -> None:
        self._files = files
        self._mesh = mesh

    def find(self, told: str) -> str | None:
        """The file that is meant by what a mesh or material file says, None if it is not there.

        Looked for as told, else (paths of another machine, options before the name) by its last
        part in the mesh's own folder.
        """
        told = told.strip().strip('"').replace("\\", "/")
        last_word = told.split()[-1] if told.split() else told
        names = (told, posixpath.basename(told), last_word, posixpath.basename(last_word))
        found = (self._files.beside(self._mesh, name) for name in names)
        return next((path for path in found if path is not None), None)

    def get(self, told: str) -> bytes:
        """The contents of a named file. Raises `FileNotFoundError`, which trimesh expects."""
        path = self.find(told)
        if path is None:
            raise FileNotFoundError(told)
        return self._files.read(path)

    __getitem__ = get

    def namespaced(self, _: str) -> Companions:
        """Names are relative to the mesh's folder, whoever asks."""
        return self


def named_by(files: Files, mesh: str) -> Iterator[tuple[str, str | None]]:
    """What a mesh file needs beside itself: (name as told, file or None) of all that it names.

    OBJ files name materials, and these textures; PLY files a texture; GLB files buffers and images
    that are not in them. OFF and STL have no such words.
    """
    companions = Companions(files, mesh)
    ending = posixpath.splitext(mesh)[1].lower()
    if ending == ".obj":
        yield from _named_by_obj(files, mesh, companions)
    elif ending in (".ply", ".glb"):
        named = _textures_of_ply if ending == ".ply" else _uris_of_glb
        for told in named(files.read(mesh)):
            yield told, companions.find(told)


def _named_by_obj(
    files: Files, mesh: str, companions: Companions
) -> Iterator[tuple[str, str | None]]:
    library = re.search(rb"^\s*mtllib\s+(.+?)\s*$", files.read(mesh), re.MULTILINE)
    if library is None:
        return
    told = library[1].decode("utf-8", errors="replace")
    path = companions.find(told)
    yield told, path
    if path is not None:
        for texture in re.findall(r"^\s*map_Kd\s+(.+?)\s*$", files.text(path), re.M | re.I):
            yield texture, companions.find(texture)


def _textures_of_ply(data: bytes) -> list[str]:
    """Textures in a PLY file's header: `comment TextureFile NAME`."""
    header = data.partition(b"end_header")[0].decode("utf-8", errors="replace")
    return [told.strip() for told in re.findall(r"texturefile(.*)", header, re.IGNORECASE)]


def _uris_of_glb(data: bytes) -> list[str]:
    """Files that a GLB file's JSON names; what is embedded as data is none.

    That is the first chunk (glTF 2.0, section 4.4): a 12-byte header, then length, type, content.
    In version 1 it lies in the same place. What cannot be read is left for the loader to refuse.
    """
    try:
        (length,) = struct.unpack_from("<I", data, 12)
        document = json.loads(data[20 : 20 + length])
        things = [*document.get("buffers", []), *document.get("images", [])]
        told = [thing["uri"] for thing in things if "uri" in thing]
    except (struct.error, ValueError, TypeError, AttributeError, RecursionError):
        return []
    return [uri for uri in told if isinstance(uri, str) and "base64," not in uri]


def read_surface(files: Files, name: str, up: str) -> Surface:
    """The surface in a mesh file: z up, centred, of unit diameter.

    The middle of its bounding box is at the origin and its furthest point half a unit away.

    Args:
        files: where it lies.
        name: of the file.
        up: the axis that is up in it, "y" or "z".

    Raises:
        UserError: it cannot be read, has no triangles, or has no finite size; names it.
    """
    kind = posixpath.splitext(name)[1].lower()[1:]
    data = io.BytesIO(files.read(name))
    try:
        beside: Any = Companions(files, name)
        scene: Any = trimesh.load(data, file_type=kind, resolver=beside, process=False)
        if not isinstance(scene, trimesh.Scene):
            scene = trimesh.Scene(scene)
        surfaces = [_part(scene, node) for node in scene.graph.nodes_geometry]
    except Exception as error:  # its parsers raise almost anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"mesh '{name}' cannot be read as {kind.upper()}: {reason}.") from error
    parts = [part for part in surfaces if part is not None and len(part.triangles)]
    if not parts:
        raise UserError(
            f"mesh '{name}' has no triangles: an empty file, or points or lines only. "
            "Only surfaces are rendered."
        )
    return _normalised(joined(parts), name, up)


def _normalised(surface: Surface, name: str, up: str) -> Surface:
    corners = surface.triangles.reshape(-1, 3)
    if not np.isfinite(corners).all():
        raise UserError(f"mesh '{name}' has corners that are not finite numbers.")
    if up == "y":
        corners = corners @ _Y_UP_TO_Z_UP.T
    corners = corners - (corners.max(axis=0) + corners.min(axis=0)) / 2
    radius = np.linalg.norm(corners, axis=1).max()
    if not 0 < radius < np.inf:
        raise UserError(f"mesh '{name}' has no extent: all of its corners are at one place.")
    scaled = (corners * (0.5 / radius)).reshape(-1, 3, 3)
    return Surface(scaled, surface.colours, surface.uv, surface.texture, surface.pictures)


def _part(scene: Any, node: str) -> Surface | None:
    """One mesh of a scene, in the scene's coordinates; None for what is no mesh."""
    transform, geometry = scene.graph[node]
    mesh = scene.geometry[geometry]
    if not isinstance(mesh, trimesh.Trimesh):
        return None
    visual: Any = mesh.visual
    places = np.asarray(mesh.vertices) @ transform[:3, :3].T + transform[:3, 3]
    triangles = places[mesh.faces]
    if visual.kind == "texture":
        return _textured(triangles, np.asarray(mesh.faces), visual)
    colours = np.full((len(triangles), 3, 3), GREY)
    if visual.kind == "vertex":
        colours = _rgb(visual.vertex_colors)[mesh.faces]
    elif visual.kind == "face":
        colours = np.repeat(_rgb(visual.face_colors)[:, None], 3, axis=1)
    return plain(triangles, colours)


def _textured(triangles: Float[np.ndarray, "F 3 3"], faces: np.ndarray, visual: Any) -> Surface:
    """A mesh with one material: a texture where there is one, else a colour."""
    material: Any = visual.material
    physical = isinstance(material, PBRMaterial)
    image: Any = material.baseColorTexture if physical else getattr(material, "image", None)
    painted = image is not None and visual.uv is not None
    # glTF multiplies factor and texture; an OBJ's texture stands for its diffuse colour.
    colour = _rgb(material.main_color)
    if painted and (not physical or material.baseColorFactor is None):
        colour = np.ones(3)
    surface = plain(triangles, np.broadcast_to(colour, (len(triangles), 3, 3)).copy())
    if not painted:
        return surface
    picture = np.asarray(image.convert("RGB"))
    texture = np.full(len(triangles), NO_TEXTURE + 1)
    return Surface(surface.triangles, surface.colours, visual.uv[faces], texture, [picture])


def _rgb(colours: Any) -> Float[np.ndarray, "*n 3"]:
    """Colours as trimesh has them, RGBA bytes, in [0, 1] and opaque."""
    return np.asarray(np.asarray(colours)[..., :3] / 255.0)
