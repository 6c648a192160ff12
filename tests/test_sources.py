"""Folders, zip archives and single files of data, read alike; classes that folders are."""

import os
import pickle
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functa_core import Files, UserError, class_folders
from functa_core import sources as module


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    for name in ("b/2.txt", "a.txt", "b/10.txt", ".hidden/x.txt", "b/.y.txt", "__MACOSX/._a.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"in {name}")
    return root


@pytest.fixture
def zipped(data):
    path = data.with_suffix(".ZIP")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(data.rglob("*")):
            archive.write(file, file.relative_to(data))
    return path


def test_a_folder_and_a_zip_of_it_are_alike(data, zipped, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    for root in (data, zipped):
        files = Files(root)
        assert files.root == root
        assert files.names == ["a.txt", "b/10.txt", "b/2.txt"]
        assert "b/2.txt" in files
        assert "b" not in files
        assert files.read("b/2.txt") == b"in b/2.txt"
        assert files.text("a.txt") == "in a.txt"
    assert sorted(tmp_path.rglob("*")) == before, "nothing is unpacked"


def test_a_single_file_is_a_set_of_one_even_if_it_is_hidden(data):
    for name in ("a.txt", "b/.y.txt"):
        files = Files(data / name)
        assert files.names == [(data / name).name]
        assert files.text(files.names[0]) == f"in {name}"


def test_linked_folders_are_followed_and_loops_end(data, tmp_path):
    (data / "class").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x.txt").write_text("x")
    (tmp_path / "elsewhere/back").symlink_to(data)
    assert Files(data).names == ["a.txt", "b/10.txt", "b/2.txt", "class/x.txt"]


def test_it_goes_to_other_processes(data, zipped):
    for root in (data, zipped):
        files = pickle.loads(pickle.dumps(Files(root)))
        assert files.names == Files(root).names
        assert files.text("a.txt") == "in a.txt"


def test_what_is_no_text_does_not_stop_the_reading(data):
    (data / "a.txt").write_bytes(b"a\xff")
    assert Files(data).text("a.txt") == "a\ufffd"


def test_an_unreadable_file_is_named_with_its_reason(data, zipped):
    (data / "a.txt").unlink()
    with pytest.raises(UserError, match=r"'b/none' in .* cannot be read") as refused:
        Files(data).read("b/none")
    assert isinstance(refused.value.__cause__, FileNotFoundError)
    with zipfile.ZipFile(zipped) as archive:
        start = archive.getinfo("a.txt").header_offset
    content = bytearray(zipped.read_bytes())
    content[start + 30 + len("a.txt") + 4] ^= 255  # in what was packed, behind the member's header
    zipped.write_bytes(content)
    with pytest.raises(UserError, match=r"'a\.txt' in .*ZIP' cannot be read"):
        Files(zipped).read("a.txt")


def test_a_pipe_is_not_waited_for(data):
    os.mkfifo(data / "b" / "pipe.txt")
    with pytest.raises(UserError, match="it is no regular file"):
        Files(data).read("b/pipe.txt")
    with pytest.raises(UserError, match="it is no regular file"):
        Files(data / "b" / "pipe.txt").read("pipe.txt")


def test_runs_in_a_folder_are_no_data(data):
    before = Files(data).names
    run = data / "b" / "runs" / "first"
    (run / "figures").mkdir(parents=True)
    for name in ("config.yaml", "modality.json", "figures/fits.png"):
        (run / name).write_text("of a run")
    assert Files(data).names == before
    (run / "modality.json").unlink()  # somebody's own configuration file makes no run
    assert "b/runs/first/figures/fits.png" in Files(data).names
    (run / "modality.json").write_text("of a run")
    assert "figures/fits.png" in Files(run).names  # who names it means it


def test_a_member_that_claims_too_much_is_not_unpacked(zipped, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_MEMBER", 9)
    files = Files(zipped)
    assert files.read("a.txt")
    with pytest.raises(UserError, match="it would unpack to more than 9 bytes"):
        files.read("b/2.txt")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root reads everything")
def test_a_folder_without_permission_is_refused(data):
    (data / "b").chmod(0)
    try:
        with pytest.raises(UserError, match=r"data/b cannot be read: Permission"):
            Files(data)
    finally:
        (data / "b").chmod(0o700)


@pytest.mark.parametrize("content", [b"", b"PK, not really"])
def test_what_is_no_zip(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.zip cannot be read as a zip archive"):
        Files(tmp_path / "x.zip")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "C:/x", "..\\x", "\\x"])
def test_members_that_lie_outside_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("fine", "")
        archive.writestr(name, "")
    with pytest.raises(UserError, match=r"x\.zip has a member .* outside of the zip"):
        Files(tmp_path / "x.zip")


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("10.txt", "b/10.txt"),
        (".\\10.txt", "b/10.txt"),
        ("../a.txt", "a.txt"),
        ("../../data/a.txt", None),
        ("/etc/passwd", None),
        ("absent.txt", None),
        (".y.txt", None),
        ("", None),
    ],
)
def test_names_in_a_file_lead_to_others_of_the_data_only(data, told, found):
    assert Files(data).beside("b/2.txt", told) == found


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        (["set/cat/1", "set/cat/2", "set/dog"], ["cat", "cat", "dog"]),
        (["set/cat", "set/cat"], ["cat", "cat"]),
        (["set/cat", "set"], ["set", "set"]),
        (["cat", ""], ["cat", None]),
        (["", ""], [None, None]),
        ([], []),
    ],
)
def test_class_folders(folders, classes):
    assert class_folders([f.split("/") if f else [] for f in folders]) == classes


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=4), min_size=1))
def test_a_class_is_one_of_the_folders_at_one_depth(folders):
    classes = class_folders(folders)
    depths = [
        depth
        for depth in range(5)
        if classes == [f[depth] if len(f) > depth else None for f in folders]
    ]
    assert depths
    assert class_folders([["top", *f] for f in folders if f]) == class_folders(
        [f for f in folders if f]
    )
