"""Scenes in the layout of Scene Representation Networks (Sitzmann et al., NeurIPS 2019).

Each scene is a folder, at any depth, with

    intrinsics.txt      first line "focal cx cy 0.", last line "height width"
    pose/000000.txt     camera-to-world matrix, 16 numbers on one line or in four rows
    rgb/000000.png      the view with that pose

SRN's cameras look along +z with y down; multiplied by diag(1, −1, −1, 1) on the right they are
OpenGL's, which everything else here speaks.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Literal

import attrs
import numpy as np
import torch
from PIL import Image

from functa_core import Dataset, DataSource, Split, UserError
from functa_nerf.cameras import Lens
from functa_nerf.files import Files
from functa_nerf.scenes import Scene, spread

SRN_TO_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
ORTHONORMAL_TOLERANCE = 1e-2
"""How far RᵀR may be from the identity: poses are often written with few digits."""
LAYOUT = "SCENE/intrinsics.txt, SCENE/pose/*.txt and SCENE/rgb/*.png"

Part = Literal["train", "val", "test"]


@attrs.define
class SrnReader:
    """Reads the scenes of one folder or zip, each at most once.

    Attributes:
        files: where they are.
        size: height and width that views are resampled to; None leaves them as they are.
        max_views: views read of each scene, spread evenly; None for all.
        skip_bad: leave unreadable scenes out instead of refusing the data.
    """

    files: Files
    size: tuple[int, int] | None
    max_views: int | None
    skip_bad: bool
    _members: dict[str, list[str]] = attrs.field(init=False)
    _read: dict[str, Scene | UserError] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self._members = _scene_folders(self.files)

    def dataset(self, split: Split, source: DataSource) -> Dataset[Scene]:
        """The scenes of one split in path order, all of them read and checked."""
        names, notes = _chosen(list(self._members), split, source)
        missing = [name for name in names if name not in self._read]
        with ThreadPoolExecutor() as pool:  # decoding leaves Python's lock
            self._read.update(zip(missing, pool.map(self._attempt, missing), strict=True))
        scenes: list[Scene] = []
        bad: list[UserError] = []
        for name in names:
            scene = self._read[name]
            if isinstance(scene, UserError):
                bad.append(scene)
            else:
                scenes.append(scene)
        if bad and not self.skip_bad:
            raise bad[0]
        if bad:
            notes.append(f"{len(bad)} unreadable scenes are left out; the first: {bad[0]}")
        kept = [scene for scene in scenes if not bool((scene.images == 255).all())]
        if len(kept) < len(scenes):
            notes.append(f"{len(scenes) - len(kept)} blank scenes (all white) are left out.")
        if names and not kept:
            raise UserError(f"no scene in '{self.files.root}' ({split}) is usable. {notes[-1]}")
        _check_sizes(kept)
        return Dataset([scene.id for scene in kept], kept.__getitem__, notes=notes)

    def _attempt(self, name: str) -> Scene | UserError:
        """A scene, or what is wrong with it."""
        try:
            return self._scene(name)
        except UserError as error:
            return error

    def _scene(self, name: str) -> Scene:
        """Read one scene. Raises `UserError`, which names the file, for whatever is wrong."""
        label = name or self.files.root.stem
        pairs = _pairs(label, self._members[name])
        pairs = [pairs[i] for i in spread(len(pairs), self.max_views)]
        poses = np.stack([read_pose(self.files.text(pose), pose) for pose, _ in pairs])
        views = [read_view(self.files.read(view), view) for _, view in pairs]
        for (_, path), view in zip(pairs, views, strict=True):
            if view.shape != views[0].shape:
                raise UserError(
                    f"scene '{label}': '{path}' is {view.shape[0]}x{view.shape[1]} pixels, the "
                    f"first view {views[0].shape[0]}x{views[0].shape[1]}; all must be the same."
                )
        path = f"{name}/intrinsics.txt".lstrip("/")
        if path not in self._members[name]:
            raise UserError(f"scene '{label}' has no intrinsics.txt. Expected {LAYOUT}.")
        lens = read_lens(self.files.text(path), path, *views[0].shape[:2])
        opengl = torch.from_numpy((poses @ SRN_TO_OPENGL).astype(np.float32))
        scene = Scene(label, torch.from_numpy(np.stack(views)), opengl, lens)
        return scene if self.size is None else scene.resized(*self.size)


def read_pose(text: str, path: str) -> np.ndarray:
    """A camera-to-world matrix (4, 4) as it is in the file, checked to be one."""
    try:
        pose = np.array(text.split(), dtype=np.float64)
    except ValueError:
        raise UserError(f"pose '{path}' holds something that is not a number.") from None
    if pose.size != 16 or not np.isfinite(pose).all():
        raise UserError(
            f"pose '{path}' must be 16 finite numbers (a 4x4 matrix); found {pose.size} numbers"
            + (", some of them not finite." if pose.size == 16 else ".")
        )
    pose = pose.reshape(4, 4)
    if not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-4):
        raise UserError(
            f"pose '{path}' must end with the row 0 0 0 1 (camera to world); "
            f"found {' '.join(f'{v:g}' for v in pose[3])}."
        )
    rotation = pose[:3, :3]
    error = np.abs(rotation.T @ rotation - np.eye(3)).max()
    if error > ORTHONORMAL_TOLERANCE or np.linalg.det(rotation) < 0:
        raise UserError(
            f"pose '{path}': its upper left 3x3 block is no rotation (mirrored, scaled or sheared; "
            f"RᵀR is off by {error:.2g})."
        )
    return pose


def read_view(data: bytes, path: str) -> np.ndarray:
    """An image (H, W, 3) uint8, over white where it is transparent."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            rgba = image.convert("RGBA")
    except Exception as error:  # decoders raise almost anything
        # SyntaxError is what Pillow raises for a broken PNG chunk.
        raise UserError(f"view '{path}' cannot be decoded as an image: {error}.") from error
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


def read_lens(text: str, path: str, height: int, width: int) -> Lens:
    """The lens from intrinsics.txt, scaled to the size that the views really have."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    try:
        focal, cx, cy = (float(v) for v in lines[0][:3])
        told = Lens(focal, cx, cy, *(int(float(v)) for v in lines[-1]))
    except (ValueError, IndexError, TypeError, OverflowError):
        raise UserError(
            f"'{path}' must begin with 'focal cx cy 0.' and end with 'height width'."
        ) from None
    if not np.isfinite([focal, cx, cy]).all() or min(focal, told.height, told.width) <= 0:
        raise UserError(f"'{path}': focal length, height and width must be positive and finite.")
    if told.height * width != told.width * height:
        raise UserError(
            f"'{path}' tells of views of {told.height}x{told.width} pixels, but they are "
            f"{height}x{width}: not the same proportions."
        )
    return told.resized(height, width)


def _scene_folders(files: Files) -> dict[str, list[str]]:
    """The files of each scene by the scene's folder ("" for the root), in path order."""
    members: dict[str, list[str]] = {}
    for name in files.names:
        path = PurePosixPath(name)
        if path.name == "intrinsics.txt":
            members.setdefault(_folder(path.parent), []).append(name)
        elif path.parent.name in ("pose", "rgb"):
            members.setdefault(_folder(path.parent.parent), []).append(name)
    if not members:
        raise UserError(
            f"--data '{files.root}' is not in SRN layout: expected {LAYOUT},\n"
            f"found {len(files.names)} files such as '{files.names[0]}'."
        )
    return dict(sorted(members.items()))


def _folder(path: PurePosixPath) -> str:
    return "" if path == PurePosixPath(".") else path.as_posix()


def _pairs(scene: str, members: list[str]) -> list[tuple[str, str]]:
    """(pose, view) files that belong together, by file stem."""
    by_kind: dict[str, dict[str, str]] = {"pose": {}, "rgb": {}}
    for name in members:
        path = PurePosixPath(name)
        kind, ending = path.parent.name, path.suffix.lower()
        if (kind, ending) in (("pose", ".txt"), ("rgb", ".png")):
            by_kind[kind][path.stem] = name
    poses, views = by_kind["pose"], by_kind["rgb"]
    for kind, there, wanted in (("pose", poses, views), ("rgb", views, poses)):
        lacking = sorted(wanted.keys() - there.keys())
        if lacking:
            raise UserError(
                f"scene '{scene}': {len(lacking)} views have no file in {kind}/, "
                f"the first is '{lacking[0]}'."
            )
    if not poses:
        raise UserError(f"scene '{scene}' has no views. Expected {LAYOUT}.")
    return [(poses[stem], views[stem]) for stem in sorted(poses)]


def _part(name: str) -> Part | None:
    """The split that a folder on the way to a scene is named after, as in cars_train/ID."""
    parts: tuple[Part, ...] = ("train", "val", "test")
    for folder in PurePosixPath(name).parts[:-1]:
        for part in parts:
            if folder == part or folder.endswith(f"_{part}"):
                return part
    return None


def _chosen(names: list[str], split: Split, source: DataSource) -> tuple[list[str], list[str]]:
    """The scenes of a split, and notes on how they were split."""
    parts = [_part(name) for name in names]
    held_out: Part = "test" if "test" in parts else "val"
    if held_out in parts and set(parts) - {"test", "val"}:
        idle = parts.count("val") if held_out == "test" else 0
        notes = [f"{idle} validation scenes are in neither split."] if idle else []
        if split == "all":
            return names, notes
        wanted: tuple[Part | None, ...] = (held_out,) if split == "test" else ("train", None)
        return [n for n, part in zip(names, parts, strict=True) if part in wanted], notes
    listed = Dataset(names, names.__getitem__).split(split, source)
    return list(listed.ids), ["The data names no split: test scenes are drawn by data.seed."]


def _check_sizes(scenes: list[Scene]) -> None:
    """All scenes of a split have views of one size."""
    for scene in scenes:
        one, other = scenes[0].lens, scene.lens
        if (one.height, one.width) != (other.height, other.width):
            raise UserError(
                f"views are {one.height}x{one.width} pixels in '{scenes[0].id}' and "
                f"{other.height}x{other.width} in '{scene.id}';\n"
                "choose one size with --set modality.resolution=N."
            )
