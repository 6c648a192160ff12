import shutil
import zipfile

import numpy as np
import pytest
import torch
from nerf_helpers import cameras, write_scene
from PIL import Image

from functa_core import DataSource, UserError
from functa_nerf.cameras import rays
from functa_nerf.config import NerfConfig
from functa_nerf.modality import Nerf


def read(path, split="all", skip_bad=False, **options):
    return Nerf(NerfConfig(**options), DataSource(path, skip_bad=skip_bad)).dataset(split)


@pytest.fixture
def cars(tmp_path):
    """Three training scenes and two test scenes, in folders named as SRN's are."""
    root = tmp_path / "cars"
    for i, name in enumerate(("train/a", "train/b", "train/c", "test/d", "test/e")):
        write_scene(root / f"cars_{name}", seed=i, one_line=i % 2 == 0)
    return root


def test_poses_become_opengl_cameras(cars):
    scene = read(cars)[3]
    assert scene.id == "cars_train/b"
    torch.testing.assert_close(scene.poses, cameras(4, seed=1), atol=1e-6, rtol=0)
    assert scene.images.shape == (4, 8, 8, 3)
    expected = np.asarray(Image.open(cars / "cars_train/b/rgb/000002.png"))
    assert np.array_equal(scene.images[2].numpy(), expected)


def test_a_marked_pixel_lies_on_the_ray_to_the_marked_point(tmp_path):
    # An SRN camera at (0, 0, -2) that looks along +z, x to the right and y down: the identity.
    folder = write_scene(tmp_path / "s", views=1, side=64, colour=255)
    (folder / "pose/000000.txt").write_text("1 0 0 0  0 1 0 0  0 0 1 -2  0 0 0 1")
    (folder / "intrinsics.txt").write_text("64 32 32 0.\n0. 0. 0.\n1.\n64 64\n")
    point = np.array([0.5, 0.25, 0.0])  # projects to 32 + 64 · (0.25, 0.125) = (48, 40)
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[40, 48] = (255, 0, 0)
    Image.fromarray(picture).save(folder / "rgb/000000.png")
    scene = read(tmp_path)[0]
    beams = rays(scene.poses, scene.lens)[0]
    ((index,),) = (scene.images[0].reshape(-1, 3)[:, 1] == 0).nonzero(as_tuple=True)
    hit = beams[index, :3] + 2.0 * beams[index, 3:]
    np.testing.assert_allclose(hit.numpy(), point, atol=0.02)


def test_folder_names_give_the_split(cars):
    assert list(read(cars, "train").ids) == ["cars_train/a", "cars_train/b", "cars_train/c"]
    assert list(read(cars, "test").ids) == ["cars_test/d", "cars_test/e"]
    assert len(read(cars, "all")) == 5


def test_validation_scenes_are_in_neither_split_unless_they_are_all_there_is(cars):
    write_scene(cars / "cars_val/v")
    assert "cars_val/v" not in [*read(cars, "train").ids, *read(cars, "test").ids]
    assert "1 validation scene" in " ".join(read(cars, "train").notes)
    shutil.rmtree(cars / "cars_test")
    assert list(read(cars, "test").ids) == ["cars_val/v"]


def test_without_names_the_split_is_drawn_by_seed(cars):
    train, test = read(cars / "cars_train", "train"), read(cars / "cars_train", "test")
    assert sorted([*train.ids, *test.ids]) == ["a", "b", "c"]
    assert len(test) == 1
    assert "data.seed" in " ".join(train.notes)


def test_a_damaged_zip_names_the_view(cars, tmp_path):
    with zipfile.ZipFile(tmp_path / "cars.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(cars.rglob("*.*")):
            file.write(path, path.relative_to(cars))
        victim = next(i for i in file.infolist() if i.filename.endswith(".png"))
    raw = bytearray((tmp_path / "cars.zip").read_bytes())
    start = victim.header_offset + 30 + len(victim.filename)
    raw[start : start + victim.compress_size] = bytes(
        255 - b for b in raw[start:][: victim.compress_size]
    )
    (tmp_path / "cars.zip").write_bytes(raw)
    with pytest.raises(UserError, match=r"cannot be (read|decoded)") as refused:
        read(tmp_path / "cars.zip", "all")
    assert victim.filename in str(refused.value)


def test_a_zip_reads_as_its_folder_does(cars, tmp_path):
    with zipfile.ZipFile(tmp_path / "cars.zip", "w") as file:
        for path in cars.rglob("*"):
            file.write(path, f"deeper/{path.relative_to(cars)}")
        file.writestr("__MACOSX/deeper/rgb/000000.png", b"junk")
    folder, zipped = read(cars, "test"), read(tmp_path / "cars.zip", "test")
    assert list(zipped.ids) == [f"deeper/{name}" for name in folder.ids]
    for one, other in zip(folder, zipped, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.poses, other.poses)
        assert one.lens == other.lens


def test_a_single_scene_can_be_named_itself(cars):
    assert list(read(cars / "cars_train/a").ids) == ["a"]


def test_the_lens_is_scaled_to_the_real_size(tmp_path):
    write_scene(tmp_path / "s", side=8, told=(64, 64))
    lens = read(tmp_path)[0].lens
    assert (lens.focal, lens.cx, lens.height) == pytest.approx((8.2, 4.0, 8))


def test_resolution_averages_areas_and_scales_the_lens(cars):
    whole, half = read(cars)[0], read(cars, resolution=4)[0]
    means = whole.images.float().reshape(4, 4, 2, 4, 2, 3).mean(dim=(2, 4))
    assert (half.images.float() - means).abs().max() <= 1  # Pillow rounds rows, then columns
    assert half.lens.focal == pytest.approx(whole.lens.focal / 2)


def test_views_can_be_thinned(cars):
    assert torch.equal(read(cars, max_views=2)[0].images, read(cars)[0].images[[0, 2]])


def test_transparency_becomes_white(tmp_path):
    folder = write_scene(tmp_path / "s", views=2)
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:, :4] = (10, 20, 30, 255)
    rgba[0, 0] = (0, 0, 0, 128)
    Image.fromarray(rgba).save(folder / "rgb/000000.png")
    view = read(tmp_path)[0].images[0]
    assert view[3, 2].tolist() == [10, 20, 30]
    assert view[3, 6].tolist() == [255, 255, 255]
    assert view[0, 0].tolist() == [127, 127, 127]


def test_blank_scenes_are_left_out_and_counted(cars):
    write_scene(cars / "cars_train/blank", colour=255)
    train = read(cars, "train")
    assert "cars_train/blank" not in train.ids
    assert any("1 blank scene" in note for note in train.notes)


def test_cameras_out_of_range_are_noted(cars):
    assert not any("modality.near" in note for note in read(cars, "train").notes)
    assert not any("modality.near" in note for note in read(cars, "train", near=0.5).notes)
    for wrong, told in (
        ({"near": 2.0, "far": 3.0}, "near 2 and far 3"),
        ({"near": 1.4}, "near 1.4"),
        ({"far": 1.2}, "far 1.2"),
    ):
        (note,) = [n for n in read(cars, "train", **wrong).notes if "modality.near" in n]
        assert told in note
        assert "depth 1.3" in note


def test_opengl_poses_are_noticed(cars):
    for path in cars.rglob("pose/*.txt"):
        pose = np.array(path.read_text().split(), float).reshape(4, 4) @ np.diag([1, -1, -1, 1])
        path.write_text(" ".join(map(str, pose.flatten())))
    assert any("look away" in note for note in read(cars, "train").notes)


def corrupt_png(scene):
    data = (scene / "rgb/000001.png").read_bytes()
    (scene / "rgb/000001.png").write_bytes(data[:60])


def shrink(scene):
    for path in (scene / "pose").iterdir():
        pose = np.array(path.read_text().split(), float).reshape(4, 4)
        pose[:3, 3] *= 1e-30
        path.write_text(" ".join(map(str, pose.flatten())))


def pose_text(text):
    return lambda scene: (scene / "pose/000001.txt").write_text(text)


BAD = {
    "corrupt": (corrupt_png, ["000001.png", "cannot be decoded"]),
    "no pose": (lambda s: (s / "pose/000002.txt").unlink(), ["b'", "pose/", "000002"]),
    "no view": (lambda s: (s / "rgb/000003.png").unlink(), ["rgb/", "000003"]),
    "word in pose": (pose_text("1 0 0 x"), ["000001.txt", "not a number"]),
    "short pose": (pose_text("1 0 0 0"), ["16 finite numbers", "found 4"]),
    "nan pose": (pose_text("nan 0 0 0 0 1 0 0 0 0 1 1 0 0 0 1"), ["finite"]),
    "last row": (pose_text("1 0 0 0 0 1 0 0 0 0 1 0 5 5 5 1"), ["0 0 0 1", "5 5 5 1"]),
    "scaled": (pose_text("2 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"), ["no rotation"]),
    "mirrored": (pose_text("-1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"), ["mirrored"]),
    "no lens": (lambda s: (s / "intrinsics.txt").unlink(), ["no intrinsics.txt"]),
    "bad lens": (lambda s: (s / "intrinsics.txt").write_text("f\n"), ["focal cx cy"]),
    "far away": (pose_text("1 0 0 1e300 0 1 0 0 0 0 1 0 0 0 0 1"), ["000001.txt", "1e+06"]),
    "all in one place": (shrink, ["cars_train/b/pose", "all cameras"]),
    "endless focal": (lambda s: (s / "intrinsics.txt").write_text("1e300 4 4 0\n8 8"), ["focal"]),
    "tiny focal": (lambda s: (s / "intrinsics.txt").write_text("1e-300 4 4 0\n8 8"), ["focal"]),
    "off centre": (lambda s: (s / "intrinsics.txt").write_text("8 1e300 4 0\n8 8"), ["principal"]),
    "zero focal": (lambda s: (s / "intrinsics.txt").write_text("0 4 4 0\n8 8"), ["positive"]),
    "other shape": (lambda s: (s / "intrinsics.txt").write_text("8 4 4 0\n8 16"), ["8x16"]),
    "mixed sizes": (
        lambda s: Image.new("RGB", (6, 6)).save(s / "rgb/000002.png"),
        ["000002.png", "6x6"],
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_scene_is_named_or_left_out(cars, what):
    spoil, words = BAD[what]
    spoil(cars / "cars_train/b")
    with pytest.raises(UserError) as error:
        read(cars, "train")
    message = str(error.value)
    assert all(word in message for word in words), message
    assert len(message.splitlines()) <= 2
    left = read(cars, "train", skip_bad=True)
    assert list(left.ids) == ["cars_train/a", "cars_train/c"]
    assert any("1 unreadable scene" in note for note in left.notes)


def test_a_fault_in_one_split_does_not_stop_the_other(cars):
    corrupt_png(cars / "cars_train/b")
    assert len(read(cars, "test")) == 2


def test_scenes_of_several_sizes_need_a_resolution(cars):
    write_scene(cars / "cars_train/big", side=16)
    with pytest.raises(UserError, match=r"modality\.resolution"):
        read(cars, "train")
    assert len(read(cars, "train", resolution=8)) == 4


def test_nothing_usable_is_an_error(tmp_path):
    write_scene(tmp_path / "s", colour=255)
    with pytest.raises(UserError, match="blank"):
        read(tmp_path)


def test_paths_that_hold_no_scenes_say_what_was_expected(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "scene.obj").write_text("v 0 0 0")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.jpg").write_text("x")
    for name, words in {
        "absent": "does not exist",
        "empty": "has no files",
        "text.zip": "cannot be read as a zip",
        "scene.obj": "neither a folder nor a .zip",
        "other": "none of the layouts",
    }.items():
        with pytest.raises(UserError, match=words):
            read(tmp_path / name)


def test_a_test_scene_of_one_view_cannot_be_scored(cars):
    write_scene(cars / "cars_test/single", views=1)
    with pytest.raises(UserError, match="one view"):
        read(cars, "test")


def test_prepared_runs_resample_new_data_to_their_own_size(cars, make_nerf):
    run = make_nerf(cars)
    write_scene(cars.parent / "new/s", side=16)
    again = Nerf(run.config, DataSource(cars.parent / "new"), run.state)
    assert again.dataset("all")[0].images.shape[1:3] == (8, 8)
