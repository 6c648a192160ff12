"""Occupancies as triangle meshes, and those as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float
from skimage.measure import marching_cubes

from functa_core import Artefact
from functa_voxels.axes import TO_Z_UP
from functa_voxels.measures import THRESHOLD


def surface(occupancy: Float[np.ndarray, "r r r"]) -> trimesh.Trimesh | None:
    """Where occupancy is 0.5, by marching cubes (Lorensen and Cline, 1987); None if it never is.

    Around the grid is nothing, so that the surface is closed even where a shape meets the border.

    Args:
        occupancy: at the centres of the cells of the unit cube, from 0 to 1.

    Returns:
        A closed mesh in the unit cube, triangles facing outwards.
    """
    padded = np.pad(occupancy, 1)
    if not padded.max() > THRESHOLD:
        return None
    found: Any = marching_cubes  # it has no annotations
    vertices, faces, _, _ = found(padded, THRESHOLD, gradient_direction="ascent")
    places = (vertices - 0.5) / len(occupancy)
    return trimesh.Trimesh(places, faces, process=False)


def write_meshes(
    occupancy: Float[np.ndarray, "r r r"], up: str, out: Path, name: str
) -> Sequence[Artefact]:
    """One shape as GLB and STL; nothing if no cell of it is filled.

    glTF's y axis is up, so GLB files are turned; STL files keep the axes of the grid.
    """
    mesh = surface(occupancy)
    if mesh is None:
        return []
    glb, stl = out / f"{name}.glb", out / f"{name}.stl"
    mesh.export(stl)
    turned = mesh.copy()
    turned.vertices = (np.asarray(mesh.vertices) - 0.5) @ (TO_Z_UP["y"].T @ TO_Z_UP[up]).T
    turned.export(glb)
    said = f"{name}: its surface, {len(mesh.faces)} triangles from {len(occupancy)}³ cells."
    return [Artefact(glb, "model/gltf-binary", said), Artefact(stl, "model/stl", said)]
