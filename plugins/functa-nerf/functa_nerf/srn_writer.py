"""Writes scenes in SRN layout, so that others can use them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from functa_core import UserError
from functa_nerf.scenes import Scene
from functa_nerf.srn import SRN_TO_OPENGL


def write_srn(scenes: Mapping[str, Iterable[Scene]], out: Path) -> int:
    """Write scenes as `out/FOLDER/SCENE/{intrinsics.txt,pose/000000.txt,rgb/000000.png}`.

    Cameras become SRN's (y down, looking along +z). Numbers have all their digits, so that reading
    gives the same scenes again; which views the data keeps for testing cannot be said. The folder
    appears when everything is in it.

    Args:
        scenes: by the folder they go to, `cars_train` and `cars_test`; a scene's id is its path in
            it.
        out: a folder that is empty or not there; parents are made.

    Returns:
        The number of scenes.

    Raises:
        UserError: `out` has something in it, or cannot be written, or a scene's path leads out of
            it.
    """
    check_empty(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise UserError(f"--out '{out}' cannot be written: {error.strerror}.") from error
    try:
        count = 0
        for folder, members in scenes.items():
            for scene in members:
                _write_scene(scene, _below(draft, f"{folder}/{scene.id}"))
                count += 1
        draft.chmod(0o777 & ~_umask())  # a temporary folder is the owner's alone
        draft.replace(out)
    except OSError as error:
        raise UserError(f"--out '{out}' cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return count


def check_empty(out: Path) -> None:
    """Raise a `UserError` if there is something in the way."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        what = "is not empty" if out.is_dir() else "is a file"
        raise UserError(f"--out '{out}' {what}; name a new or an empty folder.")


def _below(draft: Path, name: str) -> Path:
    """A folder by its path in the draft. Raises `UserError` if that leads out of it."""
    folder = (draft / name).resolve()
    if not folder.is_relative_to(draft.resolve()):
        raise UserError(f"scene '{name}' would be written outside of --out; rename it.")
    return folder


def _write_scene(scene: Scene, folder: Path) -> None:
    lens = scene.lens
    for part in ("pose", "rgb"):
        (folder / part).mkdir(parents=True)
    (folder / "intrinsics.txt").write_text(
        f"{lens.focal!r} {lens.cx!r} {lens.cy!r} 0.\n0. 0. 0.\n1.\n{lens.height} {lens.width}\n"
    )
    poses = scene.poses.double().numpy() @ np.linalg.inv(SRN_TO_OPENGL)
    for index, (view, pose) in enumerate(zip(scene.images.numpy(), poses, strict=True)):
        text = " ".join(f"{value:.9g}" for value in pose.flatten())
        (folder / "pose" / f"{index:06d}.txt").write_text(text + "\n")
        Image.fromarray(view).save(folder / "rgb" / f"{index:06d}.png")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
