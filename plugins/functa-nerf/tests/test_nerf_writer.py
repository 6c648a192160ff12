import subprocess
import sys

import attrs
import pytest
import torch
import trimesh
from nerf_helpers import write_scene
from test_nerf_blender import write_blender

from functa_core import DataSource, UserError
from functa_nerf.__main__ import main
from functa_nerf.config import NerfConfig
from functa_nerf.embedded import embedded
from functa_nerf.modality import Nerf
from functa_nerf.srn_writer import write_srn


def read(path, split="all", **options):
    return Nerf(NerfConfig(**options), DataSource(path)).dataset(split)


def same(scene, other):
    assert torch.equal(scene.images, other.images)
    torch.testing.assert_close(scene.poses, other.poses, atol=1e-6, rtol=0)
    assert scene.lens == other.lens


def run(*words):
    command = [sys.executable, "-m", "functa_nerf", "write-srn", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_is_written_is_read_again(tmp_path):
    train, test = (embedded(split, DataSource())[:3] for split in ("train", "test"))
    assert write_srn({"chairs_train": train, "chairs_test": test}, tmp_path / "new/out") == 6
    for split, scenes in (("train", train), ("test", test)):
        again = {scene.id: scene for scene in read(tmp_path / "new/out", split)}
        assert again.keys() == {f"chairs_{split}/{name}" for name in scenes.ids}
        for scene in scenes:
            same(scene, again[f"chairs_{split}/{scene.id}"])


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        write_srn({"x": embedded("test", DataSource())}, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_nothing_half_written_stays(tmp_path):
    def scenes():
        yield embedded("test", DataSource())[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        write_srn({"x": scenes()}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../../outside", "{tmp}/outside"])
def test_a_scene_is_written_nowhere_else(tmp_path, name):
    scene = attrs.evolve(embedded("test", DataSource())[0], id=name.format(tmp=tmp_path))
    with pytest.raises(UserError, match="outside of --out"):
        write_srn({"..": [scene]}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_rewrites_meshes(tmp_path):
    for name in ("chair/train/a", "chair/test/b"):
        (tmp_path / "net" / name).parent.mkdir(parents=True)
        trimesh.creation.box().export(tmp_path / "net" / f"{name}.stl")
    done = run(tmp_path / "net", "--out", tmp_path / "out", "--resolution", 16, "--views", 5)
    assert done.returncode == 0, done.stderr
    assert "2 scenes" in done.stdout
    (scene,) = read(tmp_path / "net", "test", resolution=16, mesh_views=5)
    (again,) = read(tmp_path / "out", "test")
    assert again.id == "net_test/chair/test/b"
    same(scene, again)


@pytest.mark.slow
def test_the_command_writes_a_lone_scene_once_and_says_what_is_lost(tmp_path):
    scene = embedded("all", DataSource())[1]
    write_blender(tmp_path / "lego", scene, range(10), "train")
    write_blender(tmp_path / "lego", scene, range(10, 16), "test")
    done = run(tmp_path / "lego", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "which views are for testing" in done.stderr
    assert len(list((tmp_path / "out").rglob("intrinsics.txt"))) == 1
    same(read(tmp_path / "out")[0], read(tmp_path / "lego")[0])


def test_the_command_tells_user_errors_from_bugs(tmp_path, capsys, monkeypatch):
    write_scene(tmp_path / "data/s")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("x")
    for words, said in (
        ((tmp_path / "gone", "--out", tmp_path / "o"), "does not exist"),
        ((tmp_path / "data", "--out", tmp_path / "full"), "not empty"),
        ((tmp_path / "data",), "--out"),
        ((tmp_path / "data", "--out", tmp_path / "o", "--views", "0"), "--views"),
    ):
        assert main(["write-srn", *map(str, words)]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert "Traceback" not in error
    assert not (tmp_path / "o").exists()
    monkeypatch.setattr("functa_nerf.srn_writer.write_srn", None)
    assert main(["write-srn", str(tmp_path / "data"), "--out", str(tmp_path / "o")]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "unexpected TypeError" in error
    assert main(["write-srn", str(tmp_path / "data"), "--out", str(tmp_path / "o"), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
