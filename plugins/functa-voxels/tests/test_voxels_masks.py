"""What masks leave to be seen of a shape, and the files of a way between shapes."""

import zipfile

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from functa_core import Observations
from functa_voxels.animations import write_animation, write_mesh_sequence
from functa_voxels.masks import first_half, masks, shell


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("rising", [False, True])
def test_a_shell_is_what_each_ray_passes_and_first_meets(axis, rising):
    shape = np.random.default_rng(axis).random((5, 5, 5)) < 0.3
    seen = shell(shape, axis, rising)
    for place in np.ndindex(5, 5):
        ray = [*place[:axis], slice(None), *place[axis:]]
        order = range(4, -1, -1) if rising else range(5)
        met = False
        for depth in order:
            assert seen[tuple(ray)][depth] == (not met)
            met = met or shape[tuple(ray)][depth]


@pytest.mark.parametrize(("size", "share"), [(4, 0.5), (5, 0.6)])
def test_a_half_is_the_one_that_was_asked_for(size, share):
    low = first_half(np.zeros((size,) * 3, bool), 1, True)
    high = first_half(np.zeros((size,) * 3, bool), 1, False)
    assert low.mean() == high.mean() == pytest.approx(share)
    assert low[:, 0].all()
    assert high[:, -1].all()
    assert not low[:, -1].any()


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_the_lower_half_is_below_whatever_axis_is_up(up):
    known = {mask.name: mask for mask in masks(up, torch.arange(64))}
    observed = Observations(torch.zeros(64, 3), torch.zeros(1, 64, 1), torch.ones(1, 64))
    shape = np.zeros((4, 4, 4))
    seen = known["lower-half"].visible([shape], observed, torch.Generator())
    cells = np.moveaxis(seen.reshape(4, 4, 4).numpy(), "xyz".index(up), 0)
    assert cells[:2].all()
    assert not cells[2:].any()


def test_a_way_is_a_gif_and_one_mesh_a_frame(tmp_path):
    shapes = np.zeros((3, 8, 8, 8), np.float32)
    for i, shape in enumerate(shapes):
        shape[2:6, 2:6, 2 : 4 + i] = 1
    write_animation(tmp_path / "a.gif", {"straight": shapes, "base": shapes[::-1]}, "z")
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames == 4  # type: ignore[attr-defined]
    write_mesh_sequence(tmp_path / "m.zip", shapes, "z", "straight")
    with zipfile.ZipFile(tmp_path / "m.zip") as zipped:
        assert zipped.namelist() == [f"frame-{i:03d}.glb" for i in range(3)]
        zipped.extractall(tmp_path)
    volumes = [trimesh.load(tmp_path / f"frame-{i:03d}.glb", force="mesh").extents for i in (0, 2)]
    assert volumes[1][1] - volumes[0][1] == pytest.approx(2 / 8, abs=1e-3)  # glTF's y is up
