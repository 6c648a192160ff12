"""The `nerf` modality: scenes seen from many views, as neural radiance fields.

What draws, writes or reads meshes is imported where it is used: matplotlib and trimesh take a
second each to import, and most commands need neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import attrs
import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor
from torch.nn.utils.rnn import pad_sequence

from functa_core import (
    Artefact,
    Baseline,
    Box,
    Dataset,
    Field,
    Mask,
    Modality,
    Observations,
    Published,
    Spec,
    Split,
    State,
    UserError,
)
from functa_nerf.baselines import mean_view, nearest_scene
from functa_nerf.benchmarks import BENCHMARKS
from functa_nerf.cameras import Lens, Orbit, orbit_of
from functa_nerf.checks import check_poses
from functa_nerf.config import NerfConfig
from functa_nerf.embedded import embedded
from functa_nerf.inspection import describe
from functa_nerf.masks import masks
from functa_nerf.planes import Undetermined, depth_range, furthest_coordinate, range_notes
from functa_nerf.published import recognise
from functa_nerf.reading import SceneReader, Wanted, background_notes
from functa_nerf.rendering import Rendering, depths, render_rays
from functa_nerf.resizing import Size, resampling
from functa_nerf.sampling import choose, observe
from functa_nerf.scenes import Scene
from functa_nerf.views import Turntable, View

FIGURE_SCENES, FIGURE_VIEWS = 4, 2


class Nerf(Modality[Scene]):
    """Scenes as radiance fields: colour and density at a point, integrated along rays.

    A query is a ray (6,): origin and direction, the direction's length being 1 along the camera's
    axis. A value is the colour (3) seen along it, in [0, 1]. A group is a view.
    """

    name = "nerf"
    api_version = 1
    Config = NerfConfig
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "model": {"latent_dim": 64, "width": 64, "depth": 4, "w0": 15.0},
        # An observation is `points_per_ray` points, so fewer of them fit into memory at once.
        "meta": {
            "steps": 450,
            "batch_size": 8,
            "lr": 1.2e-3,
            "lr_final": 0.02,
            "encode_batch": 8,
            "chunk": 256,
        },
        "tasks": {
            # A step of a fit renders thousands of rays.
            "impute": {"signals": 4, "steps": 10},
            # A sample is rendered from all sides, twice.
            "generate": {"samples": 4, "feature_resolution": 8},
        },
    }
    tasks = ("views", "generate", "impute", "interpolate")
    benchmarks = BENCHMARKS
    config: NerfConfig

    @classmethod
    def from_published(cls, config: Mapping[str, Any]) -> Published | None:
        """Recognise published weights of scenes. Raises `UserError` for impossible views."""
        return recognise(config)

    @property
    def spec(self) -> Spec:
        """A box that holds every point of every training ray; red, green, blue and density.

        Raises `UserError` where near and far are needed and the cameras did not say them: not
        earlier, so that such cameras can be inspected.
        """
        if self.state["near"] is None:
            raise UserError(self.state["undetermined"])
        bound = float(self.state["bound"])
        return Spec(Box((-bound,) * 3, (bound,) * 3), channels=4)

    def dataset(self, split: Split) -> Dataset[Scene]:
        """Scenes from files in any of the layouts, or the embedded furniture.

        Views are resampled to the prepared size where there is one. Raises `UserError` for
        whatever is wrong with the files, and for test scenes of a single view, which have none to
        hold out.
        """
        if self.source.path is None:
            scenes = self._embedded(split)
        else:
            scenes = self._reader.dataset(split, self.source)
        for scene in scenes if split == "test" else ():
            if scene.views < 2:
                raise UserError(
                    f"test scene '{scene.id}' has one view: it takes one to fit and one to score. "
                    "Give it more views, or leave it out."
                )
        return attrs.evolve(scenes, notes=[*scenes.notes, *self._camera_notes(scenes)])

    def prepare(self, train: Dataset[Scene]) -> State:
        """The cameras of the training data: lens, depths, an orbit like them, and a bound."""
        lens = train[0].lens
        poses = torch.cat([scene.poses for scene in train])
        state = {
            "label_names": list(train.label_names),
            "lens": attrs.asdict(lens),
            "orbit": attrs.asdict(orbit_of(poses)),
        }
        try:
            planes = depth_range(train, self.config.near, self.config.far)
        except Undetermined as error:
            return {**state, "near": None, "far": None, "undetermined": str(error)}
        bound = math.ceil(furthest_coordinate(train, planes) * 1000) / 1000
        return {**state, "near": planes[0], "far": planes[1], "bound": bound}

    def observations(
        self, signals: Sequence[Scene], generator: Generator | None = None
    ) -> Observations:
        """Rays and their colours: `rays` of each of `views` random views, or all there are.

        Queries are shared by scenes that have the same cameras. Raises `UserError` for a scene
        whose views have not the prepared size.
        """
        lens = self._lens
        for scene in signals:
            if (scene.lens.height, scene.lens.width) != (lens.height, lens.width):
                raise UserError(
                    f"scene '{scene.id}' has views of {scene.lens.height}x{scene.lens.width} "
                    f"pixels, this run is for {lens.height}x{lens.width}; resize them first."
                )
        choices = choose(signals, self.config.views, self.config.rays, generator)
        return observe(signals, choices)

    def forward(
        self,
        field: Field,
        queries: Float[Tensor, "*B N 6"],
        generator: Generator | None = None,
    ) -> Float[Tensor, "B N 3"]:
        """Colours along rays by volume rendering (NeRF, eq. 3).

        A generator moves the points along the rays if `coord_noise` is on; shared rays share them.
        """
        noise = generator if self.config.coord_noise else None
        return self._render(field, queries, noise).colour

    def fitted(self, observations: Observations) -> Bool[Tensor, "B N"] | None:
        """`fit_rays` rays, as many in each view that the fit sees, the same ones in every scene."""
        count = self._lens.height * self._lens.width
        most = self.config.fit_rays
        if most is None or most >= observations.count:
            return None
        places = torch.randperm(count, generator=Generator().manual_seed(0))
        rank = places.repeat(observations.count // count).to(observations.weights.device)
        seen = (
            (observations.weights > 0).reshape(len(observations), -1, count).any(dim=2).sum(dim=1)
        )
        return rank < torch.ceil(most / seen.clamp_min(1))[:, None]

    def held_out(self, signals: Sequence[Scene], observations: Observations) -> Bool[Tensor, "B N"]:
        """The views that the data keeps for testing, else every n-th (see `Scene.hidden`)."""
        groups = observations.groups
        if groups is None:
            raise ValueError("observations without groups were not made by this modality")
        hidden = [scene.hidden(self.config.held_out_every) for scene in signals]
        table = pad_sequence(hidden, batch_first=True).to(groups.device)
        return table.gather(1, groups.clamp_min(0)) & (groups >= 0)  # padding is group −1

    def masks(self) -> Sequence[Mask]:
        """Half of each view, or its middle, hidden."""
        return masks(self._lens)

    def baselines(self, train: Dataset[Scene]) -> Mapping[str, Baseline]:
        """The mean view, and the training scene that fits best from the nearest pose."""
        return {"mean": mean_view(train), "nearest": nearest_scene(train)}

    def decode(self, field: Field, resolution: int | None = None) -> Float[Tensor, "B V r r 3"]:
        """Views of one turn around each scene, as square images of `resolution` pixels.

        Memory holds the result, and beside it no more than one view takes.
        """
        table = self._turntable
        side = resolution or table.native_side
        views = torch.empty(len(field), table.count, side, side, 3)
        for i, scene in enumerate(views):
            for kept, view in zip(scene, table.turn(field[i : i + 1], side), strict=True):
                kept[:] = view.colour
        return views

    def render(
        self, field: Field, out: Path, names: Sequence[str], resolution: int | None = None
    ) -> list[Artefact]:
        """For each latent the kinds of files that `outputs` names, one latent after the other."""
        from functa_nerf.outputs import Outputs

        outputs = Outputs(self._turntable, self.config, out)
        scenes = [outputs.scene(field[i : i + 1], n, resolution) for i, n in enumerate(names)]
        return [artefact for scene in scenes for artefact in scene]

    def figures(
        self, signals: Sequence[Scene], fields: Sequence[Field], out: Path
    ) -> list[Artefact]:
        """Held-out views beside their renderings, the way there, turns and surfaces."""
        from functa_nerf.outputs import Outputs
        from functa_nerf.pictures import write_views

        shown = list(signals[:FIGURE_SCENES])
        rows = [
            (scene.id, self._held_out_views(fields[-1][i : i + 1], scene, FIGURE_VIEWS))
            for i, scene in enumerate(shown)
        ]
        labelled = {f"{i} steps": field for i, field in enumerate(fields)}
        table = self._turntable
        outputs = Outputs(table, self.config, out)
        scenes = [fields[-1][i : i + 1] for i in range(len(shown))]
        turns = [table.turn(scene, table.native_side) for scene in scenes]
        written = [
            write_views(rows, (table.near, table.far), out / "views.png"),
            self._write_fits(
                shown, labelled, out / "steps.png", "A held-out view after 0, 1, … inner steps."
            ),
            # A report needs one animation: of two the video, which is much smaller.
            *outputs.together(turns, "orbits")[-1:],
        ]
        for i, scene in enumerate(scenes if "glb" in self.config.outputs else ()):
            written += outputs.mesh(scene, f"surface-{i}", shown[i].id)
        return written

    def compare(
        self, signals: Sequence[Scene], fields: Mapping[str, Field], out: Path
    ) -> list[Artefact]:
        """One held-out view of each scene, and what each field makes of it."""
        caption = f"A held-out view of test scenes: as it is, and from {', '.join(fields)}."
        return [self._write_fits(signals, fields, out / "compared.png", caption)]

    def compare_masked(
        self,
        signals: Sequence[Scene],
        visible: Sequence[Bool[Tensor, " _n"]],
        fields: Mapping[str, Field],
        out: Path,
    ) -> list[Artefact]:
        """The first context view of each scene: what was observed of it, completions, the truth."""
        from functa_nerf.pictures import write_masked

        rows = []
        for i, (scene, seen) in enumerate(zip(signals, visible, strict=True)):
            place = int((~scene.hidden(self.config.held_out_every)).nonzero()[0])
            size = scene.lens.height, scene.lens.width
            shown = seen[: scene.views * size[0] * size[1]].reshape(scene.views, *size)[place]
            fits = {
                label: self._turntable.look(field[i : i + 1], scene.poses[place], scene.lens).colour
                for label, field in fields.items()
            }
            rows.append((scene.id, scene.images[place].float() / 255, shown, fits))
        return [write_masked(rows, out / "imputed.png")]

    def animate(self, fields: Mapping[str, Field], out: Path) -> list[Artefact]:
        """A GIF of all ways side by side, there and back, seen from one camera."""
        from functa_nerf.pictures import write_ways

        table = self._turntable
        lens = table.lens.fitted(table.native_side)
        frames = [
            [table.look(field[i : i + 1], table.poses[0], lens).colour for field in fields.values()]
            for i in range(len(next(iter(fields.values()))))
        ]
        path = out / "animation.gif"
        write_ways(frames, path)
        caption = f"From one scene to another, from one camera; {', '.join(fields)} side by side."
        return [Artefact(path, "image/gif", caption)]

    def gallery(self, fields: Mapping[str, Field], out: Path) -> list[Artefact]:
        """A PNG with a column of scenes for each set, all seen by the first camera of the turn."""
        from functa_nerf.pictures import write_gallery

        table = self._turntable
        lens = table.lens.fitted(table.native_side)
        views = {
            name: [
                table.look(field[i : i + 1], table.poses[0], lens).colour for i in range(len(field))
            ]
            for name, field in fields.items()
        }
        return [write_gallery(views, out / "gallery.png")]

    def describe(self, signals: Dataset[Scene]) -> Mapping[str, str]:
        """Views, lens and cameras of the data."""
        return describe(signals, self.config, *self._planes) if len(signals) else {}

    def preview(self, signals: Dataset[Scene], out: Path) -> list[Artefact]:
        """Where the cameras of the first scene stand, where they look and what they see."""
        from functa_nerf.camera_picture import write_cameras

        path = out / "cameras.png"
        return [write_cameras(signals[0], self._planes, self.config.held_out_every, path)]

    def _camera_notes(self, scenes: Dataset[Scene]) -> list[str]:
        """What looks wrong with the cameras of the user's own scenes."""
        poses = [] if self.source.path is None else check_poses(scenes)
        return [*poses, *range_notes(scenes, *self._planes)]

    @property
    def _planes(self) -> tuple[float | None, float | None]:
        """Near and far: prepared, or as far as they are configured."""
        known = attrs.asdict(self.config) if self._state is None else self._state
        return known["near"], known["far"]

    @property
    def _lens(self) -> Lens:
        return Lens(**self.state["lens"])

    @property
    def _size(self) -> Size:
        """What all views are brought to; None as long as the data says."""
        if self._state is not None:
            return self._lens.height, self._lens.width
        return self.config.resolution

    @cached_property
    def _reader(self) -> SceneReader:
        from functa_nerf.layouts import find_layout, scene_files
        from functa_nerf.meshes import MeshOptions

        assert self.source.path is not None
        config, files = self.config, scene_files(self.source.path)
        skip_bad = self.source.skip_bad
        wanted = Wanted(self._size, config.max_views, config.white_background, skip_bad)
        options = MeshOptions(config.mesh_views, config.mesh_up, config.mesh_labels)
        return SceneReader(
            layout=find_layout(files, wanted, options),
            root=str(files.root),
            white=config.white_background,
            held_out_every=config.held_out_every,
            skip_bad=skip_bad,
            label_names=() if self._state is None else self.state["label_names"],
        )

    def _embedded(self, split: Split) -> Dataset[Scene]:
        scenes = embedded(split, self.source)
        kept = [self._fitted(scene) for scene in scenes]
        notes = list(background_notes(kept, self.config.white_background))
        return attrs.evolve(scenes, load=kept.__getitem__, notes=notes)

    def _fitted(self, scene: Scene) -> Scene:
        """An embedded scene with the options applied that a reader applies to files."""
        few = scene.thinned(self.config.max_views)
        lens = few.lens
        to = resampling(lens.height, lens.width, self._size, f"scene '{scene.id}'")
        return few.resized(to.height, to.width)

    def _render(
        self, field: Field, queries: Float[Tensor, "*B N 6"], noise: Generator | None = None
    ) -> Rendering:
        z = depths(
            float(self.state["near"]),
            float(self.state["far"]),
            self.config.points_per_ray,
            queries.shape[:-1],
            noise,
        )
        return render_rays(field, queries, z, self.config.white_background)

    @property
    def _turntable(self) -> Turntable:
        return Turntable(
            render=self._render,
            points=self.config.points_per_ray,
            lens=self._lens,
            orbit=Orbit(**self.state["orbit"]),
            count=self.config.orbit_views,
            near=float(self.state["near"]),
            far=float(self.state["far"]),
        )

    def _held_out_views(
        self, field: Field, scene: Scene, most: int = 1
    ) -> list[tuple[Tensor, View]]:
        """Targets and renderings of the first few views that an evaluation holds out."""
        chosen = scene.hidden(self.config.held_out_every).nonzero()[:most, 0]
        look = self._turntable.look
        return [
            (scene.images[i].float() / 255, look(field, scene.poses[i], scene.lens)) for i in chosen
        ]

    def _write_fits(
        self, scenes: Sequence[Scene], fields: Mapping[str, Field], path: Path, caption: str
    ) -> Artefact:
        """The first held-out view of each scene beside the fields' renderings of it."""
        from functa_nerf.pictures import write_fits

        rows = []
        for i, scene in enumerate(scenes):
            views = {
                label: self._held_out_views(field[i : i + 1], scene)[0]
                for label, field in fields.items()
            }
            target = next(iter(views.values()))[0]
            rows.append((scene.id, target, {label: v.colour for label, (_, v) in views.items()}))
        return write_fits(rows, path, caption)
