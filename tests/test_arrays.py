"""Array files: .npy and .npz, and what an .npz has beside the signals."""

import zipfile

import numpy as np
import pytest

from functa_core import ArrayFile, Dataset, DataSource, UserError, arrays


@pytest.fixture
def save(tmp_path):
    """Write an .npz with these arrays and read it."""

    def write(**arrays):
        np.savez(tmp_path / "x.npz", **arrays)
        return ArrayFile.read(tmp_path / "x.npz", lone="clips")

    return write


def annotated(file, count=4):
    return file.annotated(Dataset([f"s{i}" for i in range(count)], lambda i: i * 10))


def test_labels_names_and_split(save):
    data = annotated(
        save(
            labels=np.array([1, 0, -1, 1], np.int8),
            label_names=np.array(["a", "b"]),
            is_test=np.array([False, True, False, True]),
        )
    )
    assert (data.labels, list(data.label_names)) == ([1, 0, -1, 1], ["a", "b"])
    test = data.split("test", DataSource())
    assert (test.ids, list(test), test.labels) == (["s1", "s3"], [10, 30], [0, 1])


def test_nothing_need_be_there(save):
    data = annotated(save(clips=np.zeros(4)))
    assert (data.labels, data.label_names, data.is_test) == (None, (), None)


def test_classes_without_names_are_called_by_their_number(save):
    data = annotated(save(labels=np.array([7, 5, -1, 10])))
    assert (list(data.label_names), data.labels) == (["5", "7", "10"], [1, 0, -1, 2])


@pytest.mark.parametrize("names", [np.array([b"a", b"b\xff"]), np.array([["a"], ["b\ufffd"]])])
def test_names_may_be_bytes_and_in_a_column(save, names):
    data = annotated(save(labels=np.zeros(4, int), label_names=names))
    assert list(data.label_names) == ["a", "b\ufffd"]


def test_names_nobody_has_stay(save):
    data = annotated(save(labels=np.full(4, -1), label_names=np.array(["a"])))
    assert (data.labels, list(data.label_names)) == ([-1] * 4, ["a"])


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ({"labels": np.arange(3)}, r"'labels' of .*x.npz has shape \(3,\).*\n.*be 4 integers"),
        ({"labels": np.zeros((4, 1), int)}, r"shape \(4, 1\)"),
        ({"labels": np.linspace(0, 1, 4)}, "type float64"),
        ({"labels": np.arange(4), "label_names": np.array(["a", "b"])}, "goes from 0 to 3"),
        ({"labels": np.zeros(4, int), "label_names": np.array(["a", "a"])}, "1 different names"),
        ({"labels": np.arange(4) - 2}, "goes from -2 to 1"),
        ({"labels": np.arange(4) - 2, "label_names": np.array(["a", "b"])}, "from -2 to 1"),
        ({"is_test": np.array([0, 1, 0, 1])}, "must be 4 booleans"),
        ({"is_test": np.array([True])}, "must be 4 booleans"),
    ],
)
def test_what_lies_beside_is_checked(save, beside, message):
    with pytest.raises(UserError, match=message):
        annotated(save(**beside))


def test_where_the_signals_are(save):
    names = np.array(["p", "q"])
    both = save(clips=np.zeros(2), packed=np.zeros(2), labels=np.zeros(2))
    assert both.signals_key("clips", "packed") == "clips"
    assert both.signals_key("packed", "clips") == "packed"
    assert save(other=np.zeros(2), labels=names).signals_key("clips") == "other"
    assert save(other=np.zeros(2), names=names).signals_key("clips", beside=["names"]) == "other"
    for keys, message in (
        (["clips"], r"no array 'clips' \(found: a, b\)(.|\n)*under that name.*clips=…"),
        (["clips", "packed"], "no array 'clips' or 'packed'(.|\n)*one of these names"),
    ):
        with pytest.raises(UserError, match=message):
            save(a=names, b=names).signals_key(*keys)
    with pytest.raises(UserError, match="found: labels"):
        save(labels=names).signals_key("clips")
    with pytest.raises(UserError, match="found: nothing"):
        save().signals_key("clips")


def test_a_misspelt_name_is_refused_and_a_foreign_one_is_not(save):
    clips = np.zeros(2)
    for name in ("label", "istest", "label_name", "Clips", "clip"):
        with pytest.raises(UserError, match=f"an array '{name}', which is not read. Did you mean"):
            save(clips=clips, **{name: clips}).signals_key("clips")
    assert save(clips=clips, age=clips, patient=clips).signals_key("clips") == "clips"
    assert save(clip=clips).signals_key("clips") == "clip"  # the only one there


def test_the_array_of_an_npy_has_the_name_it_is_given(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(3))
    file = ArrayFile.read(tmp_path / "x.npy", lone="clips")
    assert file.signals_key("clips") == "clips"
    assert file.arrays["clips"].tolist() == [0, 1, 2]


def test_python_objects_are_not_loaded(save):
    with pytest.raises(UserError, match=r"holds Python objects.*\n.*clips=np\.stack"):
        save(clips=np.array([{}, {}], dtype=object))


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY, not really", b"PK and then nothing"])
def test_damaged_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as an array file"):
        ArrayFile.read(tmp_path / name, lone="clips")


def test_files_cut_short_or_spoilt(tmp_path, save):
    path = save(clips=np.arange(1000)).path
    whole = path.read_bytes()
    for content in (whole[:300], whole[:2000] + b"spoilt" + whole[2006:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as an array file"):
            ArrayFile.read(path, lone="clips")
    with pytest.raises(UserError, match="cannot be read as an array file"):
        ArrayFile.read(tmp_path / "absent.npz", lone="clips")


ARRAYS: dict[str, np.ndarray] = {
    "clips": np.arange(60, dtype=np.float32).reshape(5, 3, 4),
    "columns": np.asfortranarray(np.arange(120, dtype=np.int16).reshape(4, 30)),
    "bytes": np.arange(7, dtype=np.uint8),
    "big": np.arange(5, dtype=">f8"),
    "none": np.zeros((0, 3)),
    "one": np.array(3.5),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_a_mapped_npy_is_what_is_read(tmp_path, monkeypatch, name):
    monkeypatch.setattr(arrays, "MAPPED", 1)
    np.save(tmp_path / "x.npy", ARRAYS[name])
    found = ArrayFile.read(tmp_path / "x.npy", lone="clips").arrays["clips"]
    assert same(found, ARRAYS[name])


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_the_arrays_of_an_npz_are_the_same_mapped_or_not(tmp_path, monkeypatch, write):
    path = tmp_path / "x.npz"
    write(path, **ARRAYS)
    read = ArrayFile.read(path, lone="clips").arrays
    monkeypatch.setattr(arrays, "MAPPED", 200)  # bytes of the member, its header among them
    mapped = ArrayFile.read(path, lone="clips").arrays
    assert set(mapped) == set(read) == set(ARRAYS)
    assert all(same(mapped[key], ARRAYS[key]) and same(read[key], ARRAYS[key]) for key in ARRAYS)
    assert not any(isinstance(array, np.memmap) for array in read.values())
    kinds = {key for key, array in mapped.items() if isinstance(array, np.memmap)}
    stored = write is np.savez
    assert kinds == ({"clips", "columns"} if stored else set())
    for key in kinds:
        with pytest.raises(ValueError, match="read-only"):
            mapped[key][:] = 0


def test_a_member_whose_name_is_told_twice_is_found_by_its_own_header(tmp_path, monkeypatch):
    """Archivers put fields of their own before a member, of another length than the directory's."""
    monkeypatch.setattr(arrays, "MAPPED", 200)
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name in ("first.npy", "second.npy"):
            with archive.open(name, "w", force_zip64=True) as member:  # 20 bytes more
                np.lib.format.write_array(member, ARRAYS["clips"], version=(2, 0))
    found = ArrayFile.read(path, lone="clips").arrays
    assert isinstance(found["second"], np.memmap)
    assert same(found["second"], ARRAYS["clips"])


def test_what_is_refused_is_refused_mapped_too(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MAPPED", 1)
    np.savez(tmp_path / "x.npz", clips=np.array([{}, {}], dtype=object))
    with pytest.raises(UserError, match="holds Python objects"):
        ArrayFile.read(tmp_path / "x.npz", lone="clips")
    np.save(tmp_path / "x.npy", ARRAYS["clips"])
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole[:-20])
    with pytest.raises(UserError, match="cannot be read as an array file"):
        ArrayFile.read(tmp_path / "x.npy", lone="clips")


def same(found, expected):
    """Equal in type, shape and every number."""
    return (found.dtype, found.shape) == (expected.dtype, expected.shape) and np.array_equal(
        found, expected
    )
