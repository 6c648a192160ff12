"""Scenes with `transforms.json` files: Blender's layout (Mildenhall et al., NeRF, ECCV 2020).

Each scene is a folder, at any depth, with

    transforms_train.json, transforms_val.json, transforms_test.json
        {"camera_angle_x": radians, "frames": [{"file_path": "./train/r_0",
         "transform_matrix": 4x4, camera-to-world, OpenGL}, ...]}

or with a single transforms.json, as instant-ngp and nerfstudio write it, which may have `fl_x`,
`fl_y`, `cx`, `cy`, `w`, `h` in pixels, and `train_filenames`, `val_filenames`, `test_filenames`.
A `file_path` is relative to its JSON file; its ending may be left out.
"""

from __future__ import annotations

import json
import math
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import attrs
import numpy as np
import torch
from jaxtyping import Float

from functa_core import Files, UserError
from functa_nerf.pinhole import NUMBERS, read_pinhole
from functa_nerf.plausible import check_places
from functa_nerf.poses import checked_pose
from functa_nerf.reading import Layout, Loaded, Wanted, read_views
from functa_nerf.scenes import Scene, spread
from functa_nerf.splits import PARTS, Part, held_out_part

LAYOUT = "SCENE/transforms_train.json and transforms_test.json, or SCENE/transforms.json"
ENDINGS = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")
SAME = 1e-4
"""Relative difference of two intrinsics that still are one lens."""


@attrs.frozen(eq=False)
class Frame:
    """A view as the JSON has it.

    Attributes:
        view: its file, None if it is not there.
        told: what the JSON calls that file.
        pose: its camera.
        scale: that the pose's axes had.
        part: which split it is in, None where nothing tells.
        camera: what is told of the lens, of all frames and of this one.
        where: the JSON file and its place in it, for messages.
    """

    view: str | None
    told: str
    pose: Float[np.ndarray, "4 4"]
    scale: float
    part: Part | None
    camera: Mapping[str, Any]
    where: str


class BlenderLayout(Layout):
    """The scenes of one folder or zip that have `transforms.json` files."""

    def __init__(self, files: Files, wanted: Wanted) -> None:
        self._files = files
        self._wanted = wanted
        self._transforms: dict[str, list[str]] = {}
        for name in files.names:
            if is_transforms(name):
                self._transforms.setdefault(posixpath.dirname(name), []).append(name)
        self.names = sorted(self._transforms)

    def load(self, name: str, whole: bool) -> Loaded:
        """Read one scene: its training views, and with `whole` its test views after them."""
        label = name or self._files.root.stem
        training, testing, notes = self._frames(name, label)
        if whole:
            training, testing = _thinned(training, testing, self._wanted.max_views)
        else:
            kept = spread(len(training), self._wanted.max_views)
            training, testing = [training[i] for i in kept], []
        frames = [*training, *testing]
        check_places([frame.pose for frame in frames], frames[0].where.partition(", frame")[0])
        _check_one_lens(frames)
        paths = [frame.view for frame in frames if frame.view is not None]
        images, to, size = read_views(self._files, paths, self._wanted, f"scene '{label}'")
        lens, note = read_pinhole(frames[0].camera, frames[0].where, size, to)
        poses = torch.from_numpy(np.stack([frame.pose for frame in frames]).astype(np.float32))
        for_test = torch.arange(len(frames)) >= len(training) if testing else None
        return Loaded(Scene(label, images, poses, lens, for_test), [*notes, *filter(None, [note])])

    def _frames(self, name: str, label: str) -> tuple[list[Frame], list[Frame], list[str]]:
        """Frames to fit, frames to score, and notes."""
        paths = self._transforms[name]
        split = [path for path in paths if _part_of_file(path) is not None]
        notes = []
        if split and len(split) < len(paths):
            notes.append("transforms.json is not read where transforms_train.json is there.")
        frames = [frame for path in split or paths for frame in self._read(path)]
        frames, missing = self._there_and_missing(frames)
        if missing:
            notes.append(
                f"{len(missing)} frames have no image and are left out; the first: "
                f"{missing[0].where}, '{missing[0].told}'."
            )
        held_out = held_out_part([frame.part for frame in frames])
        training = [frame for frame in frames if frame.part in ("train", None)]
        testing = [frame for frame in frames if frame.part is not None and frame.part == held_out]
        if not training:
            raise UserError(
                f"scene '{label}' has no frames to train on in {', '.join(split or paths)}. "
                f"Expected {LAYOUT}."
            )
        scales = {round(frame.scale, 3) for frame in frames} - {1.0}
        if scales:
            notes.append(
                f"Camera matrices are scaled (by {min(scales):g}): the scale of their axes is "
                "divided out, their places stay."
            )
        return training, testing, notes

    def _read(self, path: str) -> Iterator[Frame]:
        """The frames of one JSON file, in its order."""
        try:
            document = json.loads(self._files.text(path))
        except (ValueError, RecursionError) as error:
            raise UserError(f"'{path}' is not valid JSON: {error}.") from error
        frames = document.get("frames") if isinstance(document, dict) else None
        if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
            raise UserError(f"'{path}' has no list of 'frames'. Expected {LAYOUT}.")
        common = {key: value for key, value in document.items() if key != "frames"}
        parts = _parts_by_file(document)
        only_listed = "train" in parts.values()
        for index, frame in enumerate(frames):
            where = f"'{path}', frame {index}"
            told = frame.get("file_path")
            if not isinstance(told, str) or not told.strip():
                raise UserError(f"{where} has no 'file_path'.")
            if only_listed and told not in parts:
                continue
            matrix = _matrix(frame.get("transform_matrix"), where)
            pose, scale = checked_pose(matrix, f"{where}: transform_matrix", may_be_scaled=True)
            part = _part_of_file(path) or parts.get(told)
            view = self._view(path, told, where)
            yield Frame(view, told, pose, scale, part, {**common, **frame}, where)

    def _view(self, path: str, told: str, where: str) -> str | None:
        """The file that a `file_path` means, None if it is not there."""
        below = posixpath.join(posixpath.dirname(path), told.replace("\\", "/"))
        whole = posixpath.normpath(below)
        if whole.startswith(("/", "../")):
            raise UserError(
                f"{where}: file_path '{told}' lies outside of the data; "
                "paths must be relative to the JSON file."
            )
        return next((whole + end for end in ("", *ENDINGS) if whole + end in self._files), None)

    def _there_and_missing(self, frames: Sequence[Frame]) -> tuple[list[Frame], list[Frame]]:
        """Frames with an image, and frames without one: some published sets have both.

        Raises:
            UserError: there are such frames and they are not to be skipped, or there are no others.
        """
        there = [frame for frame in frames if frame.view is not None]
        missing = [frame for frame in frames if frame.view is None]
        if missing and not (there and self._wanted.skip_bad):
            raise UserError(
                f"{missing[0].where}: file_path '{missing[0].told}' cannot be read: there is no "
                f"such file, with or without {', '.join(ENDINGS[:3])} ({len(missing)} of "
                f"{len(frames)} frames have none; --skip-bad leaves them out)."
            )
        return there, missing


def is_transforms(name: str) -> bool:
    """Whether a file is one of those that describe a scene's cameras."""
    return posixpath.basename(name) == "transforms.json" or _part_of_file(name) is not None


def _part_of_file(path: str) -> Part | None:
    """The split that the name of a JSON file tells."""
    stem = PurePosixPath(path).name
    return next((part for part in PARTS if stem == f"transforms_{part}.json"), None)


def _parts_by_file(document: Mapping[str, Any]) -> dict[str, Part]:
    """nerfstudio's lists of file paths by split."""
    named = {part: document.get(f"{part}_filenames") for part in PARTS}
    return {
        path: part
        for part, paths in named.items()
        if isinstance(paths, list)
        for path in paths
        if isinstance(path, str)
    }


def _matrix(value: object, where: str) -> Float[np.ndarray, "4 4"]:
    """A 4×4 matrix of numbers out of JSON."""
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):  # JSON's whole numbers have no end
        matrix = np.zeros(0)
    if matrix.shape != (4, 4):
        raise UserError(f"{where}: 'transform_matrix' must be four rows of four numbers.")
    return matrix


def _check_one_lens(frames: Sequence[Frame]) -> None:
    """All views of a scene were taken with one lens."""
    first = frames[0]
    for frame in frames[1:]:
        for key in NUMBERS:
            one, other = first.camera.get(key), frame.camera.get(key)
            if one != other and not _close(one, other):
                raise UserError(
                    f"{frame.where} has {key} {other!r:.40}, but {first.where} has {one!r:.40}; "
                    "all views of a scene must have one lens."
                )


def _close(one: object, other: object) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        try:
            return math.isclose(one, other, rel_tol=SAME)
        except OverflowError:  # JSON's whole numbers have no end
            return False
    return False


def _thinned(
    training: Sequence[Frame], testing: Sequence[Frame], most: int | None
) -> tuple[list[Frame], list[Frame]]:
    """At most so many frames in all, as many of each kind as their proportion says.

    Where there are frames to test on, at least one of them stays.
    """
    total = len(training) + len(testing)
    if most is None or most >= total:
        return list(training), list(testing)
    few = 0 if not testing else min(max(1, round(most * len(testing) / total)), max(1, most - 1))
    return (
        [training[i] for i in spread(len(training), max(1, most - few))],
        [testing[i] for i in spread(len(testing), few)],
    )
