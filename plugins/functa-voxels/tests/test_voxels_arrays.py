"""Array files of shapes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voxels_helpers import blobs, prepared, read, voxels

from functa_core import UserError
from functa_voxels.packing import pack, reduced, unpack


@pytest.fixture
def save(tmp_path):
    """Write an .npz with these arrays and give its path."""

    def write(**arrays):
        np.savez(tmp_path / "x.npz", **arrays)
        return tmp_path / "x.npz"

    return write


@given(st.integers(1, 20), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_packing_keeps_every_cell(side, seed):
    shapes = blobs(2, side, seed)
    assert pack(shapes).shape == (2, side, side, -(-side // 8))
    assert np.array_equal(unpack(pack(shapes)), shapes)


def test_npz_with_everything(save):
    path = save(
        voxels=blobs(),
        labels=np.array([1, 0, -1, 1], np.int8),
        label_names=np.array(["a", "b"]),
        is_test=np.array([False, True, False, True]),
        names=np.array(["p", "q", "r", "s"]),
    )
    test = read(path, "test")
    assert list(test.ids) == ["1", "3"]
    assert test.labels == [0, 1]
    assert list(test.label_names) == ["a", "b"]
    assert np.array_equal(test[0], blobs()[1])
    assert read(path, "train").labels == [1, -1]


@pytest.mark.parametrize("side", [8, 12])
def test_packed_bits(save, side):
    path = save(voxels_packed=np.packbits(blobs(side=side), axis=-1), labels=np.arange(4))
    data = read(path)
    assert all(np.array_equal(data[i], blobs(side=side)[i]) for i in range(4))
    assert data.labels == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32])
def test_npy_of_any_kind_of_number(tmp_path, kind):
    np.save(tmp_path / "x.npy", blobs().astype(kind))
    data = read(tmp_path / "x.npy")
    assert data[2].dtype == np.bool_
    assert np.array_equal(data[2], blobs()[2])


def test_a_lone_array_of_any_name(save):
    assert len(read(save(shapes=blobs(), labels=np.arange(4)))) == 4


def test_new_arrays_count_labels_as_the_run_does(save):
    run = prepared(save(voxels=blobs(), labels=np.array([7, 5, 7, 5])))
    data = voxels(save(voxels=blobs(), labels=np.array([7, 7, 7, 9])), run.state).dataset("all")
    assert data.labels == [1, 1, 1, -1]
    assert "labelled -1: 9" in data.notes[0]


def test_coarser_grids_keep_what_is_half_full():
    fine = np.zeros((4, 4, 4), bool)
    fine[:2, :2, 0] = True  # 4 of 8
    fine[2:, 2:, 2:] = True
    fine[0, 0, 3] = True  # 1 of 8
    coarse = reduced(fine, 2)
    assert coarse[0, 0, 0]
    assert coarse[1, 1, 1]
    assert coarse.sum() == 2


def test_resolution_applies(save):
    path = save(voxels=np.ones((3, 8, 8, 8)))
    assert read(path, resolution=4)[0].shape == (4, 4, 4)
    with pytest.raises(UserError, match="8 cells a side cannot be reduced to 5"):
        read(path, resolution=5)


def broken(value, shape=2):
    values = blobs().astype(np.float64)
    values[shape, 1, 2, 3] = value
    return values


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (blobs()[0], r"shape \(8, 8, 8\), which looks like one shape"),
        (blobs()[..., None], "5 axes"),
        (blobs()[:, 0, 0], "2 axes"),
        (blobs()[:, :, :7], "form no cube"),
        (blobs()[..., :7], "form no cube"),
        (np.packbits(blobs(), axis=-1), "saved as 'voxels_packed'"),
        (np.zeros((0, 8, 8, 8)), "it is empty"),
        (np.full((2, 8, 8, 8), "a"), "holds <U1 values"),
        (broken(0.5), "shape 2 of .* holds 0.5, and cells are 0 or 1"),
        (blobs() * np.uint8(255), r"shape 0 of .* holds 255.*\n.*127"),
        (-broken(0), "holds -1"),
        (broken(np.nan), "shape 2 of .* has 1 values that are NaN"),
        (broken(np.inf), "shape 2 of .* NaN or infinite"),
        (blobs() & (np.arange(4) != 3)[:, None, None, None], "shape 3 of .* is empty"),
    ],
)
def test_arrays_that_are_no_shapes(save, array, message):
    with pytest.raises(UserError, match=message):
        read(save(voxels=array))


def test_packed_bits_of_another_size(save):
    with pytest.raises(UserError, match=r"\(n, r, r, r/8\)"):
        read(save(voxels_packed=np.zeros((3, 8, 8, 2), np.uint8)))


def test_a_shape_that_vanishes_when_reduced(save):
    thin = np.zeros((2, 8, 8, 8))
    thin[0, 0, 0] = 1  # a line: a quarter of the cells it passes through
    thin[1] = 1
    with pytest.raises(UserError, match=r"shape 0 of .* is empty at this resolution"):
        read(save(voxels=thin), resolution=4)


def test_bad_shapes_may_be_skipped(save):
    values = broken(np.nan)
    values[0] = 0
    values[1, 0, 0, 0] = 3
    data = voxels(save(voxels=values, labels=np.arange(4)), skip_bad=True).dataset("all")
    assert list(data.ids) == ["3"]
    assert data.labels == [3]
    assert data.notes == ["skipped 3 unusable shapes: 0, 1, 2"]
    with pytest.raises(UserError, match="none of the 2 shapes can be used"):
        voxels(save(voxels=np.zeros((2, 8, 8, 8))), skip_bad=True).dataset("all")


def test_new_shapes_of_another_size(save):
    run = prepared(save(voxels=blobs()))
    with pytest.raises(UserError, match="12 cells a side cannot be reduced to 8"):
        voxels(save(voxels=blobs(side=12)), run.state).dataset("all")


def test_what_is_no_array_of_shapes_is_refused(save):
    with pytest.raises(UserError, match=r"no array 'voxels' or 'voxels_packed' \(found: a, b\)"):
        read(save(a=blobs(), b=blobs()))
    with pytest.raises(UserError, match="must be 4 booleans"):
        read(save(voxels=blobs(), is_test=np.ones(3, bool)))
