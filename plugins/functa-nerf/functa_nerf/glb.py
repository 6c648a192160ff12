"""Meshes as GLB, the binary form of glTF 2.0, as viewers and modelling programs read it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, UInt8

from functa_nerf.meshing import Surface


def write_glb(surface: Surface, up: Sequence[float], path: Path) -> None:
    """A coloured mesh whose vertices are in world coordinates, under a node that turns `up` to +y.

    glTF's y axis is up; a program that applies the node's matrix, as all viewers do, shows the
    object upright. Its unit, the metre, is one unit of the poses.
    """
    colours = np.pad(linear_bytes(surface.colours), ((0, 0), (0, 1)), constant_values=255)
    mesh = trimesh.Trimesh(
        surface.vertices,
        surface.faces,
        vertex_normals=surface.normals,
        vertex_colors=colours,
        process=False,
    )
    scene: Any = trimesh.Scene()
    scene.add_geometry(mesh, node_name="scene", geom_name="surface", transform=upright(up))
    gltf: Any = trimesh.exchange.gltf
    data = gltf.export_glb(scene, include_normals=True, tree_postprocessor=_without_lights)
    path.write_bytes(data)


def upright(up: Sequence[float]) -> Float[np.ndarray, "4 4"]:
    """The smallest rotation that turns the unit vector `up` to +y; for z it takes y to −z."""
    x, y, z = up
    turned = np.eye(4)
    sine = math.hypot(x, z)
    if y < 0 and sine < 1e-100:  # opposite: no smallest one, so half a turn about x
        turned[1, 1] = turned[2, 2] = -1
        return turned
    # Rodrigues' formula with axis up × y, which has the length sin, and y as cos. Its factor
    # 1 / (1 + y) is (1 - y) / sin², which keeps its digits where y is nearly -1.
    cross = np.array([[0, -x, 0], [x, 0, z], [0, -z, 0]])
    factor = 1 / (1 + y) if y >= 0 else (1 - y) / sine**2
    turned[:3, :3] += cross + cross @ cross * factor
    return turned


def linear_bytes(colours: Float[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    """sRGB in [0, 1] as glTF wants vertex colours: linear (IEC 61966-2-1), 255 for 1."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.round(255 * linear), dtype=np.uint8)


def _without_lights(tree: dict[str, Any]) -> None:
    """A material that shows the colours as they are: the light of the views is in them already.

    Where KHR_materials_unlit is unknown it is a matt, not a metallic one, which is glTF's default.
    """
    matt = {"baseColorFactor": [1, 1, 1, 1], "metallicFactor": 0, "roughnessFactor": 1}
    tree["materials"] = [{"pbrMetallicRoughness": matt, "extensions": {"KHR_materials_unlit": {}}}]
    tree["extensionsUsed"] = sorted({*tree.get("extensionsUsed", []), "KHR_materials_unlit"})
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0
