"""Folders, zip archives and single files of pictures."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from images_on_disk import images, picture, prepared, read
from PIL import Image

from functa_core import UserError


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
    return path


def folder(root: Path, *names: str, size: int = 8) -> Path:
    for i, name in enumerate(names):
        save(root / name, picture(size, size, seed=i))
    return root


def zipped(path: Path, root: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*.*")):
            archive.write(file, prefix + file.relative_to(root).as_posix())
        archive.writestr("__MACOSX/._a.png", b"resource fork")
        archive.writestr(f"{prefix}.DS_Store", b"")
    return path


def test_a_nested_folder_is_read_in_order_of_its_paths(tmp_path):
    root = folder(tmp_path, "b/2.PNG", "a.png", "b/10.png", ".hidden/x.png", ".y.png")
    data = read(root)
    assert data.ids == ["a.png", "b/10.png", "b/2.PNG"]
    assert np.array_equal(data[0], picture(seed=1))
    assert np.array_equal(data[2], picture(seed=0))
    assert data[0].dtype == np.uint8
    assert data.labels is None


def test_jpeg_is_read(tmp_path):
    save(tmp_path / "flat.jpeg", np.full((16, 16, 3), 77, np.uint8))
    assert np.abs(read(tmp_path)[0].astype(int) - 77).max() <= 1


@pytest.mark.parametrize("prefix", ["", "photos/"])
def test_a_zip_reads_as_the_folder_in_it(tmp_path, prefix):
    root = folder(tmp_path / "in", "a.png", "c/b.png")
    path = zipped(tmp_path / "photos.zip", root, prefix)
    before = sorted(tmp_path.rglob("*"))
    data, plain = read(path), read(root)
    assert list(data.ids) == list(plain.ids)
    assert all(np.array_equal(a, b) for a, b in zip(data, plain, strict=True))
    assert sorted(tmp_path.rglob("*")) == before, "nothing is unpacked"


@pytest.mark.parametrize("prefix", ["", "photos/"])
def test_a_zip_keeps_its_classes_and_split(tmp_path, prefix):
    root = folder(tmp_path / "in", "train/cat/1.png", "train/dog/1.png", "test/cat/2.png")
    path = zipped(tmp_path / "x.zip", root, prefix)
    assert list(read(path, "test", labels=True).ids) == ["test/cat/2.png"]
    assert list(read(path, labels=True).label_names) == ["cat", "dog"]


def test_a_zip_of_one_class_keeps_it(tmp_path):
    path = zipped(tmp_path / "x.zip", folder(tmp_path / "in", "cat/1.png", "cat/2.png"))
    assert list(read(path, labels=True).label_names) == ["cat"]


def test_a_single_file_is_a_set_of_one(tmp_path):
    path = save(tmp_path / "one.png", picture())
    assert list(read(path).ids) == ["one.png"]


def test_other_pictures_beside_are_mentioned(tmp_path):
    folder(tmp_path, "a.png")
    (tmp_path / "b.webp").write_bytes(b"")
    assert "1 .webp" in " ".join(read(tmp_path).notes)


# Splits and labels


def test_a_test_folder_is_the_split(tmp_path):
    root = folder(tmp_path, "train/a.png", "Test/b.png", "more/c.png")
    assert list(read(root, "test").ids) == ["Test/b.png"]
    assert list(read(root, "train").ids) == ["more/c.png", "train/a.png"]


def test_without_one_the_seed_splits(tmp_path):
    root = folder(tmp_path, *(f"{i}.png" for i in range(20)))
    train, test = (images(root, seed=3).dataset(s) for s in ("train", "test"))
    assert len(test) == 2
    assert sorted([*train.ids, *test.ids]) == list(read(root).ids)
    assert list(test.ids) != list(images(root, seed=4).dataset("test").ids)


def test_only_a_test_folder_is_refused(tmp_path):
    root = folder(tmp_path, "test/a.png", "test/b.png")
    with pytest.raises(UserError, match=r"2 signals.* marked as test data"):
        read(root, "train")
    assert len(read(root, "all")) == 2


def test_class_folders(tmp_path):
    root = folder(tmp_path, "dog/1.png", "cat/deep/1.png", "cat/2.png")
    data = read(root, labels=True)
    assert list(data.label_names) == ["cat", "dog"]
    assert data.labels == [0, 0, 1]


def test_class_folders_below_the_split(tmp_path):
    root = folder(tmp_path, "train/dog/1.png", "test/cat/1.png", "val/cat/2.png")
    data = read(root, labels=True)
    assert dict(zip(data.ids, data.labels, strict=True)) == {
        "test/cat/1.png": 0,
        "train/dog/1.png": 1,
        "val/cat/2.png": 0,
    }


def test_a_class_may_be_called_train(tmp_path):
    data = read(folder(tmp_path, "train/1.png", "car/1.png"), labels=True)
    assert list(data.label_names) == ["car", "train"]


def test_a_picture_without_class_is_refused(tmp_path):
    root = folder(tmp_path, "cat/1.png", "stray.png")
    with pytest.raises(UserError, match=r"1 of 2 lie in none, stray\.png"):
        read(root, labels=True)


def test_new_data_counts_labels_as_the_run_does(tmp_path):
    run = prepared(folder(tmp_path / "a", "cat/1.png", "dog/1.png"), labels=True)
    new = folder(tmp_path / "b", "dog/1.png", "emu/1.png")
    data = images(new, state=run.state, labels=True).dataset("all")
    assert data.labels == [1, -1]
    assert list(data.label_names) == ["cat", "dog"]
    assert "emu" in " ".join(data.notes)


def test_new_data_may_have_no_classes(tmp_path):
    run = prepared(folder(tmp_path / "a", "cat/1.png", "dog/1.png"), labels=True)
    new = folder(tmp_path / "b", "1.png")
    assert images(new, state=run.state, labels=True).dataset("all").labels is None


# What is refused


def test_a_missing_path(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        read(tmp_path / "nowhere")


def test_a_folder_without_pictures(tmp_path):
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(UserError, match=r"no PNG or JPEG image \(found: 1 \.txt\)"):
        read(tmp_path)


def test_an_unknown_kind_of_file(tmp_path):
    path = tmp_path / "x.gif"
    path.write_bytes(b"GIF89a")
    with pytest.raises(UserError, match=r"is a \.gif file, which is not read"):
        read(path)


def truncated(suffix: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(64, 64)).save(stream, {".png": "PNG", ".jpg": "JPEG"}[suffix])
    return stream.getvalue()[: len(stream.getvalue()) // 2]


@pytest.mark.parametrize("content", [truncated(".png"), truncated(".jpg"), b"", b"not a picture"])
def test_a_damaged_picture_is_named_or_skipped(tmp_path, content):
    root = folder(tmp_path, *(f"{i}.png" for i in range(9)))
    (root / "sub").mkdir()
    (root / "sub" / "bad.jpg").write_bytes(content)
    with pytest.raises(UserError, match=r"sub/bad\.jpg .*cannot be read(.|\n)*--skip-bad"):
        read(root)
    data = images(root, skip_bad=True).dataset("all")
    assert len(data) == 9
    assert list(data.notes) == ["skipped 1 unreadable image: sub/bad.jpg"]


def test_nothing_left_after_skipping(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(UserError, match="none of the 1 images"):
        images(tmp_path, skip_bad=True).dataset("all")


def test_a_decompression_bomb(tmp_path, monkeypatch):
    folder(tmp_path, "a.png", size=64)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=r"a\.png .* more than 200 pixels"):
        read(tmp_path)


def test_sizes_that_differ(tmp_path):
    save(tmp_path / "a.png", picture(8, 8))
    save(tmp_path / "b.png", picture(8, 12))
    with pytest.raises(UserError, match=r"a\.png is 8x8 .*b\.png is 12x8(.|\n)*resolution=64"):
        read(tmp_path)
    assert [p.shape for p in read(tmp_path, resolution=4)] == [(4, 4, 3)] * 2


def test_new_data_of_another_size(tmp_path):
    run = prepared(folder(tmp_path / "a", "1.png", "2.png"))
    new = folder(tmp_path / "b", "1.png", size=12)
    with pytest.raises(UserError, match=r"1\.png is 12x12 .*trained on 8x8"):
        images(new, state=run.state).dataset("all")


def test_files_are_decoded_once(tmp_path, monkeypatch):
    root = folder(tmp_path, "a.png", "b.png", "c.png")
    modality = images(root)
    first = modality.dataset("train")
    monkeypatch.setattr(Image, "open", None)
    assert len(first) + len(modality.dataset("test")) == 3
