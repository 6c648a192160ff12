"""What is written of a scene: animations, strips of views, depths as numbers, a mesh."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Protocol

import attrs
import numpy as np

from functa_core import Artefact, Field
from functa_nerf.animations import Frames, Gif, Mp4
from functa_nerf.config import NerfConfig
from functa_nerf.depthmaps import DepthMaps
from functa_nerf.glb import write_glb
from functa_nerf.meshing import surface
from functa_nerf.outlines import outline_level, visible_ball
from functa_nerf.pictures import Strip, depth_picture, to_bytes
from functa_nerf.views import Turntable, View

log = logging.getLogger(__name__)

FINEST_SURFACE = 256
"""Most cells that `--resolution` gives a mesh: about 150,000 vertices, 7 MB. More shows nothing new
of networks of this kind and costs as the cube."""

MOVING: dict[str, tuple[Callable[[Path], Frames], str]] = {
    "gif": (Gif, "image/gif"),
    "mp4": (Mp4, "video/mp4"),
}
"""Kinds of animations: what writes them, and their media type."""


class Sink(Protocol):
    """Takes views."""

    def add(self, view: View) -> None:
        """The next view."""
        ...

    def close(self) -> None:
        """Nothing comes any more."""
        ...


@attrs.frozen(eq=False)
class Outputs:
    """Writes the kinds of files that `config.outputs` names.

    Attributes:
        table: how scenes are looked at.
        config: of the modality.
        out: an existing folder.
    """

    table: Turntable
    config: NerfConfig
    out: Path

    def scene(self, field: Field, name: str, resolution: int | None = None) -> list[Artefact]:
        """All files of a field of one latent.

        Args:
            field: of one latent.
            name: stem of the files.
            resolution: pixels a side of the views, and at least so many cells of the mesh's grid
                (up to `FINEST_SURFACE`); None for views of the native size.
        """
        side = resolution or self.table.native_side
        written = self._turn(self.table.turn(field, side), name, side)
        if "glb" in self.config.outputs:
            cells = max(self.config.surface_resolution, min(resolution or 0, FINEST_SURFACE))
            written += self.mesh(field, name, name, cells)
        return written

    def mesh(
        self, field: Field, name: str, title: str, resolution: int | None = None
    ) -> list[Artefact]:
        """The surface of a field of one latent as `name`.glb; nothing where there is none."""
        table, config = self.table, self.config
        seen = table.orbit, table.lens, table.near, table.far
        ball, level = visible_ball(*seen), config.surface_density
        if ball is not None and level is None:
            level = outline_level(field, ball, *seen)
        found = None
        if ball is not None and level is not None:
            cells = resolution or config.surface_resolution
            found = surface(field, ball, level, cells, config.white_background)
        if found is None:
            log.warning("%s: no mesh, its density encloses nothing that cameras see", title)
            return []
        path = self.out / f"{name}.glb"
        write_glb(found, table.orbit.up, path)
        faces = len(found.faces)
        caption = f"{title}: the surface of density {level:.3g}, {faces} faces with colours."
        return [Artefact(path, "model/gltf-binary", caption)]

    def together(self, turns: Sequence[Iterable[View]], name: str) -> list[Artefact]:
        """Turns of several scenes side by side, in the kinds of animations that are wanted."""
        caption = f"{len(turns)} test scenes, each rendered from its latent, once around."
        with ExitStack() as stack:
            movies, written = list[Frames](), list[Artefact]()
            for writer, path, media_type in self._moving(name):
                movies.append(stack.enter_context(closing(writer(path))))
                written.append(Artefact(path, media_type, caption))
            for views in zip(*turns, strict=True):
                frame = np.concatenate([to_bytes(view.colour) for view in views], axis=1)
                for movie in movies:
                    movie.add(frame)
        return written

    def _turn(self, views: Iterable[View], name: str, side: int) -> list[Artefact]:
        """The files made of views; each view is dropped once it is in all of them."""
        with ExitStack() as stack:
            sinks, written = list[Sink](), list[Artefact]()
            for sink, artefact in self._sinks(name, side):
                sinks.append(stack.enter_context(closing(sink)))
                written.append(artefact)
            for view in views if sinks else ():
                for sink in sinks:
                    sink.add(view)
        return written

    def _sinks(self, name: str, side: int) -> Iterator[tuple[Sink, Artefact]]:
        """What takes the views of one turn, and what it makes of them."""
        kinds, poses = self.config.outputs, self.table.poses
        for writer, path, media_type in self._moving(name):
            caption = f"{name}: one turn of the camera around it."
            yield _Pictures(writer(path), _colours), Artefact(path, media_type, caption)
        if "png" in kinds:
            path = self.out / f"{name}.png"
            caption = f"{name}: views on the way round."
            yield (
                _Pictures(Strip(path, len(poses)), _colours),
                Artefact(path, "image/png", caption),
            )
        if "depth" in kinds:
            between = self.table.near, self.table.far
            path = self.out / f"{name}-depth.png"
            caption = f"{name}: depth, dark is near, from {between[0]:g} to {between[1]:g}."
            depths = partial(depth_picture, between=between)
            yield (
                _Pictures(Strip(path, len(poses)), depths),
                Artefact(path, "image/png", caption),
            )
            path = self.out / f"{name}-depth.npz"
            caption = f"{name}: depth and opacity of every view, and its camera."
            yield (
                DepthMaps(path, poses, self.table.lens.fitted(side)),
                Artefact(path, "application/zip", caption),
            )

    def _moving(self, name: str) -> Iterator[tuple[Callable[[Path], Frames], Path, str]]:
        """Writer, path and media type of each kind of animation that is wanted."""
        for kind, (writer, media_type) in MOVING.items():
            if kind in self.config.outputs:
                yield writer, self.out / f"{name}.{kind}", media_type


@attrs.frozen(eq=False)
class _Pictures:
    """Hands views, as pictures, to something that takes frames."""

    frames: Frames
    picture: Callable[[View], np.ndarray]

    def add(self, view: View) -> None:
        self.frames.add(self.picture(view))

    def close(self) -> None:
        self.frames.close()


def _colours(view: View) -> np.ndarray:
    return to_bytes(view.colour)
