"""Scenes in the layout of Scene Representation Networks (Sitzmann et al., NeurIPS 2019).

Each scene is a folder, at any depth, with

    intrinsics.txt      first line "focal cx cy 0.", last line "height width"
    pose/000000.txt     camera-to-world matrix, 16 numbers on one line or in four rows
    rgb/000000.png      the view with that pose

SRN's cameras look along +z with y down; multiplied by diag(1, −1, −1, 1) on the right they are
OpenGL's, which everything else here speaks.
"""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
import torch

from functa_core import Files, UserError
from functa_nerf.cameras import Lens
from functa_nerf.plausible import check_lens, check_places
from functa_nerf.poses import checked_pose
from functa_nerf.reading import Layout, Loaded, Wanted, read_views
from functa_nerf.scenes import Scene, spread

SRN_TO_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
LAYOUT = "SCENE/intrinsics.txt, SCENE/pose/*.txt and SCENE/rgb/*.png"


class SrnLayout(Layout):
    """The scenes of one folder or zip in SRN layout."""

    def __init__(self, files: Files, wanted: Wanted) -> None:
        self._files = files
        self._wanted = wanted
        self._members = _scene_folders(files)
        self.names = list(self._members)

    def load(self, name: str, whole: bool) -> Loaded:
        """Read one scene; this layout keeps no views for testing."""
        label = name or self._files.root.stem
        path = f"{name}/intrinsics.txt".lstrip("/")
        if path not in self._members[name]:
            raise UserError(f"scene '{label}' has no intrinsics.txt. Expected {LAYOUT}.")
        pairs = _pairs(label, self._members[name])
        pairs = [pairs[i] for i in spread(len(pairs), self._wanted.max_views)]
        poses = np.stack([read_pose(self._files.text(pose), pose) for pose, _ in pairs])
        check_places(list(poses), f"'{pairs[0][0].rpartition('/')[0]}'")
        views = [view for _, view in pairs]
        images, to, size = read_views(self._files, views, self._wanted, f"scene '{label}'")
        lens = to.lens(read_lens(self._files.text(path), path, *size))
        opengl = torch.from_numpy((poses @ SRN_TO_OPENGL).astype(np.float32))
        return Loaded(Scene(label, images, opengl, lens))


def read_pose(text: str, path: str) -> np.ndarray:
    """A camera-to-world matrix (4, 4) as it is in the file, checked to be one."""
    try:
        pose = np.array(text.split(), dtype=np.float64)
    except ValueError:
        raise UserError(f"pose '{path}' holds something that is not a number.") from None
    if pose.size != 16:
        raise UserError(
            f"pose '{path}' must be 16 finite numbers (a 4x4 matrix); found {pose.size} numbers."
        )
    return checked_pose(pose.reshape(4, 4), f"pose '{path}'")[0]


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
    lens = told.resized(height, width)
    check_lens(lens, f"'{path}'")
    return lens


def is_srn(name: str) -> bool:
    """Whether a file is one that only this layout has."""
    path = PurePosixPath(name)
    return path.name == "intrinsics.txt" or (path.parent.name == "pose" and path.suffix == ".txt")


def _scene_folders(files: Files) -> dict[str, list[str]]:
    """The files of each scene by the scene's folder ("" for the root), in path order."""
    members: dict[str, list[str]] = {}
    for name in files.names:
        path = PurePosixPath(name)
        if path.name == "intrinsics.txt":
            members.setdefault(_folder(path.parent), []).append(name)
        elif path.parent.name in ("pose", "rgb"):
            members.setdefault(_folder(path.parent.parent), []).append(name)
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
