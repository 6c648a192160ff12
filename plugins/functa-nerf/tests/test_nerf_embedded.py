import itertools

import numpy as np
import torch

from functa_nerf.embedded import LENS, TEST, TRAIN, _make, parts_of, poses_of, surface_of
from functa_nerf.furniture import KINDS
from functa_nerf.photography import photograph
from functa_nerf.scenes import same_cameras


def looks(index):
    """What does not change when an object is turned: sizes and colours of its parts."""
    parts = parts_of(index)
    rows = [np.concatenate([np.sort(p.mesh.extents), p.colour]) for p in parts]
    return np.array(sorted(map(tuple, rows)))


def test_counts_labels_and_shapes(nerf):
    train, test = nerf.dataset("train"), nerf.dataset("test")
    assert (len(train), len(test)) == (TRAIN, TEST)
    assert train.label_names == sorted(KINDS)
    assert set(test.labels) == set(range(len(KINDS)))
    assert train[0].images.shape == (16, 32, 32, 3)
    assert train.ids[0].startswith(train.label_names[train.labels[0]])
    assert len({*train.ids, *test.ids}) == TRAIN + TEST


def test_no_test_object_is_a_training_object():
    everything = [looks(i) for i in range(TRAIN + TEST)]
    for test in everything[TRAIN:]:
        for train in everything[:TRAIN]:
            assert test.shape != train.shape or np.abs(test - train).max() > 0.02


def test_objects_fill_the_unit_sphere_and_not_more():
    for i in range(0, TRAIN + TEST, 7):
        corners = np.concatenate([part.mesh.vertices for part in parts_of(i)])
        assert np.linalg.norm(corners, axis=1).max() <= 0.5 + 1e-9
        assert np.ptp(corners, axis=0).max() > 0.5


def test_pictures_are_centred_on_white_and_not_cut_off(nerf):
    for scene in nerf.dataset("all"):
        border = scene.images[:, [0, -1]].reshape(-1, 3)
        assert (border == 255).all()
        covered = (scene.images.amin(dim=-1) < 250).float().mean()
        assert 0.03 < covered < 0.6


def test_each_scene_is_seen_from_all_around_by_cameras_of_its_own(nerf):
    scenes = list(nerf.dataset("all"))
    for before, scene in itertools.pairwise(scenes):
        assert not same_cameras(before, scene)
        positions = scene.poses[:, :3, 3]
        torch.testing.assert_close(positions.norm(dim=-1), torch.full((16,), 1.3))
        assert torch.pdist(positions).min() > 0.1
        elevation = torch.rad2deg((positions[:, 2] / 1.3).asin())
        assert elevation.min() >= -10.001
        assert elevation.max() <= 60.001
        assert positions[:, :2].mean(dim=0).norm() < 0.3


def test_making_it_again_gives_the_same(nerf, tmp_path, monkeypatch):
    monkeypatch.setattr("functa_nerf.embedded.TRAIN", 2)
    monkeypatch.setattr("functa_nerf.embedded.TEST", 1)
    _make(tmp_path)
    with np.load(tmp_path / "scenes.npz") as stored:
        assert np.array_equal(stored["images"][1], nerf.dataset("all")[1].images.numpy())


def test_a_point_has_one_colour_from_everywhere():
    views = photograph(surface_of(0), poses_of(0), LENS)
    again = photograph(surface_of(0), poses_of(0)[[3]], LENS)
    assert np.array_equal(views[3], again[0])
