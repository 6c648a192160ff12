"""A picture of the cameras of a scene: do they surround the object, and look at it?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import Circle
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from functa_core import Artefact
from functa_nerf.cameras import Lens, orbit_of
from functa_nerf.scenes import Scene, spread
from functa_nerf.sight import SAME_PLACE, sight_of_scene

MOST_CAMERAS = 48
"""More than so many are thinned out evenly: they would hide each other."""
THUMBNAILS, THUMBNAIL_INCHES = 8, 0.62
FITTED, HIDDEN = "#1d4ed8", "#ea580c"
SAMPLED, AHEAD = "#7cc496", "#9ca3af"
TEXT, ALARM = "#111827", "#b91c1c"
WORLD = {"x": "#dc2626", "y": "#16a34a", "z": "#2563eb"}
FRUSTUM = 0.2
"""Length of a drawn frustum, as a share of the cameras' distance."""
AHEAD_LENGTH = 0.6
"""The same of a line that shows where a camera looks, where depths are not known."""

Polygons = Float[np.ndarray, "n p 3"]
Planes = tuple[float | None, float | None]


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

    def frusta(self, hidden: bool) -> Polygons:
        """Triangles from the fitted or the hidden cameras to the edges of what they see."""
        corners = self._corners()
        sides = [
            (np.zeros(3), one, other)
            for one, other in zip(corners, np.roll(corners, -1, axis=0), strict=True)
        ]
        return self._seen_by(self.poses[self.hidden == hidden], np.stack(sides))

    def roofs(self, hidden: bool) -> Polygons:
        """A triangle on the upper edge of each picture."""
        left, right, _, lower_left = self._corners()
        peak = (left + right) / 2 + 0.35 * (left - lower_left)
        return self._seen_by(self.poses[self.hidden == hidden], np.stack([[left, peak, right]]))

    def axes(self, near: float, far: float) -> Polygons:
        """The parts of the optical axes between two depths."""
        return self._seen_by(self.poses, np.array([[(0.0, 0.0, -near), (0.0, 0.0, -far)]]))

    def _corners(self) -> Float[np.ndarray, "4 3"]:
        """What a camera sees at a frustum's length: from the upper left corner clockwise."""
        lens = self.lens
        left, right = -lens.cx, lens.width - lens.cx
        top, bottom = lens.cy, lens.cy - lens.height
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        ahead = np.full((4, 1), -1.0)
        return np.hstack([corners / lens.focal, ahead]) * FRUSTUM * self.distance

    @staticmethod
    def _seen_by(poses: Float[np.ndarray, "V 4 4"], local: Float[np.ndarray, "e p 3"]) -> Polygons:
        """From the coordinates of each of V cameras to those of the drawing."""
        turned = np.einsum("vij,epj->vepi", poses[:, :3, :3], local)
        placed = turned + poses[:, None, None, :3, 3]
        return np.asarray(placed.reshape(-1, *local.shape[1:]))


def write_cameras(scene: Scene, planes: Planes, every: int, path: Path) -> Artefact:
    """The cameras of a scene from the side and from above, with some of what they see.

    Args:
        planes: near and far, where they are known.
        every: an evaluation hides every n-th view (see `Scene.hidden`).
        path: of the PNG.
    """
    fault = sight_of_scene(scene).fault
    stage = _stage(scene, every)
    if None in planes:  # room for where the cameras look, which may be outwards
        stage = attrs.evolve(stage, reach=stage.reach + 0.5 * AHEAD_LENGTH * stage.distance)
    figure = Figure(figsize=(10.4, 5.8), dpi=100)
    side: Any = figure.add_axes((0.0, 0.06, 0.48, 0.83), projection="3d")
    above = figure.add_axes((0.48, 0.06, 0.52, 0.83))
    _draw_side(side, stage, planes)
    _draw_above(above, stage, planes)
    _draw_thumbnails(above, stage, scene)
    title = f"{scene.id}, {scene.views} cameras" + (f": {fault}" if fault else "")
    figure.suptitle(title, color=ALARM if fault else TEXT, fontsize=13)
    circle = f"distance {stage.distance:.3g}"
    for x, text in (
        (0.24, "from the side"),
        (0.74, f"from above, with what some see (circle: {circle})"),
    ):
        figure.text(x, 0.9, text, ha="center", color=TEXT, fontsize=10)
    figure.legend(handles=_legend(stage, planes), loc="lower center", ncols=3, frameon=False)
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
    distance = float(np.median(distances))
    if distance <= SAME_PLACE * np.abs(positions).max():
        distance = 1.0  # all at one point: any size will do
    hidden = scene.hidden(every)[chosen].numpy()
    reach = max(float(distances.max()), distance)
    return _Stage(moved, scene.lens, hidden, frame.T, distance, reach)


def _frame(up: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """A rotation that brings `up` to the third axis; its rows are east, north and up."""
    axis = np.eye(3)[np.abs(up).argmin()]
    east = axis - (axis @ up) * up
    east /= np.linalg.norm(east)
    return np.stack([east, np.cross(up, east), up])


def _draw_side(axes: Axes3D, stage: _Stage, planes: Planes) -> None:
    """In three dimensions, from a little above the horizon."""
    for polygons, style in _shapes(stage, planes):
        axes.add_collection3d(Poly3DCollection(polygons, **style))
    for name, direction in zip(WORLD, stage.world, strict=True):
        end = direction * 0.4 * stage.distance
        axes.plot(*np.stack([np.zeros(3), end], axis=1), color=WORLD[name], linewidth=2)
        axes.text(*(end * 1.25), name, color=WORLD[name], fontsize=10, ha="center", va="center")
    limit = 0.8 * stage.reach
    middle = stage.poses[:, 2, 3].mean() / 2
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), zlim=(middle - limit, middle + limit))
    axes.set_box_aspect((1, 1, 1), zoom=1.35)
    axes.view_init(elev=22, azim=-60)
    axes.set_axis_off()


def _draw_above(axes: Axes, stage: _Stage, planes: Planes) -> None:
    """Along the up axis, on a plane, with a circle at the cameras' distance."""
    for polygons, style in _shapes(stage, planes):
        axes.add_collection(PolyCollection(list(polygons[..., :2]), **style))
    axes.add_patch(Circle((0, 0), stage.distance, fill=False, edgecolor="#d1d5db", linewidth=0.8))
    limit = 1.55 * stage.reach
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    axes.set_axis_off()


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


def _shapes(stage: _Stage, planes: Planes) -> Iterator[tuple[Polygons, dict[str, Any]]]:
    """What both drawings show, as polygons with their style."""
    near, far = planes
    if near is None or far is None:
        ahead = stage.axes(0.0, AHEAD_LENGTH * stage.distance)
        yield ahead, {"edgecolors": AHEAD, "facecolors": "none", "linewidths": 1.0}
    else:
        sampled = stage.axes(near, far)
        yield sampled, {"edgecolors": SAMPLED, "facecolors": "none", "linewidths": 1.4}
    for hidden, colour in ((False, FITTED), (True, HIDDEN)):
        yield (
            stage.frusta(hidden),
            {"edgecolors": colour, "facecolors": to_rgba(colour, 0.12), "linewidths": 0.9},
        )
        yield stage.roofs(hidden), {"edgecolors": colour, "facecolors": colour, "linewidths": 0.5}


def _legend(stage: _Stage, planes: Planes) -> list[Line2D]:
    """What the colours mean, for what is there."""
    words = [(FITTED, "camera whose view is fitted")]
    if stage.hidden.any():
        words.append((HIDDEN, "camera whose view a test hides and scores"))
    near, far = planes
    if near is None or far is None:
        words.append((AHEAD, "where a camera looks"))
    else:
        words.append((SAMPLED, f"sampled depths, {near:g} to {far:g}"))
    return [Line2D([], [], color=colour, label=text, linewidth=3) for colour, text in words]
