"""Which layout data has, seen from its files."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from functa_core import Files, UserError
from functa_nerf import blender, meshes, srn
from functa_nerf.blender import BlenderLayout, is_transforms
from functa_nerf.meshes import MeshLayout, MeshOptions, is_mesh
from functa_nerf.reading import Layout, Wanted
from functa_nerf.srn import SrnLayout, is_srn

EXPECTED = f"SRN: {srn.LAYOUT}; Blender: {blender.LAYOUT}; meshes: {meshes.LAYOUT}, at any depth."


def scene_files(root: Path) -> Files:
    """The files of a folder or zip.

    Raises:
        UserError: it is neither, cannot be read, or is empty.
    """
    if not root.exists():
        raise UserError(f"--data '{root}' does not exist; expected a folder or a .zip of scenes.")
    if root.is_file() and root.suffix.lower() != ".zip":
        raise UserError(
            f"--data '{root}' is neither a folder nor a .zip; expected a folder of scenes, or a "
            ".zip of one."
        )
    files = Files(root)
    if not files.names:
        raise UserError(f"--data '{root}' has no files in it; expected scenes.")
    return files


def find_layout(files: Files, wanted: Wanted, options: MeshOptions) -> Layout:
    """The layout of a folder or zip.

    A mesh in the folder of a scene that has views (nerfstudio leaves a point cloud there) belongs
    to that scene and is not read.

    Raises:
        UserError: it has none of the layouts, or several; says what each looks like.
    """
    srn_files = [name for name in files.names if is_srn(name)]
    transforms = [name for name in files.names if is_transforms(name)]
    scenes = {posixpath.dirname(name) for name in (*srn_files, *transforms)}
    loose = [name for name in files.names if is_mesh(name) and not _within(name, scenes)]
    found = {"SRN": srn_files, "Blender": transforms, "meshes": loose}
    kinds = [kind for kind, names in found.items() if names]
    if len(kinds) != 1:
        raise UserError(f"{_found(files, found, kinds)}\n{EXPECTED}")
    if kinds == ["SRN"]:
        return SrnLayout(files, wanted)
    if kinds == ["Blender"]:
        return BlenderLayout(files, wanted)
    return MeshLayout(files, loose, wanted, options)


def _within(name: str, folders: set[str]) -> bool:
    """Whether a file lies in one of the folders, at any depth; "" is the root."""
    above = {"" if p == PurePosixPath(".") else str(p) for p in PurePosixPath(name).parents}
    return not above.isdisjoint(folders)


def _found(files: Files, found: dict[str, list[str]], kinds: Sequence[str]) -> str:
    if kinds:
        examples = " and ".join(f"'{found[kind][0]}' ({kind})" for kind in kinds)
        return f"--data '{files.root}' mixes layouts: {examples}; give one of them at a time."
    return (
        f"--data '{files.root}' has none of the layouts for scenes: found {len(files.names)} "
        f"files such as '{files.names[0]}'. Expected one of"
    )
