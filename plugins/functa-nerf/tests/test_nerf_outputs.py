import logging
import weakref
from typing import Any

import attrs
import imageio.v2 as imageio
import numpy as np
import pytest
import torch
import trimesh
from nerf_helpers import Balls
from PIL import Image, ImageSequence

from functa_nerf.animations import Gif, Mp4, watchable
from functa_nerf.config import NerfConfig
from functa_nerf.modality import Nerf
from functa_nerf.outputs import Outputs
from functa_nerf.pictures import to_bytes
from functa_nerf.views import Turntable

BALL = Balls([[0.2, 0.2, 0.0]], radius=0.2)
EVERYTHING = {
    "ball.gif": "image/gif",
    "ball.mp4": "video/mp4",
    "ball.png": "image/png",
    "ball-depth.png": "image/png",
    "ball-depth.npz": "application/zip",
    "ball.glb": "model/gltf-binary",
}


def with_options(nerf, **options):
    return Nerf(attrs.evolve(nerf.config, **options), nerf.source, nerf.state)


@pytest.fixture(scope="module")
def written(nerf, tmp_path_factory):
    """Everything of one ball, at 24 pixels."""
    out = tmp_path_factory.mktemp("ball")
    return out, nerf.render(BALL, out, ["ball"], resolution=24)


@pytest.fixture(scope="module")
def frames(nerf):
    """The same turn, as bytes."""
    return to_bytes(nerf.decode(BALL, 24)[0])


def read_movie(path) -> tuple[dict[str, Any], np.ndarray]:
    """What an animation says of itself, and its frames."""
    with imageio.get_reader(path) as reader:
        movie: Any = reader
        return movie.get_meta_data(), np.stack([*iter(movie)])


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


def test_everything_is_written_and_announced(written):
    out, artefacts = written
    assert {a.path.name: a.media_type for a in artefacts} == EVERYTHING
    assert {path.name for path in out.iterdir()} == set(EVERYTHING)


def test_the_gif_repeats_for_ever_and_shows_the_turn(written, frames):
    with Image.open(written[0] / "ball.gif") as gif:
        assert (gif.size, gif.info["loop"], gif.info["duration"]) == ((144, 144), 0, 80)
        shown = np.stack([np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(gif)])
    assert shown.shape[0] == 24
    assert psnr(shown[:, 3::6, 3::6], frames) > 35


def test_the_mp4_is_h264_that_everything_plays(written, frames):
    path = written[0] / "ball.mp4"
    about, shown = read_movie(path)
    assert about["codec"] == "h264"
    assert about["pix_fmt"].startswith("yuv420p")
    assert about["fps"] == 12.5
    assert shown.shape == (24, 144, 144, 3)
    assert psnr(shown[:, 3::6, 3::6], frames) > 30
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "it plays before it has all arrived"


def test_odd_sizes_become_even_in_a_video_alone(tmp_path):
    frame = np.full((131, 133, 3), 90, np.uint8)
    for writer, size in ((Mp4, (132, 134)), (Gif, (131, 133))):
        path = tmp_path / f"odd.{writer.__name__.lower()}"
        movie = writer(path)
        movie.add(frame)
        movie.close()
        assert read_movie(path)[1].shape[1:3] == size


@pytest.mark.parametrize(
    ("side", "large"), [(1, 128), (32, 128), (50, 150), (128, 128), (300, 300)]
)
def test_small_frames_are_enlarged_by_whole_factors(side, large):
    frame = np.arange(side * side * 3, dtype=np.uint8).reshape(side, side, 3)
    shown = watchable(frame)
    assert shown.shape == (large, large, 3)
    factor = large // side
    np.testing.assert_array_equal(shown[factor - 1 :: factor, ::factor], frame)


def test_strips_are_of_the_size_that_was_asked_for(written, frames):
    strip = np.asarray(Image.open(written[0] / "ball.png"))
    np.testing.assert_array_equal(strip, np.concatenate(frames[::4], axis=1))
    depth = np.asarray(Image.open(written[0] / "ball-depth.png"))
    assert depth.shape == strip.shape
    np.testing.assert_array_equal((depth < 255).any(-1), (strip < 255).any(-1))


def test_depths_are_numbers_with_cameras(nerf, written):
    with np.load(written[0] / "ball-depth.npz") as stored:
        depth, opacity, poses, lens = (
            stored[k] for k in ("depth", "opacity", "poses", "intrinsics")
        )
    assert depth.shape == opacity.shape == (24, 24, 24)
    assert depth.dtype == opacity.dtype == np.float32
    centre = BALL.centres[0, 0].numpy()
    for i, pose in enumerate(poses):
        row, column = np.argwhere(opacity[i] > 0.9).T
        local = np.stack([column + 0.5, row + 0.5, np.ones(len(row))]) * depth[i, row, column]
        x, y, z = np.linalg.inv(lens) @ local
        points = pose[:3, :3] @ np.stack([x, -y, -z]) + pose[:3, 3:]
        assert len(row) > 10
        assert (np.linalg.norm(points.T - centre, axis=1) < BALL.radius + 0.02).all()


def test_the_mesh_is_where_the_ball_is(written):
    mesh = trimesh.load_scene(written[0] / "ball.glb").to_mesh()
    assert mesh.is_watertight
    np.testing.assert_allclose(mesh.center_mass, [0.2, 0.0, -0.2], atol=0.01)
    assert mesh.volume == pytest.approx(BALL.radius**3 * 4 / 3 * np.pi, rel=0.05)


@pytest.mark.parametrize("outputs", [(), ("png",), ("mp4", "glb"), ("depth",)])
def test_only_what_is_wanted_is_written(nerf, tmp_path, outputs):
    wanted = with_options(nerf, outputs=outputs, orbit_views=2)
    written = wanted.render(BALL, tmp_path, ["ball"], resolution=8)
    ends = {"depth": ("-depth.png", "-depth.npz")}
    names = {f"ball{end}" for kind in outputs for end in ends.get(kind, (f".{kind}",))}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert {a.path.name for a in written} == names


def test_views_are_dropped_once_they_are_written(nerf, tmp_path):
    """Memory does not grow with the views of a turn."""
    table = nerf._turntable
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    class Watched(Turntable):
        def turn(self, field, side):
            nonlocal most
            for view in super().turn(field, side):
                alive.extend(weakref.ref(part) for part in view)
                most = max(most, sum(ref() is not None for ref in alive))
                yield view

    watched = Watched(**attrs.asdict(table, recurse=False))
    wanted = attrs.evolve(nerf.config, outputs=("gif", "mp4", "png", "depth"))
    Outputs(watched, wanted, tmp_path).scene(BALL, "ball", 8)
    assert len(alive) == 3 * 24
    assert most <= 2 * 3


def test_resolution_makes_the_mesh_finer_too(nerf, tmp_path):
    few = with_options(nerf, outputs=("glb",), surface_resolution=16)
    faces = []
    for resolution in (None, 8, 32):
        (mesh,) = few.render(BALL, tmp_path, [f"ball-{resolution}"], resolution)
        faces.append(len(trimesh.load_scene(mesh.path).to_mesh().faces))
    assert faces[0] == faces[1]
    assert faces[2] == pytest.approx(4 * faces[0], rel=0.2)


def test_a_scene_of_nothing_has_pictures_but_no_mesh(nerf, tmp_path, caplog):
    nothing = Balls([[9.0, 9.0, 9.0]])
    with caplog.at_level(logging.WARNING):
        written = nerf.render(nothing, tmp_path, ["ball"], resolution=8)
    assert {a.path.name for a in written} == set(EVERYTHING) - {"ball.glb"}
    assert "ball: no mesh" in caplog.text
    fixed = with_options(nerf, outputs=("glb",), surface_density=4.0)
    assert fixed.render(nothing, tmp_path, ["ball"]) == []


def test_a_fixed_density_is_used(nerf, tmp_path):
    fixed = with_options(nerf, outputs=("glb",), surface_density=4.0)
    (mesh,) = fixed.render(BALL, tmp_path, ["ball"])
    assert "density 4," in mesh.caption


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (None, ["views.png", "steps.png", "orbits.mp4", "surface-0.glb", "surface-1.glb"]),
        (("gif",), ["views.png", "steps.png", "orbits.gif"]),
        ((), ["views.png", "steps.png"]),
    ],
)
def test_figures_show_held_out_views_turns_and_surfaces(nerf, tmp_path, outputs, expected):
    chosen = nerf if outputs is None else with_options(nerf, outputs=outputs)
    signals = list(nerf.dataset("test")[:2])
    fields = [Balls([[0.2, 0.1, 0.0]] * 2, radius=r) for r in (0.1, 0.2)]
    written = chosen.figures(signals, fields, tmp_path)
    assert [a.path.name for a in written] == expected
    assert all(a.path.stat().st_size > 1000 for a in written)
    if outputs is None:
        assert signals[1].id in written[-1].caption
        with Image.open(tmp_path / "orbits.gif") as gif:
            assert gif.size == (256, 128)


def test_figures_draw_no_scene_that_is_not_shown(nerf, tmp_path):
    signals = list(nerf.dataset("test")[:6])

    class Watched(Balls):
        def __getitem__(self, chosen):
            assert chosen.start < 4
            assert chosen.stop == chosen.start + 1
            return super().__getitem__(chosen)

        def __call__(self, coords):
            raise AssertionError("all scenes at once")

    cheap = with_options(nerf, outputs=())
    cheap.figures(signals, [Watched([[0.0, 0.0, 0.0]] * 6)], tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"outputs": ("png", "obj")}, {"surface_density": 0.0}, {"surface_resolution": 1}]
)
def test_options_of_outputs_are_checked(wrong):
    with pytest.raises(ValueError, match="must be"):
        NerfConfig(**wrong)


def test_depth_of_half_transparent_things_is_not_halved(nerf):
    table = with_options(nerf, points_per_ray=200)._turntable
    thin = next(iter(table.turn(Balls([[0.0, 0.0, 0.0]], radius=0.03), 65)))
    middle = torch.tensor(table.orbit.radius)
    seen = thin.opacity > 0.05
    assert seen.any()
    assert (thin.opacity[seen] < 0.95).all()
    torch.testing.assert_close(thin.depth[seen], middle.expand(int(seen.sum())), atol=0.08, rtol=0)
