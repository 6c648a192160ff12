"""Folders, zips and single files of meshes and .binvox grids."""

import shutil
import zipfile

import numpy as np
import pytest
import trimesh
from voxels_helpers import binvox, blobs, prepared, read, voxels

from functa_core import UserError
from functa_voxels.binvox import read_binvox


@pytest.fixture
def meshes(tmp_path):
    """Two classes in ModelNet's layout."""
    for i, name in enumerate(["ball", "brick"]):
        for part, count in (("train", 3), ("test", 1)):
            folder = tmp_path / "data" / name / part
            folder.mkdir(parents=True)
            for k in range(count):
                mesh = trimesh.creation.icosphere(2) if i == 0 else trimesh.creation.box((3, 1, 1))
                mesh.export(folder / f"{name}_{k:04d}.off")
    return tmp_path / "data"


def test_modelnet(meshes):
    train, test = (read(meshes, split, resolution=32) for split in ("train", "test"))
    assert list(train.label_names) == ["ball", "brick"]
    assert train.labels == [0, 0, 0, 1, 1, 1]
    assert list(test.ids) == ["ball/test/ball_0000", "brick/test/brick_0000"]
    assert train[0].sum() == pytest.approx(np.pi / 6 * 30**3, rel=0.05)
    assert train[3].sum() == 30 * 10 * 10


def test_a_zip_is_read_like_the_folder(meshes, tmp_path):
    shutil.make_archive(str(tmp_path / "data"), "zip", meshes)
    from_zip, from_folder = (read(p, resolution=16) for p in (tmp_path / "data.zip", meshes))
    assert list(from_zip.ids) == list(from_folder.ids)
    assert all(np.array_equal(a, b) for a, b in zip(from_zip, from_folder, strict=True))


def test_shapenet(tmp_path):
    """One shape for each folder `models`, from the mesh, whatever else lies there."""
    for synset, shape in (("02958343", "a1"), ("02958343", "b2"), ("03001627", "a1")):
        folder = tmp_path / synset / shape / "models"
        folder.mkdir(parents=True)
        trimesh.creation.box((8, 15, 8)).export(folder / "model_normalized.obj")
        (folder / "model_normalized.mtl").write_text("newmtl x\n")
        (folder / "model_normalized.solid.binvox").write_bytes(binvox(blobs()[0]))
        (folder / "model_normalized.surface.binvox").write_bytes(binvox(blobs()[0]))
    data = read(tmp_path, resolution=32)
    assert list(data.ids) == ["02958343/a1", "02958343/b2", "03001627/a1"]
    assert list(data.label_names) == ["02958343", "03001627"]
    assert data[0].sum() == 30 * 16 * 16
    for mesh in tmp_path.rglob("*.obj"):
        mesh.unlink()
    assert np.array_equal(read(tmp_path)[0], blobs()[0])


@pytest.mark.parametrize("kind", [".glb", ".gltf", ".obj", ".off", ".ply", ".stl"])
def test_formats(tmp_path, kind):
    box, path = trimesh.creation.box((1, 1, 1)), tmp_path / f"x{kind}"
    if kind == ".gltf":  # its corners are in a second file
        for name, content in trimesh.exchange.gltf.export_gltf(trimesh.Scene(box)).items():
            (tmp_path / name.replace("model.gltf", "x.gltf")).write_bytes(content)
    else:
        box.export(path)
    assert read(path if kind != ".gltf" else tmp_path, resolution=32)[0].sum() == 30**3


def test_meshes_are_of_64_cells_unless_told(tmp_path):
    trimesh.creation.box((1, 1, 1)).export(tmp_path / "x.stl")
    data = read(tmp_path / "x.stl")
    assert data[0].shape == (64, 64, 64)
    assert data.labels is None


def test_solids_are_kept_and_made_anew_when_a_file_changes(tmp_path, monkeypatch):
    path = tmp_path / "x.stl"
    trimesh.creation.box((1, 1, 1)).export(path)
    first = read(path, resolution=12)[0]
    with monkeypatch.context() as patch:
        patch.setattr("functa_voxels.meshes.voxelise", None)
        assert np.array_equal(read(path, resolution=12)[0], first)
    trimesh.creation.box((1, 1, 0.3)).export(path)
    assert read(path, resolution=12)[0].sum() < first.sum() / 2


@pytest.mark.slow
def test_many_meshes_on_several_processors(tmp_path):
    for i in range(60):
        trimesh.creation.box((1, 1, 0.1 + i / 70)).export(tmp_path / f"{i:02d}.stl")
    data = read(tmp_path, resolution=24)
    full = [int(shape.sum()) for shape in data]
    assert full == sorted(full)
    assert full[0] < full[-1] / 4


def test_the_resolution_of_a_run_is_that_of_new_meshes(meshes, tmp_path):
    run = prepared(meshes, resolution=16)
    assert run.state == {"label_names": ["ball", "brick"], "resolution": 16}
    new = tmp_path / "new" / "brick"
    new.mkdir(parents=True)
    trimesh.creation.box((1, 1, 1)).export(new / "x.stl")
    data = voxels(tmp_path / "new", run.state).dataset("all")
    assert data[0].shape == (16, 16, 16)
    assert data.labels == [1]


def test_labels_may_be_left_out(meshes):
    assert read(meshes, resolution=8, labels=False).labels is None


def test_binvox_has_its_axes_in_another_order(tmp_path):
    cells = blobs(1, 6)[0]
    assert np.array_equal(read_binvox(binvox(cells), "x"), cells)
    runs = b"#binvox 1\ndim 4 4 4\ntranslate 0 0 0\nscale 1\ndata\n" + bytes([0, 4, 1, 12, 0, 48])
    found = np.argwhere(read_binvox(runs, "x"))  # the rest of the plane x = 0
    assert set(map(tuple, found)) == {(0, y, z) for y in range(4) for z in range(1, 4)}
    (tmp_path / "a.binvox").write_bytes(runs)
    assert read(tmp_path / "a.binvox")[0].sum() == 12


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not binvox", "has no such header"),
        (b"#binvox 1\ndim 4 4 5\ndata\n", "4 x 4 x 5 cells"),
        (b"#binvox 1\ndim 9999 9999 9999\ndata\n", "1 to 1024"),
        (b"#binvox 1\ndim 4 4 4\ndata\n" + bytes([1, 63]), "give 63 cells of 64"),
        (b"#binvox 1\ndim 4 4 4\ndata\n" + bytes([1, 64, 0]), "is damaged"),
        (b"#binvox 1\ndim 4 4 4\ndata\n" + bytes([7, 64]), "values up to 7"),
        (b"#binvox 1\ndim 4 4 4\ndata\n", "give 0 cells"),
        (b"#binvox 1\ndim 4 4 4\ndata\n" + bytes([0, 64]), "is empty"),
    ],
)
def test_binvox_that_cannot_be_used(tmp_path, content, message):
    (tmp_path / "a.binvox").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_sizes_that_differ(tmp_path):
    for name, side in (("a", 8), ("b", 12)):
        (tmp_path / f"{name}.binvox").write_bytes(binvox(np.ones((side, side, side))))
    with pytest.raises(UserError, match=r"'a.binvox' has 8 cells a side, 'b.binvox' 12"):
        read(tmp_path)
    assert len(read(tmp_path, resolution=4)) == 2


NAN = "v 0 0 0\nv 1 0 0\nv nan 1 0\nf 1 2 3\n"
POINT = "v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.off", "OFF\nnot numbers", r"'x.off' cannot be read as OFF"),
        ("x.glb", "glTF?", r"'x.glb' cannot be read as GLB"),
        ("x.stl", "", r"mesh 'x.stl'"),
        ("x.obj", "v 0 0 0\nv 1 0 0\n", "'x.obj'"),
        ("x.obj", NAN, "not finite"),
        ("x.obj", POINT, "has no extent"),
    ],
)
def test_meshes_that_cannot_be_used(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path)
    trimesh.creation.box((1, 1, 1)).export(tmp_path / "good.stl")
    data = voxels(tmp_path, skip_bad=True, resolution=8).dataset("all")
    assert list(data.ids) == ["good"]
    assert "skipped 1 unusable shape: x" in data.notes


def test_a_mesh_that_nothing_is_left_of(tmp_path):
    (tmp_path / "x.obj").write_text(POINT)
    with pytest.raises(UserError, match="none of the 1 shapes"):
        voxels(tmp_path, skip_bad=True).dataset("all")


def test_nothing_to_read(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        read(tmp_path / "absent.npy")
    with pytest.raises(UserError, match=r"holds no shape .*no files"):
        read(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match=r"holds no shape .*1 \.txt"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"is a \.txt file"):
        read(tmp_path / "a.txt")


def test_folders_that_are_all_of_one_part(tmp_path):
    (tmp_path / "test").mkdir()
    trimesh.creation.box((1, 1, 1)).export(tmp_path / "test" / "x.stl")
    with pytest.raises(UserError, match=r"1 signal.* marked as test data"):
        read(tmp_path, "train", resolution=8)


def test_hidden_files_are_left_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("__MACOSX/._a.stl", "junk")
        archive.writestr("top/a/x.binvox", binvox(blobs()[0]))
        archive.writestr("top/b/y.binvox", binvox(blobs()[1]))
    data = read(tmp_path / "d.zip")
    assert list(data.label_names) == ["a", "b"]
