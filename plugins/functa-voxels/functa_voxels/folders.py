"""Shapes in files of their own: meshes and .binvox files in a folder or zip.

    chair/train/chair_0001.off                      as ModelNet has it: class, split
    02958343/ID/models/model_normalized.obj         as ShapeNet has it: class, shape
    02958343/ID/model.binvox                        as 3D-R2N2 has it
    train/chair/any.stl, chair/any.glb, any.ply

A folder `models` holds one shape, however many files describe it; the mesh is preferred.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import attrs
import numpy as np
from jaxtyping import Bool, UInt8

from functa_core import Dataset, Files, UserError, class_folders, skip_notes
from functa_voxels.binvox import read_binvox
from functa_voxels.meshes import ENDINGS, is_mesh, voxelised
from functa_voxels.packing import UNUSABLE, pack, reduced, unpack

SPLITS = {"train": False, "val": False, "valid": False, "validation": False, "test": True}
"""Names of folders that are a part of the data, and whether that is held out."""
MESH_SIDE = 64
"""Cells a side of voxelised meshes where nothing else is asked for."""
Packed = UInt8[np.ndarray, "r r bytes"]


@attrs.frozen
class Place:
    """Where a shape lies.

    Attributes:
        file: relative path of the file to read.
        id: relative path without what all shapes have in common.
        folders: on the way to it, without those that name a split or are a shape's own.
        is_test: what a folder on the way says, None if none does.
    """

    file: str
    id: str
    folders: tuple[str, ...]
    is_test: bool | None


def read_folder(
    path: Path, side: int | None, labels: bool, skip_bad: bool
) -> Dataset[Bool[np.ndarray, "r r r"]]:
    """All shapes of a folder, a zip archive, or a single mesh or .binvox file.

    Args:
        path: of the folder, archive or file.
        side: cells a side, None for what .binvox files have, and 64 for meshes.
        labels: whether folders are classes.
        skip_bad: leave unusable files out instead of refusing the data.

    Raises:
        UserError: nothing can be read, a file is unusable, sizes differ.
    """
    files = Files(path)
    places = find(files)
    found: dict[Place, Packed] = {}
    skipped = []
    for place, result in zip(places, _read(files, places, side), strict=True):
        if not isinstance(result, UserError):
            found[place] = result
        elif skip_bad:
            skipped.append(place.id)
        else:
            raise result
    if not found:
        raise UserError(
            f"none of the {len(places)} shapes of {path} can be used.\n"
            "Without --skip-bad the first error is shown."
        )
    _check_sizes(found)
    packed = list(found.values())
    signals = Dataset(
        ids=[place.id for place in found],
        load=lambda i: unpack(packed[i]),
        notes=skip_notes(skipped, UNUSABLE),
        is_test=_is_test(list(found)),
    )
    return signals.with_classes(class_folders([p.folders for p in found])) if labels else signals


def find(files: Files) -> list[Place]:
    """The shapes there are, one file for each, by id.

    Raises:
        UserError: there are none.
    """
    usable = [n for n in files.names if is_mesh(n) or n.lower().endswith(".binvox")]
    if not usable:
        kinds = Counter(PurePosixPath(n).suffix.lower() or "without suffix" for n in files.names)
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4))
        raise UserError(
            f"{files.root} holds no shape (found: {listed or 'no files'}).\n"
            f"Give meshes ({', '.join(sorted(ENDINGS))}) or .binvox files, or an .npy or .npz file."
        )
    best: dict[str, str] = {}
    for name in usable:
        folder = PurePosixPath(name).parent
        # Of a shape's own folder the mesh, else the solid: both sort before anything else.
        group = str(folder.parent) if folder.name == "models" else name
        best[group] = min(best.get(group, name), name, key=_preference)
    stems = Counter(str(PurePosixPath(name).with_suffix("")) for name in best.values())
    return sorted((_place(n, stems) for n in best.values()), key=lambda place: place.id)


def _preference(name: str) -> tuple[bool, bool, str]:
    return not is_mesh(name), ".solid." not in name, name


def _place(name: str, stems: Counter[str]) -> Place:
    path = PurePosixPath(name)
    stem = str(path.with_suffix(""))
    where = path.parts[:-1]
    identity = stem if stems[stem] == 1 else name
    if where and where[-1] == "models":
        identity, where = str(path.parent.parent), where[:-2]
    elif path.stem == "model" and where:
        identity, where = str(path.parent), where[:-1]
    told = [SPLITS[part.lower()] for part in where if part.lower() in SPLITS]
    folders = tuple(part for part in where if part.lower() not in SPLITS)
    return Place(name, identity, folders, told[0] if told else None)


def _read(files: Files, places: Sequence[Place], side: int | None) -> list[Packed | UserError]:
    """Each shape, or what is wrong with it."""
    grids = {p.file: _grid(files, p.file, side) for p in places if not is_mesh(p.file)}
    sizes = {g.shape[0] for g in grids.values() if not isinstance(g, UserError)}
    of_meshes = side or (sizes.pop() if len(sizes) == 1 else MESH_SIDE)
    meshes = [p.file for p in places if is_mesh(p.file)]
    read = {**grids, **dict(zip(meshes, voxelised(files, meshes, of_meshes), strict=True))}
    return [read[place.file] for place in places]


def _grid(files: Files, name: str, side: int | None) -> Packed | UserError:
    """A .binvox file at the resolution wanted."""
    try:
        cells = read_binvox(files.read(name), name)
        coarse = cells if side is None else reduced(cells, side)
    except UserError as error:
        return error
    if not coarse.any():
        left = " at this resolution" if cells.any() else ""
        return UserError(
            f"'{name}' is empty{left}: none of its cells is filled.\n"
            "Remove it, or leave such shapes out with --skip-bad."
        )
    return pack(coarse)


def _check_sizes(found: dict[Place, Packed]) -> None:
    first, *others = found.items()
    for place, packed in others:
        if len(packed) != len(first[1]):
            raise UserError(
                f"shapes differ in size: '{first[0].file}' has {len(first[1])} cells a side, "
                f"'{place.file}' {len(packed)}.\n"
                "Choose one size that divides both with --set modality.resolution=N."
            )


def _is_test(places: Sequence[Place]) -> list[bool] | None:
    """Which shapes are held out, if any folder is called `test`; else there is no split."""
    if not any(place.is_test for place in places):
        return None
    return [bool(place.is_test) for place in places]
