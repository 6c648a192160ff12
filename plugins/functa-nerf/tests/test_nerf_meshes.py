import json
import os
import shutil
import struct
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from functa_core import DataSource, Files, UserError
from functa_nerf import meshes
from functa_nerf.config import NerfConfig
from functa_nerf.mesh_files import Companions, named_by, read_surface
from functa_nerf.modality import Nerf
from functa_nerf.photography import photograph, rig, square_lens
from functa_nerf.surfaces import plain, sampled

COLOURS: dict[tuple[int, ...], tuple[int, int, int]] = {
    (1, 0, 0): (230, 30, 30),
    (-1, 0, 0): (30, 200, 60),
    (0, 1, 0): (40, 60, 220),
    (0, -1, 0): (220, 210, 40),
    (0, 0, 1): (200, 40, 200),
    (0, 0, -1): (40, 200, 210),
}
"""Of a cube's sides, by the direction that they face."""


def read(path, split="all", skip_bad=False, **options):
    options = {"mesh_views": 6, "resolution": 24, "mesh_up": "z", **options}
    return Nerf(NerfConfig(**options), DataSource(path, skip_bad=skip_bad)).dataset(split)


def side_colours(mesh):
    sides = [tuple(int(v) for v in normal.round()) for normal in mesh.face_normals]
    return np.array([(*COLOURS[side], 255) for side in sides], np.uint8)


def painted_cube():
    """A cube with a colour for each side."""
    mesh = trimesh.creation.box()
    mesh.visual = trimesh.visual.ColorVisuals(mesh, face_colors=side_colours(mesh))
    return mesh


def split_cube():
    """The same with four corners for each side, coloured at the corners."""
    mesh = trimesh.creation.box()
    split = trimesh.Trimesh(
        mesh.triangles.reshape(-1, 3), np.arange(36).reshape(-1, 3), process=False
    )
    colours = np.repeat(side_colours(mesh), 3, axis=0)
    split.visual = trimesh.visual.ColorVisuals(split, vertex_colors=colours)
    return split


def textured_cube(folder):
    """OBJ, MTL and a texture of six tiles, one for each side of the cube."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "maps").mkdir()
    tiles = np.repeat(np.array([list(COLOURS.values())], np.uint8), 8, axis=0)
    Image.fromarray(tiles.repeat(8, axis=1)).save(folder / "maps/tiles.png")
    (folder / "cube.mtl").write_text("newmtl paint\nKd 0.1 0.1 0.1\nmap_Kd maps\\tiles.png\n")
    mesh = trimesh.creation.box()
    lines = ["mtllib cube.mtl", "usemtl paint"]
    lines += [f"v {x} {y} {z}" for x, y, z in mesh.vertices]
    lines += [f"vt {(i + 0.5) / 6} 0.5" for i in range(6)]
    for face, normal in zip(mesh.faces + 1, mesh.face_normals, strict=True):
        side = list(COLOURS).index(tuple(int(v) for v in normal.round())) + 1
        lines.append("f " + " ".join(f"{corner}/{side}" for corner in face))
    (folder / "cube.obj").write_text("\n".join(lines))
    return folder


def export(mesh, path):
    mesh.export(path)
    return path.parent


def assert_sides_have_their_colours(scene):
    """Where a ray meets a side is found by arithmetic; the colour there may only be dimmed."""
    half = 0.5 / np.sqrt(3)
    checked = 0
    for view, pose in zip(scene.images.numpy(), scene.poses.double().numpy(), strict=True):
        for side, colour in COLOURS.items():
            centre = np.array([*(half * np.array(side)), 1.0])
            if np.dot(pose[:3, 3] - centre[:3], side) < 0.2:  # seen from behind, or edge on
                continue
            x, y, z, _ = np.linalg.inv(pose) @ centre
            row = int(scene.lens.cy - scene.lens.focal * y / -z)
            column = int(scene.lens.cx + scene.lens.focal * x / -z)
            shades = view[row, column] / np.array(colour)
            assert np.ptp(shades) < 0.05, (side, view[row, column], colour)
            assert 0.45 < shades.mean() < 1.01
            checked += 1
    assert checked > len(scene.images)


MAKERS = {
    "obj with texture": textured_cube,
    "ply with corner colours": lambda f: export(split_cube(), f / "cube.ply"),
    "ply with face colours": lambda f: export(painted_cube(), f / "cube.ply"),
    "glb": lambda f: export(split_cube(), f / "cube.glb"),
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_each_side_is_seen_in_its_colour(tmp_path, kind, zipped):
    (tmp_path / "data").mkdir()
    MAKERS[kind](tmp_path / "data")
    data = tmp_path / "data"
    if zipped:
        data = shutil.make_archive(str(tmp_path / "packed"), "zip", data)
    (scene,) = read(tmp_path / data)
    assert scene.id == "cube"
    assert scene.images.shape == (6, 24, 24, 3)
    assert_sides_have_their_colours(scene)


@pytest.mark.parametrize("kind", ["stl", "off"])
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_what_has_no_colours_is_grey(tmp_path, kind, zipped):
    data = export(trimesh.creation.box(), tmp_path / f"cube.{kind}")
    if zipped:
        with zipfile.ZipFile(tmp_path / "packed.zip", "w") as file:
            file.write(tmp_path / f"cube.{kind}", f"cube.{kind}")
        data = tmp_path / "packed.zip"
    (scene,) = read(data)
    assert (scene.images.amax(dim=-1) == scene.images.amin(dim=-1)).all()
    assert (scene.images < 200).any()


def test_materials_keep_their_colours_and_scenes_their_places(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\n")
    left = [(-1, 0, 0), (0, 0, 0), (-0.5, 0, 1)]
    right = [(0, 0, 0), (1, 0, 0), (0.5, 0, 1)]
    lines = ["mtllib a.mtl", *(f"v {x} {y} {z}" for x, y, z in [*left, *right])]
    (tmp_path / "a.obj").write_text(
        "\n".join([*lines, "usemtl red", "f 1 2 3", "usemtl blue", "f 4 5 6"])
    )
    (scene,) = read(tmp_path, mesh_views=8)
    seen = 0
    for view, pose in zip(scene.images.float(), scene.poses, strict=True):
        if abs(pose[1, 3]) < 0.6:  # edge on
            continue
        red = (view[..., 1] < 100) & (view[..., 0] > view[..., 2] + 50)
        blue = (view[..., 1] < 100) & (view[..., 2] > view[..., 0] + 50)
        columns = torch.arange(24.0).expand(24, 24)
        assert red.any()  # from both sides: the sheet is open
        assert blue.any()
        assert bool(columns[red].mean() < columns[blue].mean()) == bool(pose[1, 3] < 0)
        seen += 1
    assert seen >= 4


def test_y_up_files_stand_upright(tmp_path):
    pole = trimesh.creation.box(extents=[0.1, 1.0, 0.1])
    export(pole, tmp_path / "pole.obj")
    export(pole, tmp_path / "pole.stl")
    obj, stl = read(tmp_path, mesh_up=None)
    assert [obj.id, stl.id] == ["pole.obj", "pole.stl"]

    def tallness(scene):
        rows, columns = (scene.images[..., 0] < 250).nonzero(as_tuple=True)[1:]
        return float(rows.float().std() / columns.float().std())

    assert tallness(obj) > 1.5 * tallness(stl)


def test_modelnet_gives_splits_and_labels(tmp_path):
    for name in ("chair/train/c1", "chair/test/c2", "sofa/train/s1", "sofa/test/s2"):
        path = tmp_path / "ModelNet10" / f"{name}.off"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = trimesh.creation.box().export(file_type="off")
        path.write_text(text.replace("OFF\n", "OFF", 1))  # as many files of ModelNet begin
    train, test = read(tmp_path, "train"), read(tmp_path, "test")
    assert list(train.ids) == ["ModelNet10/chair/train/c1", "ModelNet10/sofa/train/s1"]
    assert (list(test.labels), list(test.label_names)) == ([0, 1], ["chair", "sofa"])
    assert read(tmp_path, "test", mesh_labels=False).labels is None


def test_shapenet_s_synsets_are_labels_and_other_folders_only_when_asked(tmp_path):
    for name in ("02958343/a/models/m", "03001627/b/models/m"):
        (tmp_path / "net" / name).parent.mkdir(parents=True)
        export(trimesh.creation.box(), tmp_path / "net" / f"{name}.obj")
    assert list(read(tmp_path / "net").label_names) == ["02958343", "03001627"]
    (tmp_path / "own/car").mkdir(parents=True)
    (tmp_path / "own/bus").mkdir()
    export(trimesh.creation.box(), tmp_path / "own/car/x.stl")
    export(trimesh.creation.box(), tmp_path / "own/bus/y.stl")
    assert read(tmp_path / "own").labels is None
    assert list(read(tmp_path / "own", mesh_labels=True).labels) == [0, 1]


def test_labels_count_the_classes_of_the_prepared_run(tmp_path):
    for name in ("a/train/x", "b/train/y", "c/test/z"):
        (tmp_path / name).parent.mkdir(parents=True)
        export(trimesh.creation.box(), tmp_path / f"{name}.stl")
    config = NerfConfig(mesh_views=3, resolution=8)
    first = Nerf(config, DataSource(tmp_path))
    state = first.prepare(first.dataset("train"))
    assert state["label_names"] == ["a", "b", "c"]
    shutil.rmtree(tmp_path / "a")
    again = Nerf(config, DataSource(tmp_path), state).dataset("all")
    assert list(again.labels) == [1, 2]


def note_renderings(monkeypatch):
    """The names of the meshes that are rendered from here on."""
    made, render = [], meshes._render_into

    def noted(files, job, out):
        made.append(job.name)
        render(files, job, out)

    monkeypatch.setattr(meshes, "_render_into", noted)
    return made


def test_a_mesh_is_rendered_once_however_it_is_called(tmp_path, monkeypatch):
    made = note_renderings(monkeypatch)
    textured_cube(tmp_path / "one")
    first = read(tmp_path / "one", mesh_views=5)[0]
    shutil.copytree(tmp_path / "one", tmp_path / "two/deeper")
    os.utime(tmp_path / "two/deeper/cube.obj", (1, 1))
    second = read(tmp_path / "two", mesh_views=5)[0]
    assert len(made) == 1
    assert torch.equal(first.images, second.images)
    Image.new("RGB", (4, 4), "red").save(tmp_path / "two/deeper/maps/tiles.png")
    assert not torch.equal(read(tmp_path / "two", mesh_views=5)[0].images, first.images)
    read(tmp_path / "one", mesh_views=4)
    assert len(made) == 3


def textured_ply(folder):
    Image.new("RGB", (4, 4), "blue").save(folder / "t.png")
    export(painted_cube(), folder / "cube.ply")
    data = (folder / "cube.ply").read_bytes()
    (folder / "cube.ply").write_bytes(
        data.replace(b"element", b"comment TextureFile t.png\nelement", 1)
    )
    return "cube.ply", ["t.png"]


def outward_glb(folder):
    """One triangle (glTF 2.0) whose buffer and texture are files of their own."""
    Image.new("RGB", (4, 4), "blue").save(folder / "t.png")
    (folder / "tri.bin").write_bytes(np.array([0, 0, 0, 1, 0, 0, 0, 1, 0], "<f4").tobytes())
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}],
        "images": [{"uri": "t.png"}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteOffset": 0, "byteLength": 36}],
        "buffers": [{"uri": "tri.bin", "byteLength": 36}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    header = struct.pack("<4sIIII", b"glTF", 2, 20 + len(text), len(text), 0x4E4F534A)
    (folder / "tri.glb").write_bytes(header + text)
    return "tri.glb", ["tri.bin", "t.png"]


@pytest.mark.parametrize("make", [textured_ply, outward_glb])
def test_a_mesh_is_rendered_again_when_a_file_that_it_names_changes(tmp_path, monkeypatch, make):
    name, beside = make(tmp_path)
    asked = []
    find = Companions.find
    monkeypatch.setattr(
        Companions, "find", lambda self, told: asked.append(told) or find(self, told)
    )
    read_surface(Files(tmp_path), name, "z")
    assert set(asked) == set(beside)
    assert list(named_by(Files(tmp_path), name)) == [(told, told) for told in beside]
    made = note_renderings(monkeypatch)
    read(tmp_path, mesh_views=2, resolution=8)
    Image.new("RGB", (4, 4), "red").save(tmp_path / "t.png")
    read(tmp_path, mesh_views=2, resolution=8)
    read(tmp_path, mesh_views=2, resolution=8)
    assert len(made) == 2


@pytest.mark.parametrize("damage", [b"", b"PK no zip", None])
def test_a_damaged_rendering_is_made_again(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    export(trimesh.creation.box(), tmp_path / "data/box.stl")
    first = read(tmp_path / "data", mesh_views=2, resolution=8)[0]
    (kept,) = (tmp_path / "cache").rglob("views.npz")
    kept.unlink()
    if damage is not None:
        kept.write_bytes(damage)
    again = read(tmp_path / "data", mesh_views=2, resolution=8)[0]
    assert torch.equal(again.images, first.images)
    assert kept.stat().st_size > 100


def test_files_are_listed_once_for_all_meshes(tmp_path):
    textured_cube(tmp_path)
    files = Files(tmp_path)
    files.names = None  # whoever goes through all of them again fails
    assert [path for _, path in named_by(files, "cube.obj")] == ["cube.mtl", "maps/tiles.png"]


@pytest.mark.slow
def test_processes_give_what_one_process_gives(tmp_path):
    for i in range(13):
        (tmp_path / "data").mkdir(exist_ok=True)
        export(trimesh.creation.icosphere(subdivisions=1, radius=1 + i), tmp_path / f"data/{i}.stl")
    (tmp_path / "data/5.stl").write_bytes(b"solid nothing")
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import sys
            from pathlib import Path
            from functa_core import DataSource, parallel
            from functa_nerf.config import NerfConfig
            from functa_nerf.modality import Nerf

            def main():
                parallel._processors = lambda: 2
                parallel.TRIAL = parallel.WORTH = 0.0
                config = NerfConfig(mesh_views=6, resolution=24, mesh_up="z")
                data = Nerf(config, DataSource(Path(sys.argv[1]), skip_bad=True)).dataset("all")
                print(len(data), data[3].images.double().mean().item())

            if __name__ == "__main__":
                main()
            """
        )
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "data")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    data = read(tmp_path / "data", skip_bad=True)
    assert done.stdout.split() == ["12", str(data[3].images.double().mean().item())]


def test_missing_materials_are_noted(tmp_path):
    textured_cube(tmp_path / "s")
    (tmp_path / "s/maps/tiles.png").unlink()
    assert any("not there" in note for note in read(tmp_path).notes)


def test_names_in_a_mesh_lead_nowhere_else(tmp_path):
    textured_cube(tmp_path / "s")
    (tmp_path / "s/maps").rename(tmp_path / "elsewhere")
    (tmp_path / "s/cube.mtl").write_text("newmtl paint\nmap_Kd ../elsewhere/tiles.png\n")
    assert any("not there" in note for note in read(tmp_path / "s").notes)


STL_NAN = trimesh.Trimesh(
    np.array([[0, 0, 0], [1, 0, 0], [0, 1, np.nan]]), np.array([[0, 1, 2]]), process=False
)
BAD = {
    "garbage.glb": (b"garbage", "cannot be read as GLB"),
    "garbage.off": (b"\x00\x01", "cannot be read as OFF"),
    "short.off": (b"OFF\n8 12 0\n0 0 0\n", "cannot be read as OFF"),
    "empty.obj": (b"", "no triangles"),
    "points.obj": (b"v 0 0 0\nv 1 0 0\n", "no triangles"),
    "empty.stl": (b"", "no triangles"),
    "nan.stl": (STL_NAN.export(file_type="stl"), "not finite"),
    "point.off": (b"OFF\n3 1 0\n1 1 1\n1 1 1\n1 1 1\n3 0 1 2\n", "no extent"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_mesh_is_named_or_left_out(tmp_path, name):
    content, words = BAD[name]
    (tmp_path / name).write_bytes(content)
    export(trimesh.creation.box(), tmp_path / "good.stl")
    with pytest.raises(UserError, match=words) as error:
        read(tmp_path)
    assert name in str(error.value)
    assert len(str(error.value).splitlines()) <= 2
    left = read(tmp_path, skip_bad=True)
    assert list(left.ids) == ["good"]
    assert any("1 unreadable scene" in note for note in left.notes)


def test_a_broken_texture_is_named(tmp_path):
    textured_cube(tmp_path / "s")
    picture = tmp_path / "s/maps/tiles.png"
    picture.write_bytes(picture.read_bytes()[:60])
    with pytest.raises(UserError, match=r"cube\.obj"):
        read(tmp_path)


def test_textures_repeat_and_are_bilinear():
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 0] = 200  # upper left: u 0.25, v 0.75
    uv = np.array([[0.25, 0.75], [1.25, -0.25], [0.5, 0.75], [0.75, 0.75], [0.0, 1.0]])
    expected = np.array([200, 200, 100, 0, 50]) / 255
    np.testing.assert_allclose(sampled(picture, uv)[:, 0], expected, atol=1e-12)


@pytest.mark.parametrize("views", [1, 7, 16, 24, 25, 60])
def test_rigs_of_any_size_go_all_around(views):
    azimuth = torch.atan2(*rig((3,), views)[:, [1, 0], 3].T.double())
    gaps = azimuth.sort().values.diff()
    if views > 1:
        torch.testing.assert_close(gaps, torch.full_like(gaps, 2 * torch.pi / views))


def test_an_object_fills_the_picture_and_the_background_is_as_asked():
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    corners = np.asarray(ball.triangles)
    surface = plain(corners, np.full((len(corners), 3, 3), 0.5))
    (view,) = photograph(surface, rig((0,), 1), square_lens(64), background=0.0)
    shown = (view > 0).any(axis=-1)
    # A ball of radius r at distance d covers the angle asin(r / d).
    radius = square_lens(64).focal * np.tan(np.arcsin(0.5 / 1.3))
    assert np.pi * (radius - 0.5) ** 2 < shown.sum() < np.pi * (radius + 1) ** 2
    assert (view[[0, -1]] == 0).all()


def test_endings_may_be_in_capitals(tmp_path):
    (tmp_path / "UPPER.GLB").write_bytes(split_cube().export(file_type="glb"))
    assert read(tmp_path).ids[0] == "UPPER"
