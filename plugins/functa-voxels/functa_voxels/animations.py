"""Shapes that change: as GIF, and as one mesh a frame."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from functa_core import Artefact
from functa_voxels.drawing import BLUE, VIEWS, draw
from functa_voxels.meshing import write_meshes
from functa_voxels.pictures import GAP, TEXT, TILE

MILLISECONDS, HOLD = 80, 600
"""Of a frame, and of each end, or nobody could tell where the way begins."""


def write_animation(
    path: Path, ways: Mapping[str, Float[np.ndarray, "F r r r"]], up: str
) -> Artefact:
    """A GIF of ways side by side, each below its name, there and back."""
    font = ImageFont.load_default(size=TEXT - 4)
    count = len(next(iter(ways.values())))
    frames = []
    for i in range(count):
        frame = Image.new("RGB", (len(ways) * (TILE + GAP) + GAP, TILE + TEXT + 2 * GAP), "white")
        pen = ImageDraw.Draw(frame)
        for column, (name, shapes) in enumerate(ways.items()):
            x = GAP + column * (TILE + GAP)
            pen.text((x, GAP // 2), name, fill="black", font=font)
            picture = draw(shapes[i], VIEWS[0], TILE, up, BLUE)
            frame.paste(Image.fromarray(picture), (x, TEXT + GAP))
        frames.append(frame.quantize(64, dither=Image.Dither.NONE))
    times = [HOLD, *[MILLISECONDS] * (count - 2), HOLD][:count]
    frames[0].save(
        path,
        save_all=True,
        append_images=[*frames[1:], *frames[-2:0:-1]],
        duration=[*times, *times[-2:0:-1]],
        loop=0,
    )
    return Artefact(path, "image/gif", f"From one shape to another: {', '.join(ways)}.")


def write_mesh_sequence(
    path: Path, shapes: Float[np.ndarray, "F r r r"], up: str, way: str
) -> Artefact:
    """A zip of GLB files, frame-000.glb and so on; a frame in which nothing is filled has none."""
    with TemporaryDirectory() as folder, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for i, shape in enumerate(shapes):
            for mesh in write_meshes(shape, up, Path(folder), f"frame-{i:03d}"):
                if mesh.path.suffix == ".glb":
                    zipped.write(mesh.path, mesh.path.name)
    caption = f"From one shape to another ({way}): the surface of each of {len(shapes)} frames."
    return Artefact(path, "application/zip", caption)
