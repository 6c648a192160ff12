"""A picture of the cameras of a scene: do they surround the object, and look at it?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from functa_core import Artefact
from functa_nerf.cameras import Lens, orbit_of
from functa_nerf.scenes import Scene, spread
from functa_nerf.sight import sight_of_scene

MOST_CAMERAS = 48
"""More than so many are thinned out evenly: they would hide each other."""
THUMBNAILS, THUMBNAIL_INCHES = 8, 0.62
FITTED, HIDDEN, SAMPLED, UP = "#1d4ed8", "#ea580c", "#86c79b", "#111827"
WORLD = {"x": "#dc2626", "y": "#16a34a", "z": "#2563eb"}
FRUSTUM = 0.2
"""Length of a drawn frustum, as a share of the cameras' distance."""

Segments = Float[np.ndarray, "n 2 3"]


@attrs.frozen(eq=False)
class _Stage:
    """Cameras in the coordinates of the drawing: the target in the middle, up upwards.

    Attributes:
        poses: of V cameras.
        lens: what they have.
        hidden: the views that an evaluation hides.
        world: the directions of the data's x, y and z axes, as rows.
        distance: of the cameras from the middle, the median.
        reach: the furthest coordinate of a camera.
    """

    poses: Float[np.ndarray, "V 4 4"]
    lens: Lens
    hidden: Bool[np.ndarray, " V"]
    world: Float[np.ndarray, "3 3"]
    distance: float
    reach: float

    def frusta(self, hidden: bool) -> Segments:
        """Edges of the pyramids that the fitted or the hidden cameras see, with a mark on top."""
        lens, length = self.lens, FRUSTUM * self.distance
        left, right = -lens.cx / lens.focal, (lens.width - lens.cx) / lens.focal
        top, bottom = lens.cy / lens.focal, (lens.cy - lens.height) / lens.focal
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        peak = ((left + right) / 2, top + 0.4 * (top - bottom))
        edges = [((0, 0, 0), (*c, -1)) for c in corners]
        edges += [((*a, -1), (*b, -1)) for a, b in zip(corners, corners[1:] + corners[:1])]
        edges += [((*corners[0], -1), (*peak, -1)), ((*peak, -1), (*corners[1], -1))]
        return self._seen_by(self.poses[self.hidden == hidden], np.array(edges) * length)

    def sampled(self, near: float, far: float) -> Segments:
        """The parts of the optical axes between two depths."""
        return self._seen_by(self.poses, np.array([[(0, 0, -near), (0, 0, -far)]], float))

    @staticmethod
    def _seen_by(poses: Float[np.ndarray, "V 4 4"], local: Float[np.ndarray, "e 2 3"]) -> Segments:
        """Segments in camera coordinates, e for each of V cameras, in those of the drawing."""
        turned = np.einsum("vij,epj->vepi", poses[:, :3, :3], local)
        return np.asarray((turned + poses[:, None, None, :3, 3]).reshape(-1, 2, 3))


def write_cameras(
    scene: Scene, planes: tuple[float | None, float | None], every: int, path: Path
) -> Artefact:
    """The cameras of a scene from the side and from above, with some of what they see.

    Args:
        planes: near and far, where they are known.
        every: an evaluation hides every n-th view (see `Scene.hidden`).
        path: of the PNG.
    """
    fault = sight_of_scene(scene).fault
    stage = _stage(scene, every)
    figure = Figure(figsize=(10.4, 5.6), dpi=100)
    side: Any = figure.add_axes((0.0, 0.06, 0.5, 0.86), projection="3d")
    above = figure.add_axes((0.5, 0.06, 0.5, 0.86))
    _draw_side(side, stage, planes)
    _draw_above(above, stage, planes)
    _draw_thumbnails(above, stage, scene)
    title = f"{scene.id}: {scene.views} cameras"
    figure.suptitle(f"{title}. {fault}".rstrip(". "), color="#b91c1c" if fault else UP, fontsize=12)
    figure.legend(handles=_legend(stage, planes), loc="lower center", ncols=5, frameon=False)
    figure.savefig(path)
    caption = (
        f"The cameras of scene '{scene.id}' from the side and from above. Each pyramid opens to "
        "where its camera looks, with a roof on the side that is up in its picture. "
        + (f"Look again: {fault}." if fault else "They are to surround the object and look at it.")
    )
    return Artefact(path, "image/png", caption)


def _stage(scene: Scene, every: int) -> _Stage:
    """The cameras that are drawn, in the coordinates of the drawing."""
    chosen = spread(scene.views, MOST_CAMERAS)
    poses = scene.poses[chosen].double().numpy()
    orbit = orbit_of(scene.poses)
    positions = poses[:, :3, 3]
    middle = np.array(orbit.target)
    extent = np.linalg.norm(positions - positions.mean(axis=0), axis=1).max()
    if np.linalg.norm(middle - positions.mean(axis=0)) > 5 * extent:
        middle = positions.mean(axis=0)  # axes that hardly meet put their target anywhere
    frame = _frame(np.array(orbit.up))
    moved = poses.copy()
    moved[:, :3, :3] = frame @ poses[:, :3, :3]
    moved[:, :3, 3] = (positions - middle) @ frame.T
    distances = np.linalg.norm(moved[:, :3, 3], axis=1)
    distance = float(np.median(distances)) or 1.0
    hidden = scene.hidden(every)[chosen].numpy()
    reach = max(float(distances.max()), distance * (1 + FRUSTUM))
    return _Stage(moved, scene.lens, hidden, frame.T, distance, reach)


def _frame(up: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """A rotation that brings `up` to the third axis; its rows are east, north and up."""
    axis = np.eye(3)[np.abs(up).argmin()]
    east = axis - (axis @ up) * up
    east /= np.linalg.norm(east)
    return np.stack([east, np.cross(up, east), up])


def _draw_side(axes: Axes3D, stage: _Stage, planes: tuple[float | None, float | None]) -> None:
    """In three dimensions, from a little above the horizon."""
    for segments, style in _lines(stage, planes):
        axes.add_collection3d(Line3DCollection(segments, **style))
    for name, direction in zip(WORLD, stage.world, strict=True):
        end = direction * 0.45 * stage.distance
        axes.plot(*np.stack([np.zeros(3), end], axis=1), color=WORLD[name], linewidth=1.6)
        axes.text(*(end * 1.18), name, color=WORLD[name], fontsize=9, ha="center", va="center")
    axes.scatter([0], [0], [0], color=UP, s=14)
    limit = 0.78 * stage.reach
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), zlim=(-limit, limit))
    axes.set_box_aspect((1, 1, 1))
    axes.view_init(elev=22, azim=-60)
    axes.set_axis_off()
    axes.set_title("from the side", fontsize=10, y=0.98)


def _draw_above(axes: Axes, stage: _Stage, planes: tuple[float | None, float | None]) -> None:
    """Along the up axis, on a plane."""
    for segments, style in _lines(stage, planes):
        axes.add_collection(LineCollection(segments[..., :2], **style))
    axes.plot(0, 0, marker="o", markersize=4, color=UP)
    ring = np.linspace(0, 2 * math.pi, 100)
    axes.plot(stage.distance * np.cos(ring), stage.distance * np.sin(ring), color="#d1d5db", lw=0.8)
    axes.annotate(f"{stage.distance:.3g}", (0, -stage.distance), fontsize=8, color="#6b7280")
    limit = 1.55 * stage.reach
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    axes.set_axis_off()
    axes.set_title("from above, with what some of them see", fontsize=10, y=0.98)


def _draw_thumbnails(axes: Axes, stage: _Stage, scene: Scene) -> None:
    """Some views around the plan, each in the direction of its camera."""
    chosen = spread(scene.views, MOST_CAMERAS)
    angles = np.arctan2(stage.poses[:, 1, 3], stage.poses[:, 0, 3])
    for slot in np.arange(THUMBNAILS) * 2 * math.pi / THUMBNAILS - math.pi:
        away = np.abs(np.angle(np.exp(1j * (angles - slot))))
        camera = int(away.argmin())
        if away[camera] > math.pi / THUMBNAILS:
            continue
        view = scene.images[chosen[camera]].numpy()
        zoom = THUMBNAIL_INCHES * 72 / max(view.shape[:2])
        place = 1.33 * stage.reach * np.array([math.cos(slot), math.sin(slot)])
        axes.add_artist(
            AnnotationBbox(
                OffsetImage(view, zoom=zoom, interpolation="nearest"),
                xy=tuple(stage.poses[camera, :2, 3]),
                xybox=tuple(place),
                pad=0.1,
                bboxprops={"edgecolor": HIDDEN if stage.hidden[camera] else FITTED},
                arrowprops={"arrowstyle": "-", "color": "#9ca3af", "linewidth": 0.7},
            )
        )


def _lines(
    stage: _Stage, planes: tuple[float | None, float | None]
) -> Iterator[tuple[Segments, dict[str, Any]]]:
    """What both drawings show, as segments with their style."""
    near, far = planes
    if near is not None and far is not None:
        yield stage.sampled(near, far), {"colors": SAMPLED, "linewidths": 1.2, "alpha": 0.8}
    yield stage.frusta(hidden=False), {"colors": FITTED, "linewidths": 1.0}
    yield stage.frusta(hidden=True), {"colors": HIDDEN, "linewidths": 1.2}


def _legend(stage: _Stage, planes: tuple[float | None, float | None]) -> list[Line2D]:
    """What the colours mean, for what is there."""
    words = [(FITTED, "camera whose view is fitted")]
    if stage.hidden.any():
        words.append((HIDDEN, "camera whose view a test hides and scores"))
    near, far = planes
    if near is not None and far is not None:
        words.append((SAMPLED, f"sampled depths, {near:g} to {far:g}"))
    return [Line2D([], [], color=colour, label=text, linewidth=2) for colour, text in words]
