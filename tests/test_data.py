"""Grids, splits, functaset files and caches."""

import json
import math
import threading

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from functa_core import Dataset, DataSource, Functaset, UserError, cached, grid, random_subset
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
    assert numbers(3).split("test", source, [False, True, False]).ids == ["s1"]
    assert numbers(1).split("test", source).ids == numbers(1).split("train", source).ids == ["s0"]


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


def test_the_cache_makes_a_thing_once_and_never_half(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []

    def make(folder):
        made.append(folder)
        (folder / "x").write_text("1")
        if len(made) == 1:
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        cached("thing-v1", make)
    assert list((tmp_path / "functa").iterdir()) == []
    folder = cached("thing-v1", make)
    assert folder == tmp_path / "functa" / "thing-v1"
    assert cached("thing-v1", make) == folder
    assert len(made) == 2
    assert [p.name for p in (tmp_path / "functa").iterdir()] == ["thing-v1"]


def test_two_makers_at_once_do_no_harm(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    both = threading.Barrier(2)

    def make(folder):
        both.wait(timeout=10)
        (folder / "x").write_text("1")

    threads = [threading.Thread(target=cached, args=("t", make)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [p.name for p in (tmp_path / "functa" / "t").iterdir()] == ["x"]


@settings(max_examples=30)
@given(st.integers(0, 2**31 - 1), st.integers(0, 10**6), st.integers(0, 10**6))
def test_seeds_differ_by_purpose(seed, one, other):
    assert derive(seed, "batch", one) == derive(seed, "batch", one)
    assert 0 <= derive(seed, "batch", one) < 2**63
    assert derive(seed, "batch", one) != derive(seed, "noise", one)
    if one != other:
        assert derive(seed, "batch", one) != derive(seed, "batch", other)
