"""Grids, data sets and their splits, functaset files and seeds."""

import json
import math

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from functa_core import Dataset, DataSource, Functaset, UserError, grid, random_subset, skip_notes
from functa_core import sphere_grid as sphere
from functa_core.seeding import derive


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=3))
def test_grid_holds_the_centres_of_cells_first_axis_slowest(shape):
    coords = grid(shape).reshape(*shape, len(shape)).numpy()
    for place in np.ndindex(*shape):
        expected = [(i + 0.5) / n for i, n in zip(place, shape, strict=True)]
        np.testing.assert_allclose(coords[place], expected, rtol=1e-6)


def test_grid_fills_the_box_it_is_given():
    coords = grid((2, 4), low=(-1.0, 0.0), high=(1.0, 8.0))
    assert coords[:, 0].unique().tolist() == [-0.5, 0.5]
    assert coords[:, 1].unique().tolist() == [1, 3, 5, 7]


def test_sphere_grid_runs_from_north_to_south():
    coords = sphere(90, 180).double()
    torch.testing.assert_close(coords.norm(dim=1), torch.ones(90 * 180, dtype=torch.float64))
    latitude = torch.asin(coords[:, 2]) * 180 / math.pi
    longitude = torch.atan2(coords[:, 1], coords[:, 0]) * 180 / math.pi
    assert float(latitude[0]) == pytest.approx(89, abs=1e-3)
    assert float(latitude[-1]) == pytest.approx(-89, abs=1e-3)
    assert longitude[:3].tolist() == pytest.approx([1, 3, 5], abs=1e-3)


@given(count=st.integers(1, 50), size=st.none() | st.integers(1, 60), seed=st.integers(0, 9))
def test_random_subset_is_a_part_without_repeats(count, size, seed):
    generator = torch.Generator().manual_seed(seed)
    chosen = random_subset(count, size, generator).tolist()
    assert len(chosen) == min(count, size or count)
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(range(count))
    assert random_subset(count, size, None).tolist() == list(range(count))


def numbers(count, **more):
    return Dataset(ids=[f"s{i}" for i in range(count)], load=lambda i: i * 10, **more)


@given(
    count=st.integers(2, 60),
    fraction=st.floats(0.01, 0.9),
    seed=st.integers(0, 99),
)
def test_a_random_split_is_a_partition_in_file_order(count, fraction, seed):
    source = DataSource(test_fraction=fraction, seed=seed)
    data = numbers(count, labels=list(range(count)))
    train, test = data.split("train", source), data.split("test", source)
    assert len(train) >= 1
    assert len(test) >= 1
    assert sorted([*train.ids, *test.ids]) == sorted(data.ids)
    for part in (train, test):
        assert part.labels == sorted(part.labels)
        assert [part[i] for i in range(len(part))] == [10 * label for label in part.labels]
    assert data.split("test", source).ids == test.ids
    assert data.split("all", source).ids == data.ids


def test_a_named_split_is_kept_and_one_signal_is_in_both():
    source = DataSource()
    assert numbers(3, is_test=[False, True, False]).split("test", source).ids == ["s1"]
    assert numbers(1).split("test", source).ids == numbers(1).split("train", source).ids == ["s0"]


@pytest.mark.parametrize("marks", [[True], [True] * 4, [False] * 4])
def test_a_split_of_the_data_has_something_on_either_side(marks):
    data, source = numbers(len(marks), is_test=marks), DataSource()
    for side in ("train", "test"):
        with pytest.raises(UserError, match=f"{len(marks)} signal") as refused:
            data.split(side, source)
        found, lacking = ("test", "training") if marks[0] else ("training", "test")
        assert f"marked as {found} data, so there is no {lacking} data" in str(refused.value)
    assert data.split("all", source).ids == data.ids


def test_what_is_selected_keeps_its_label_and_its_mark():
    data = numbers(4, is_test=[True, False, False, True]).with_classes(["b", None, "a", "b"])
    part = data.select([3, 1, 2])
    assert (part.labels, part.label_names) == ([1, -1, 0], ["a", "b"])
    assert part.split("train", DataSource()).ids == ["s1", "s2"]


def test_labels_count_the_classes_that_there_are_or_are_said_to_be():
    assert numbers(2).with_classes([None, None]).labels is None
    more = numbers(2).with_classes([None, "b"], ["c", "b"])
    assert (more.labels, more.label_names) == ([-1, 1], ["c", "b"])


@given(
    st.lists(st.sampled_from([*"abcdefgh", None]), min_size=1),
    st.lists(st.sampled_from("abcdefgh"), unique=True),
)
def test_labels_of_new_data_count_as_the_run_does(classes, known):
    own = numbers(len(classes), notes=["before"]).with_classes(classes)
    data = own.relabelled(known)
    if own.labels is None or not known:
        assert data is own
        return
    assert data.label_names == known
    told = [known[label] if label >= 0 else None for label in data.labels]
    assert told == [name if name in known else None for name in classes]
    unknown = sorted({c for c in classes if c is not None} - set(known))
    assert len(data.notes) == 1 + bool(unknown)
    assert data.notes[-1].endswith(
        f"-1: {', '.join(unknown[:5])}" + f" and {len(unknown) - 5} more" * (len(unknown) > 5)
        if unknown
        else "before"
    )


def test_what_is_skipped_is_counted_and_named():
    assert skip_notes([], "unreadable file") == []
    assert skip_notes(["a"], "unreadable file") == ["skipped 1 unreadable file: a"]
    assert skip_notes(list("abc"), "odd line") == ["skipped 3 odd lines: a, b, c"]
    assert skip_notes(list("abcde"), "odd line") == ["skipped 5 odd lines: a, b, c and 2 more"]


def test_datasets_load_only_what_is_asked_for():
    loaded = []
    data = Dataset(ids=list("abcd"), load=lambda i: loaded.append(i) or i)
    part = data[1:3]
    assert (len(part), part.ids, loaded) == (2, ["b", "c"], [])
    assert (part[-1], loaded) == (2, [2])
    with pytest.raises(IndexError):
        part[2]
    assert list(part) == [1, 2]


@pytest.fixture
def functaset():
    return Functaset(
        latents=torch.randn(3, 2, 4),
        psnr_db=torch.tensor([20.0, 21.0, 22.0]),
        labels=torch.tensor([0, 1, -1]),
        ids=["a", "b", "ç"],
        modality="clips",
        spec={"channels": 1},
        state={"label_names": ["x", "y"]},
        split="all",
        weights_sha256="f" * 64,
        inner_steps=3,
        versions={"functa-core": "0", "plugin": "1"},
    )


@pytest.mark.parametrize("labels", [True, False])
def test_functasets_come_back_as_they_were_written(functaset, labels, tmp_path):
    if not labels:
        functaset = attrs.evolve(functaset, labels=None)
    functaset.save(tmp_path / "new" / "f.safetensors")
    back = Functaset.load(tmp_path / "new" / "f.safetensors")
    for field in attrs.fields(Functaset):
        ours, theirs = getattr(back, field.name), getattr(functaset, field.name)
        same = torch.equal(ours, theirs) if isinstance(theirs, torch.Tensor) else ours == theirs
        assert same, field.name
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["f.safetensors"]


def test_a_functaset_is_plain_safetensors(functaset, tmp_path):
    """The layout that is written down, read without our code."""
    functaset.save(tmp_path / "f.safetensors")
    raw = (tmp_path / "f.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    assert header["latents"]["dtype"] == "F32"
    assert header["latents"]["shape"] == [3, 2, 4]
    about = json.loads(header["__metadata__"]["functa"])
    assert about["schema_version"] == 1
    assert about["ids"] == ["a", "b", "ç"]


def test_other_weights_are_refused(functaset, tmp_path):
    functaset.check_weights("f" * 64, tmp_path)
    with pytest.raises(UserError, match="other weights"):
        functaset.check_weights("e" * 64, tmp_path)


@settings(max_examples=30)
@given(st.integers(0, 2**31 - 1), st.integers(0, 10**6), st.integers(0, 10**6))
def test_seeds_differ_by_purpose(seed, one, other):
    assert derive(seed, "batch", one) == derive(seed, "batch", one)
    assert 0 <= derive(seed, "batch", one) < 2**63
    assert derive(seed, "batch", one) != derive(seed, "noise", one)
    if one != other:
        assert derive(seed, "batch", one) != derive(seed, "batch", other)
