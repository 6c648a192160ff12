import json
import math
import shutil
import subprocess
import sys

import attrs
import numpy as np
import pytest
import torch
from nerf_helpers import cameras
from PIL import Image

from functa_core import DataSource, UserError
from functa_nerf.config import NerfConfig
from functa_nerf.embedded import embedded
from functa_nerf.modality import Nerf


def read(path, split="all", skip_bad=False, **options):
    return Nerf(NerfConfig(**options), DataSource(path, skip_bad=skip_bad)).dataset(split)


def write_blender(folder, scene, views, part=None, ending=True, **header):
    """Some views of a scene as RGBA files with a JSON file beside them."""
    name = f"transforms_{part}.json" if part else "transforms.json"
    pictures = folder / (part or "images")
    pictures.mkdir(parents=True, exist_ok=True)
    frames = []
    for i in views:
        view = scene.images[i].numpy()
        alpha = (view < 255).any(axis=-1, keepdims=True) * np.uint8(255)
        Image.fromarray(np.concatenate([view * (alpha > 0), alpha], axis=-1)).save(
            pictures / f"r_{i}.png"
        )
        frames.append(
            {
                "file_path": f"./{pictures.name}/r_{i}{'.png' if ending else ''}",
                "transform_matrix": scene.poses[i].double().tolist(),
            }
        )
    lens = scene.lens
    told = {"camera_angle_x": 2 * math.atan(lens.width / 2 / lens.focal)}
    document = {**(header or told), "frames": frames}
    (folder / name).write_text(json.dumps(document))
    return folder / name


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.fixture(scope="module")
def chair():
    return embedded("all", DataSource())[0]


@pytest.fixture
def lego(tmp_path, chair):
    """One scene with views to train on (0 to 8), to validate (9 to 11) and to test (12 to 15)."""
    write_blender(tmp_path / "lego", chair, range(9), "train", ending=False)
    write_blender(tmp_path / "lego", chair, range(9, 12), "val", ending=False)
    write_blender(tmp_path / "lego", chair, range(12, 16), "test", ending=False)
    return tmp_path / "lego"


def same(scene, other):
    assert torch.equal(scene.images, other.images)
    assert torch.equal(scene.poses, other.poses)
    assert (scene.lens.height, scene.lens.width) == (other.lens.height, other.lens.width)
    for name in ("focal", "cx", "cy"):
        assert getattr(scene.lens, name) == pytest.approx(getattr(other.lens, name), rel=1e-12)


@pytest.mark.slow
def test_a_lone_scene_is_fitted_to_its_training_views_and_scored_on_its_test_views(lego, chair):
    (train,), (test,) = read(lego, "train"), read(lego, "test")
    same(train, chair.only(range(9)))
    same(test, chair.only([*range(9), *range(12, 16)]))
    assert train.for_test is None
    assert test.hidden(4).nonzero()[:, 0].tolist() == [9, 10, 11, 12]


@pytest.mark.slow
def test_validation_views_are_the_test_views_where_there_are_no_others(lego, chair):
    (lego / "transforms_test.json").unlink()
    (test,) = read(lego, "test")
    same(test, chair.only(range(12)))
    assert test.hidden(4).nonzero()[:, 0].tolist() == [9, 10, 11]


def test_a_single_transforms_file_hides_every_nth_view(tmp_path, chair):
    write_blender(tmp_path / "s", chair, range(16), fl_x=32.8125, cx=16, cy=16.0, w=32, h=32)
    (train,), (test,) = read(tmp_path, "train"), read(tmp_path, "test")
    same(test, chair)
    assert test.hidden(4).nonzero()[:, 0].tolist() == [3, 7, 11, 15]
    same(train, chair.only([i for i in range(16) if i % 4 != 3]))


def test_nerfstudio_s_lists_give_the_split(tmp_path, chair):
    path = write_blender(tmp_path / "s", chair, range(6))
    names = [f"./images/r_{i}.png" for i in range(6)]
    edit(path, lambda d: d.update(train_filenames=names[:4], test_filenames=names[5:]))
    (test,) = read(tmp_path / "s", "test")
    same(test, chair.only([0, 1, 2, 3, 5]))
    assert test.hidden(2).nonzero()[:, 0].tolist() == [4]


def test_several_scenes_are_split_by_scene_and_keep_their_own_views(tmp_path, lego):
    for name in ("drums", "ship"):
        shutil.copytree(lego, tmp_path / name)
    train, test = read(tmp_path, "train"), read(tmp_path, "test")
    assert sorted([*train.ids, *test.ids]) == ["drums", "lego", "ship"]
    assert [scene.views for scene in train] == [9, 9]
    assert (test[0].views, int(test[0].hidden(4).sum())) == (13, 4)


def test_a_zip_reads_as_its_folder_does(lego, tmp_path, chair):
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", lego.parent, "lego")
    (test,) = read(tmp_path / archive, "test")
    assert test.id == "lego"
    same(test, read(lego, "test")[0])


def test_transparency_is_over_black_where_the_background_is(lego, chair):
    (black,) = read(lego, "train", white_background=False)
    clear = (chair.images[:9] == 255).all(dim=-1)
    assert (black.images[clear] == 0).all()
    assert torch.equal(black.images[~clear], chair.images[:9][~clear])


def test_views_on_black_and_a_white_background_disagree(tmp_path, chair):
    dark = torch.where((chair.images == 255).all(dim=-1, keepdim=True), 0, chair.images)
    path = write_blender(tmp_path / "s", attrs.evolve(chair, images=dark), range(4))
    for view in path.parent.glob("images/*.png"):
        Image.open(view).convert("RGB").save(view)
    said = "--set modality.white_background=false"
    assert any(said in note for note in read(tmp_path, "train").notes)
    assert not any(said in n for n in read(tmp_path, "train", white_background=False).notes)


def test_the_lens_is_scaled_to_the_real_size(tmp_path, chair):
    write_blender(tmp_path / "s", chair, range(4), fl_x=65.625, cx=31, cy=33.0, w=64, h=64)
    lens = read(tmp_path)[0].lens
    assert (lens.focal, lens.cx, lens.cy) == pytest.approx((32.8125, 15.5, 16.5))


def test_scaled_cameras_are_used_and_noted(lego, chair):
    def scale(document):
        for frame in document["frames"]:
            for row in frame["transform_matrix"][:3]:
                row[:3] = [2 * v for v in row[:3]]

    edit(lego / "transforms_train.json", scale)
    (train,) = data = read(lego, "train")
    torch.testing.assert_close(train.poses, chair.poses[:9])
    assert any("scaled (by 2)" in note for note in data.notes)


def test_thinning_keeps_both_kinds_of_views(lego):
    (test,) = read(lego, "test", max_views=6)
    assert (test.views, int(test.hidden(4).sum())) == (6, 2)
    assert read(lego, "test", max_views=2)[0].hidden(4).tolist() == [False, True]


@pytest.fixture
def wide(tmp_path):
    """Views of 30x41 pixels of a red point at (0.2, 0.1, 0), fl_x 40."""
    poses = cameras(4, seed=3)
    frames = []
    for i, pose in enumerate(poses.double().numpy()):
        x, y, z = np.linalg.inv(pose) @ [0.2, 0.1, 0.0, 1.0] @ np.eye(4)[:, :3]
        picture = np.full((30, 41, 3), 255, np.uint8)
        picture[int(15 - 40 * y / -z), int(20.5 + 40 * x / -z)] = (255, 0, 0)
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
        frames.append({"file_path": f"{i}.png", "transform_matrix": pose.tolist()})
    (tmp_path / "transforms.json").write_text(json.dumps({"fl_x": 40.0, "frames": frames}))
    return tmp_path


def test_views_that_are_not_square_keep_square_pixels(wide):
    (scene,) = read(wide, resolution=15)
    assert scene.images.shape[1:3] == (15, 20)
    for view, pose in zip(scene.images, scene.poses, strict=True):
        x, y, z, _ = torch.linalg.inv(pose) @ torch.tensor([0.2, 0.1, 0.0, 1.0])
        column = scene.lens.cx + scene.lens.focal * x / -z
        row = scene.lens.cy - scene.lens.focal * y / -z
        rows, columns = (view[..., 1] < 250).nonzero(as_tuple=True)
        assert (rows + 0.5 - row).abs().min() < 0.8
        assert (columns + 0.5 - column).abs().min() < 0.8


def test_a_prepared_run_of_wide_views_takes_new_ones_of_another_size(wide, make_nerf):
    run = make_nerf(wide, resolution=15)
    seen = run.observations(list(run.dataset("test")))
    mean = run.baselines(run.dataset("train"))["mean"]
    hidden = run.held_out(list(run.dataset("test")), seen)
    assert mean(list(run.dataset("test")), seen, ~hidden).shape == (1, 4 * 15 * 20, 3)
    for path in wide.glob("*.png"):
        Image.open(path).resize((82, 60)).save(path)
    edit(wide / "transforms.json", lambda d: d.update(w=41, h=30))
    again = Nerf(run.config, DataSource(wide), run.state).dataset("all")
    assert again[0].images.shape == (4, 15, 20, 3)
    assert again[0].lens.focal == pytest.approx(run.dataset("train")[0].lens.focal)


FOX = {"fl_x": 45.85, "fl_y": 45.82, "w": 41, "h": 30, "k1": 0.058, "k2": -0.0805, "p1": -0.001}


def test_slight_distortion_is_left_out_and_noted(wide):
    edit(wide / "transforms.json", lambda d: d.update(FOX))
    data = read(wide)
    assert data[0].lens.focal == pytest.approx(45.835)
    assert any("moves no pixel by over" in note for note in data.notes)


def drop(key):
    return lambda d: d["frames"][1].pop(key)


def in_frame(**values):
    return lambda d: d["frames"][1].update(values)


def moved(by):
    def change(document):
        for frame in document["frames"]:
            matrix = np.array(frame["transform_matrix"])
            matrix[:3, 3] *= by
            frame["transform_matrix"] = matrix.tolist()

    return change


MIRRORED = np.diag([-1.0, 1, 1, 1]).tolist()
BAD = {
    "outside": (in_frame(file_path="../../../x.png"), ["outside"]),
    "no path": (drop("file_path"), ["frame 1", "file_path"]),
    "no matrix": (drop("transform_matrix"), ["frame 1", "four rows"]),
    "3x3": (in_frame(transform_matrix=np.eye(3).tolist()), ["four rows"]),
    "words": (in_frame(transform_matrix=[["a"] * 4] * 4), ["four rows"]),
    "mirrored": (in_frame(transform_matrix=MIRRORED), ["no rotation", "mirrored"]),
    "sheared": (in_frame(transform_matrix=np.diag([1.0, 2, 1, 1]).tolist()), ["no rotation"]),
    "nan": (in_frame(transform_matrix=np.full((4, 4), np.nan).tolist()), ["finite"]),
    "endless matrix": (in_frame(transform_matrix=[[10**400] * 4] * 4), ["frame 1", "four rows"]),
    "far away": (moved(1e300), ["frame 0", "1e+06"]),
    "all in one place": (moved(1e-30), ["all cameras"]),
    "endless focal length": (lambda d: d.update(fl_x=10**400), ["fl_x", "finite"]),
    "long focal length": (lambda d: d.update(fl_x=1e300), ["focal length"]),
    "tiny focal length": (lambda d: d.update(fl_x=1e-300), ["focal length"]),
    "endless centre": (lambda d: d.update(cx=10**400), ["cx", "finite"]),
    "far centre": (lambda d: d.update(cx=1e300), ["principal point", "cx"]),
    "tiny width": (lambda d: d.update(w=1e-300), ["'w'", "from 1"]),
    "narrow angle": (lambda d: d.update(camera_angle_x=5e-324), ["camera_angle_x"]),
    "endless distortion": (lambda d: d.update(k1=1e300, k2=-1e300), ["distortion"]),
    "endless lens per view": (in_frame(camera_angle_x=10**400), ["one lens"]),
    "no frames": (lambda d: d.pop("frames"), ["no list of 'frames'"]),
    "empty": (lambda d: d["frames"].clear(), ["no frames to train on"]),
    "no focal length": (lambda d: d.pop("camera_angle_x"), ["camera_angle_x nor fl_x"]),
    "zero focal length": (lambda d: d.update(fl_x=0), ["greater than 0"]),
    "wide angle": (lambda d: d.update(camera_angle_x=4.0), ["below π"]),
    "text": (lambda d: d.update(cx="middle"), ["finite number"]),
    "distorted": (lambda d: d.update(k1=0.5), ["distortion", "undistort"]),
    "two focal lengths": (lambda d: d.update(fl_x=32, fl_y=40), ["fl_x unlike fl_y"]),
    "fisheye": (lambda d: d.update(camera_model="OPENCV_FISHEYE"), ["only pinhole"]),
    "a lens per view": (in_frame(camera_angle_x=0.5), ["one lens"]),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_scene_is_named_or_left_out(lego, tmp_path, what):
    change, words = BAD[what]
    for name in ("drums", "ship"):
        shutil.copytree(lego, tmp_path / "train" / name)
    shutil.move(lego, tmp_path / "test" / "lego")
    edit(tmp_path / "train/ship/transforms_train.json", change)
    with pytest.raises(UserError) as error:
        read(tmp_path, "train")
    message = str(error.value)
    assert all(word in message for word in ["ship", *words]), message
    assert len(message.splitlines()) <= 2
    left = read(tmp_path, "train", skip_bad=True)
    assert list(left.ids) == ["train/drums"]
    assert any("1 unreadable scene" in note for note in left.notes)


def test_json_that_is_none_and_images_that_are_none_are_named(lego):
    (lego / "train/r_4.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"r_4\.png.*cannot be decoded"):
        read(lego, "train")
    (lego / "transforms_train.json").write_text("{'frames': ")
    with pytest.raises(UserError, match=r"transforms_train\.json' is not valid JSON"):
        read(lego, "train")


def test_mixed_layouts_are_refused_but_a_scene_s_own_point_cloud_is_not(lego, tmp_path):
    (lego / "sparse_pc.ply").write_text("ply")
    assert len(read(tmp_path)) == 1
    (tmp_path / "teapot.obj").write_text("v 0 0 0")
    with pytest.raises(UserError, match=r"mixes layouts.*teapot\.obj") as error:
        read(tmp_path)
    for word in ("intrinsics.txt", "transforms_train.json", ".glb"):
        assert word in str(error.value)


@pytest.mark.slow
def test_a_lone_scene_is_trained_and_scored_by_the_command(lego, tmp_path):
    small = ["meta.steps=3", "modality.fit_rays=32", "modality.resolution=8", "model.width=16"]
    small += ["modality.outputs=[png]", "tasks.generate.model=flow", "tasks.generate.flow_steps=2"]
    sets = [word for one in small for word in ("--set", one)]
    command = [sys.executable, "-m", "functa_core", "run", "--modality", "nerf", *sets]
    done = subprocess.run(
        [*command, "--data", str(lego), "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "run/metrics.json").read_text())
    test = figures["reconstruction"]["test"]
    assert (figures["n_train"], figures["n_test"]) == (1, 1)
    assert test["psnr_db"] > 3
    assert test["psnr_db"] != test["context_psnr_db"]


def test_frames_without_an_image_are_left_out_when_asked(tmp_path, chair):
    """As in the fox of instant-ngp, whose file lists 67 frames for 50 photographs."""
    write_blender(tmp_path / "fox", chair, range(8))
    for gone in (2, 5):
        (tmp_path / "fox" / "images" / f"r_{gone}.png").unlink()
    with pytest.raises(UserError, match=r"frame 2.*r_2.png.*2 of 8 frames have none; --skip-bad"):
        read(tmp_path / "fox")
    scenes = read(tmp_path / "fox", skip_bad=True)
    assert "2 frames have no image and are left out; the first: " in " ".join(scenes.notes)
    kept = [0, 1, 3, 4, 6, 7]
    torch.testing.assert_close(scenes[0].poses, chair.poses[kept])
    assert torch.equal(scenes[0].images, chair.images[kept])
    shutil.rmtree(tmp_path / "fox" / "images")
    with pytest.raises(UserError, match="8 of 8 frames"):
        read(tmp_path / "fox", skip_bad=True)
