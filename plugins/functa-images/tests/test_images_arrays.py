"""Array files."""

import numpy as np
import pytest
from images_on_disk import images, picture, prepared, read

from functa_core import UserError


@pytest.fixture
def save(tmp_path):
    """Write an .npz with these arrays and give its path."""

    def write(**arrays):
        np.savez(tmp_path / "x.npz", **arrays)
        return tmp_path / "x.npz"

    return write


def stack(count=4, height=8, width=6, channels=3):
    return np.stack([picture(height, width, channels, seed=i) for i in range(count)])


def test_npz_with_everything(save):
    path = save(
        images=stack(),
        labels=np.array([1, 0, -1, 1], np.int8),
        label_names=np.array(["a", "b"]),
        is_test=np.array([False, True, False, True]),
    )
    test = read(path, "test")
    assert list(test.ids) == ["1", "3"]
    assert test.labels == [0, 1]
    assert list(test.label_names) == ["a", "b"]
    assert np.array_equal(test[0], stack()[1])
    assert read(path, "train").labels == [1, -1]


def test_npy_of_grey_floats(tmp_path):
    values = np.random.default_rng(0).random((3, 8, 8))
    np.save(tmp_path / "x.npy", values)
    data = read(tmp_path / "x.npy")
    assert data[1].shape == (8, 8, 1)
    assert data[1].dtype == np.float32
    assert np.allclose(data[1][..., 0], values[1])


def test_a_lone_array_of_any_name(save):
    assert len(read(save(data=stack(), labels=np.arange(4)))) == 4


def test_new_arrays_count_labels_as_the_run_does(save):
    run = prepared(save(images=stack(), labels=np.array([7, 5, 7, 5])))
    data = images(save(images=stack(), labels=np.array([7, 7, 7, 9])), run.state).dataset("all")
    assert data.labels == [1, 1, 1, -1]


def test_resolution_and_channels_apply(save):
    data = read(save(images=stack()), resolution=4, channels=1)
    assert data[0].shape == (4, 4, 1)
    floats = read(save(images=stack() / 255), resolution=4)
    assert floats[0].shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (stack().astype(np.int32), "holds int32 values"),
        (stack()[..., :2], r"has shape \(4, 8, 6, 2\)"),
        (np.zeros((4, 8, 8, 5), np.uint8), "with 1, 3 or 4 channels last"),
        (np.zeros((8, 8), np.uint8), r"has shape \(8, 8\)"),
        (np.zeros((2, 2, 8, 8, 3), np.uint8), r"has shape \(2, 2, 8, 8, 3\)"),
        (np.zeros((8, 8, 3), np.uint8), "looks like one picture"),
        (np.zeros((0, 8, 8), np.uint8), "is empty"),
        (np.full((2, 8, 8), 200.0), "floats from 200 to 200; they must lie between 0 and 1"),
        (np.full((2, 8, 8), -0.5), "floats from -0.5"),
    ],
)
def test_arrays_that_are_no_pictures(save, array, message):
    with pytest.raises(UserError, match=message):
        read(save(images=array))


def test_nan_is_located_counted_and_may_be_skipped(save):
    values = stack().astype(np.float64) / 255
    values[2, 0, 0, :2] = np.nan
    values[3, 0, 0, 0] = np.inf
    path = save(images=values, labels=np.arange(4))
    with pytest.raises(UserError, match=r"image 2 of .* has 2 values .*\(2 of 4 images"):
        read(path)
    data = images(path, skip_bad=True).dataset("all")
    assert list(data.ids) == ["0", "1"]
    assert data.labels == [0, 1]
    assert "skipped 2 unreadable images: 2, 3" in data.notes


def test_what_is_no_array_of_pictures_is_refused(save):
    with pytest.raises(UserError, match=r"no array 'images' \(found: a, b\)"):
        read(save(a=stack(), b=stack()))
    with pytest.raises(UserError, match="must be 4 integers"):
        read(save(images=stack(), labels=np.arange(3)))


def test_nothing_left_after_skipping(save):
    with pytest.raises(UserError, match="all 2 images"):
        images(save(images=np.full((2, 8, 8), np.nan)), skip_bad=True).dataset("all")


def test_new_arrays_of_another_size(save):
    run = prepared(save(images=stack()))
    with pytest.raises(UserError, match=r"image 0 is 5x8 .* trained on 6x8"):
        images(save(images=stack(width=5)), run.state).dataset("all")
