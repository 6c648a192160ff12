"""Functasets in memory and on disk: slices, statistics, shards, joining, exports, datasets."""

import json
import pickle
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

from functa_core import Functaset, ShardWriter, StoredFunctaset, UserError
from functa_core.functaset import onefile
from functa_core.functaset.joining import write_joined
from functa_core.functaset.statistics import Statistics, standardise

COUNT = 50


def make(count=COUNT, seed=0, **more):
    generator = torch.Generator().manual_seed(seed)
    whole = Functaset(
        latents=torch.randn(count, 2, 3, generator=generator) * 3 + 7,
        psnr_db=torch.rand(count, generator=generator) * 40,
        labels=torch.arange(count) % 3 - 1,
        ids=[f"{seed}/ç{i}" for i in range(count)],
        modality="clips",
        spec={"channels": 1},
        state={"label_names": ["low", "high"]},
        split="train",
        weights_sha256="f" * 64,
        inner_steps=3,
        versions={"functa-core": "0", "plugin": "1"},
    )
    return attrs.evolve(whole, **more)


@pytest.fixture
def whole():
    return make()


@pytest.fixture
def folder(whole, tmp_path):
    """As shards of 16, from batches of 7."""
    batches = [whole[start : start + 7] for start in range(0, COUNT, 7)]
    write_shards(tmp_path / "shards", batches)
    return tmp_path / "shards"


@pytest.fixture(params=["memory", "file", "shards"])
def some(request, whole, folder, tmp_path):
    """The same functaset in memory, in a file and in shards."""
    if request.param == "memory":
        return whole
    if request.param == "shards":
        return StoredFunctaset.open(folder)
    whole.save(tmp_path / "f.safetensors")
    return StoredFunctaset.open(tmp_path / "f.safetensors")


def write_shards(folder, batches, size=16):
    with ShardWriter(folder, size) as writer:
        for batch in batches:
            writer.add(batch)


def stopped_after(batch):
    yield batch
    raise MemoryError


def same(one: Functaset, other: Functaset) -> bool:
    tensors = ("latents", "psnr_db", "labels")
    return (
        all(torch.equal(getattr(one, name), getattr(other, name)) for name in tensors)
        and one.ids == other.ids
        and one.about == other.about
    )


CHOICES = st.one_of(
    st.slices(COUNT),
    st.lists(st.integers(-COUNT, COUNT - 1), max_size=20),
    st.lists(st.booleans(), min_size=COUNT, max_size=COUNT).map(np.array),
)


@settings(max_examples=60, deadline=None)
@given(choice=CHOICES)
def test_rows_are_chosen_as_numpy_chooses_them(choice, tmp_path_factory):
    whole = make()
    path = tmp_path_factory.mktemp("f") / "s"
    write_shards(path, [whole])
    index = np.array(choice, dtype=int) if isinstance(choice, list) else choice
    for some in (whole, StoredFunctaset.open(path)):
        part = some[choice]
        np.testing.assert_array_equal(part.latents, whole.latents.numpy()[index])
        np.testing.assert_array_equal(part.psnr_db, whole.psnr_db.numpy()[index])
        np.testing.assert_array_equal(part.labels, whole.labels.numpy()[index])
        assert part.ids == np.array(whole.ids, dtype=object)[index].tolist()


def test_what_is_no_choice_of_rows(some):
    for wrong in ([COUNT], [-COUNT - 1], np.zeros(COUNT - 1, bool)):
        with pytest.raises(IndexError):
            some[wrong]
    others: list[Any] = [3, [0.5], [[1]], "a"]
    for wrong in others:
        with pytest.raises(TypeError):
            some[wrong]


def test_rows_are_chosen_by_label(some):
    assert some.with_label("high").ids == [f"0/ç{i}" for i in range(2, COUNT, 3)]
    assert some.with_label(-1).ids == [f"0/ç{i}" for i in range(0, COUNT, 3)]
    assert len(some.with_label(7)) == 0
    with pytest.raises(UserError, match=r"no label 'hihg'; there are: low, high\. Did you mean"):
        some.with_label("hihg")


def test_labels_that_are_needed_and_missing(whole, tmp_path):
    without = attrs.evolve(whole, labels=None)
    without.save(tmp_path / "f.safetensors")
    for some in (without, StoredFunctaset.open(tmp_path / "f.safetensors")):
        with pytest.raises(UserError, match="label 'low' needs labels, but this functaset has"):
            some.with_label("low")
        with pytest.raises(UserError, match=r"labels=False does without\) needs labels"):
            some.as_dataset()
        torch.testing.assert_close(
            some.as_dataset(labels=False)[3], whole.latents[3], rtol=0, atol=0
        )
    with pytest.raises(UserError, match="classifying needs labels"):
        without.required_labels("classifying")


def test_the_documentation_from_python_is_right(whole, tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "functaset.md").read_text()
    lines = page.split("```python\n")[2].split("```")[0]
    monkeypatch.chdir(tmp_path)
    whole.save("train.safetensors")
    attrs.evolve(whole, ids=[f"test-{name}" for name in whole.ids]).save("test.safetensors")
    with ShardWriter("shards") as writer:
        writer.add(whole)
    found: dict[str, Any] = {"batches": [whole]}
    exec(
        lines.replace('"cat"', '"low"').replace('ShardWriter("shards/"', 'ShardWriter("new/"'),
        found,
    )
    assert len(found["both"]) == 2 * len(whole)
    assert len(StoredFunctaset.open("new")) == len(whole)


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 1500), max_size=6),
    offset=st.sampled_from([0.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_statistics_are_numpys_and_do_not_depend_on_the_batches(cuts, offset, seed):
    rows = torch.randn(1500, 3, generator=torch.Generator().manual_seed(seed)) + offset
    rows[:, 2] = 0.1  # never varies
    statistics, straight = Statistics((3,)), Statistics((3,))
    straight.add(rows)
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), 1500], strict=True):
        statistics.add(rows[begin:end])
    mean, std = statistics.result()
    exact = rows.double().numpy()
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(std[:2], exact[:, :2].std(axis=0), rtol=1e-7)
    assert float(std[2]) == 0
    assert all(map(torch.equal, (mean, std), straight.result()))


def test_statistics_of_a_part_are_its_own_and_of_nothing_nan(some):
    exact = some[:].latents.double().numpy()
    np.testing.assert_allclose(some.mean, exact.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(some.std, exact.std(axis=0), rtol=1e-7)
    np.testing.assert_allclose(some[5:9].mean, exact[5:9].mean(axis=0), rtol=1e-7)
    assert bool(some[:0].mean.isnan().all())
    scaled = standardise(some[:].latents, some.mean, some.std).double().numpy()
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-6)


def test_the_file_is_what_the_schema_says(whole, tmp_path):
    whole.save(tmp_path / "f.safetensors")
    tensors = load_file(tmp_path / "f.safetensors")
    assert {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()} == {
        "latents": ((COUNT, 2, 3), torch.float32),
        "psnr_db": ((COUNT,), torch.float32),
        "labels": ((COUNT,), torch.int64),
        "mean": ((2, 3), torch.float32),
        "std": ((2, 3), torch.float32),
    }
    assert torch.equal(tensors["latents"], whole.latents)
    assert torch.equal(tensors["labels"], whole.labels)
    np.testing.assert_array_equal(tensors["std"], whole.std)


def test_the_five_lines_of_the_documentation_read_one(whole, tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "functaset.md").read_text()
    lines = page.split("```python\n")[1].split("```")[0]
    assert "functa_core" not in lines
    whole.save(tmp_path / "test.safetensors")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(lines, found)
    np.testing.assert_array_equal(found["latents"], whole.latents)
    np.testing.assert_array_equal(found["psnr_db"], whole.psnr_db)
    assert found["about"]["ids"] == whole.ids


def test_latents_from_a_file_lie_in_memory_as_others_do(whole, tmp_path):
    """Matrix products of tensors that are not aligned differ in their last bits."""
    for count in range(1, 20):  # headers of many lengths
        path = tmp_path / f"{count}.safetensors"
        whole[:count].save(path)
        for some in (Functaset.load(path), StoredFunctaset.open(path)[1:]):
            assert some.latents.data_ptr() % 64 == 0
            assert some.psnr_db.data_ptr() % 64 == 0
        raw = path.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        begin = json.loads(raw[8 : 8 + length])["latents"]["data_offsets"][0]
        assert (8 + length + begin) % 64 == 0, "in the file too, for other readers"


def test_a_run_decodes_stored_latents_as_it_decodes_fitted_ones(clips_run, tmp_path):
    from functa_core import load_run

    run = load_run(clips_run)
    latents = run.encode(run.dataset("train"))
    stored = run.functaset("train")
    for count in range(1, 20):
        part = stored[:count]
        part.save(tmp_path / "f.safetensors")
        again = Functaset.load(tmp_path / "f.safetensors").latents
        assert torch.equal(run.decode(again), run.decode(latents[:count]))
    for resolution in (0, -1):
        with pytest.raises(UserError, match=f"at least 1 is needed, got {resolution}"):
            run.decode(latents, resolution)


def test_a_file_without_statistics_or_with_more_is_read(whole, tmp_path):
    whole.save(tmp_path / "f.safetensors")
    tensors = load_file(tmp_path / "f.safetensors")
    with safe_open(tmp_path / "f.safetensors", "pt") as file:
        about = json.loads(file.metadata()["functa"])
    del tensors["mean"], tensors["std"]
    tensors["more"] = torch.zeros(3)
    save_file(tensors, tmp_path / "g.safetensors", {"functa": json.dumps({**about, "more": 1})})
    stored = StoredFunctaset.open(tmp_path / "g.safetensors")
    assert same(stored[:], whole)
    assert stored.file(0).latents.data_ptr() % 64, "or this shows nothing"
    assert stored[:].latents.data_ptr() % 64 == 0
    assert torch.equal(stored.mean, whole.mean)
    assert torch.equal(stored.std, whole.std)


def test_shards_are_functasets_and_their_number_does_not_matter(whole, folder, tmp_path):
    stored = StoredFunctaset.open(folder)
    assert [shard.signals for shard in stored.shards] == [16, 16, 16, 2]
    assert same(Functaset.load(folder), whole)
    assert same(Functaset.load(folder / "shard-000001.safetensors"), whole[16:32])
    assert torch.equal(stored.mean, whole.mean)
    assert torch.equal(stored.std, whole.std)
    assert all(len(batch) <= 5 for batch in stored.batches(5))
    with pytest.raises(UserError, match="at least 1 signal are needed, got -1"):
        next(stored.batches(-1))
    assert same(Functaset.concat(list(stored.batches(5))), whole)
    whole.save(tmp_path / "a.safetensors")
    write_joined([stored], tmp_path / "b.safetensors")
    expected = (tmp_path / "a.safetensors").read_bytes()
    assert (tmp_path / "b.safetensors").read_bytes() == expected, "one writer, one file"


def test_an_unfinished_folder_is_no_functaset_and_is_begun_again(whole, tmp_path):
    folder = tmp_path / "new" / "shards"
    with pytest.raises(MemoryError):
        write_shards(folder, stopped_after(whole), 8)
    assert not folder.exists()
    folder.mkdir(parents=True)
    whole[:9].save(folder / "shard-000077.safetensors")  # as a killed writer leaves it
    with pytest.raises(UserError, match=r"no index\.json"):
        StoredFunctaset.open(folder)
    write_shards(folder, [whole], 30)
    assert sorted(path.name for path in folder.iterdir()) == [
        "index.json",
        "shard-000000.safetensors",
        "shard-000001.safetensors",
    ]
    with pytest.raises(UserError, match="holds a functaset already"):
        ShardWriter(folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds other things \(a\.txt\)"):
        ShardWriter(tmp_path / "mine")


def test_a_writer_takes_only_what_goes_together(whole, tmp_path):
    other = attrs.evolve(whole, inner_steps=4)
    bare = attrs.evolve(whole, labels=None)
    for second, message in ((other, r"inner_steps \(3 and 4\)"), (bare, "give all or none")):
        with pytest.raises(UserError, match=message):
            write_shards(tmp_path / "s", [whole, second])
        assert not (tmp_path / "s").exists()
    for nothing in ([], [whole[:0]]):
        with pytest.raises(UserError, match="no signals to write"):
            write_shards(tmp_path / "s", nothing)
    with pytest.raises(UserError, match="at least 1"):
        ShardWriter(tmp_path / "s", 0)


def test_damaged_shards(folder):
    index = json.loads((folder / "index.json").read_text())
    shard = folder / "shard-000002.safetensors"
    intact = shard.read_bytes()
    shard.write_bytes(intact[:-1])
    with pytest.raises(UserError, match=r"shard-000002.safetensors is not as index.json says"):
        StoredFunctaset.open(folder)
    shard.unlink()
    with pytest.raises(UserError, match="it is missing"):
        StoredFunctaset.open(folder)
    shard.write_bytes(intact.replace(b"f" * 64, b"e" * 64))
    with pytest.raises(UserError, match="does not belong to"):
        StoredFunctaset.open(folder)[40:41]
    shard.write_bytes(intact)
    for tree, message in (
        ({**index, "schema_version": 9}, "schema version 9"),
        ({**index, "shards": [{"file": "../x", "signals": 1, "bytes": 1}]}, "not in the folder"),
        ({**index, "mean": [1.0]}, "not a whole index"),
        ({key: index[key] for key in index if key != "shards"}, "not a whole index"),
        ([1], "description is missing"),
    ):
        (folder / "index.json").write_text(json.dumps(tree))
        with pytest.raises(UserError, match=message):
            StoredFunctaset.open(folder)
    (folder / "index.json").write_text("{")
    with pytest.raises(UserError, match="not an index"):
        StoredFunctaset.open(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents": torch.zeros(3, 2, dtype=torch.float64)}, "'latents' is .* float64"),
        ({"latents": torch.zeros(3)}, "have no numbers"),
        ({"psnr_db": torch.zeros(2)}, r"'psnr_db' is \(2,\)"),
        ({"labels": torch.zeros(3)}, "'labels' is .* float32"),
        ({"mean": torch.zeros(3)}, "'mean' is"),
        ({"ids": ["a"]}, "needed for 1 ids"),
        ({"ids": 3}, "'ids' is missing or wrong"),
        ({"state": []}, "'state' is missing or wrong"),
        ({"inner_steps": "3"}, "'inner_steps' is missing or wrong"),
    ],
    ids=str,
)
def test_a_damaged_file_is_refused(change, message, tmp_path):
    tensors = {"latents": torch.zeros(3, 2), "psnr_db": torch.zeros(3)}
    about = {**make(3).about.tree(), "ids": list("abc")}
    for key, value in change.items():
        (tensors if isinstance(value, torch.Tensor) else about)[key] = value  # type: ignore[index]
    save_file(tensors, tmp_path / "f.safetensors", {"functa": json.dumps(about)})
    with pytest.raises(UserError, match=message):
        Functaset.load(tmp_path / "f.safetensors")


def test_ids_that_are_too_long_for_one_file(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(onefile, "LONGEST_HEADER", 1000)
    with pytest.raises(UserError, match="Write a folder of shards: --shard-size"):
        whole.save(tmp_path / "f.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_concat_keeps_ids_and_says_what_differs():
    a, b = make(4), make(3, seed=1, split="test", versions={"functa-core": "1", "plugin": "1"})
    both = Functaset.concat([a, b])
    assert both.ids == a.ids + b.ids
    assert torch.equal(both.latents, torch.cat([a.latents, b.latents]))
    assert both.split == "all"
    assert both.versions == {"functa-core": "0, 1", "plugin": "1"}
    assert Functaset.concat([a, a]).split == "train"
    assert Functaset.concat([a, attrs.evolve(b, labels=None)]).labels is None
    for change, message in {
        "weights_sha256": ("e" * 64, r"weights_sha256 \(ffffffffffff… and eeeeeeeeeeee…\)"),
        "state": ({"label_names": ["x"]}, r"state.label_names \(\['low', 'high'\] and \['x'\]\)"),
        "spec": ({"channels": 1, "peak": 2}, r"spec.peak \(None and 2\)"),
        "modality": ("books", r"modality \(clips and books\)"),
        "inner_steps": (4, r"inner_steps \(3 and 4\)"),
    }.items():
        value, said = message
        with pytest.raises(UserError, match=f"one and two cannot be put together.*{said}"):
            Functaset.concat([a, attrs.evolve(b, **{change: value})], ["one", "two"])
    with pytest.raises(UserError, match="nothing to put together"):
        Functaset.concat([])


@pytest.fixture
def stored_dataset(folder):
    return StoredFunctaset.open(folder).as_dataset(standardised=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_every_item_once_in_the_order_of_its_generator(some, workers):
    data = some.as_dataset(standardised=True)
    whole = some[:]

    def epoch(seed):
        generator = torch.Generator().manual_seed(seed)
        loader = DataLoader(data, 8, shuffle=True, num_workers=workers, generator=generator)
        batches = list(loader)
        return torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])

    latents, labels = epoch(1)
    assert all(map(torch.equal, epoch(1), (latents, labels)))
    assert not torch.equal(epoch(2)[0], latents)
    back = latents * whole.std + whole.mean
    order = [int((whole.latents - row).abs().sum((1, 2)).argmin()) for row in back]
    assert sorted(order) == list(range(COUNT))
    torch.testing.assert_close(back, whole.latents[order])
    assert torch.equal(labels, whole.labels[order])


def test_items_are_numbered_as_in_any_sequence(some):
    data = some.as_dataset()
    assert len(data) == COUNT
    assert torch.equal(data[-1][0], some[:].latents[-1])
    with pytest.raises(IndexError):
        data[COUNT]
    train = make(seed=5)
    scaled = some.as_dataset(standardised=True, mean=train.mean, std=train.std)
    expected = (some[:].latents[3] - train.mean) / train.std
    torch.testing.assert_close(scaled[3][0], expected)


def test_a_dataset_can_be_sent_to_another_process(stored_dataset):
    first = stored_dataset[20]
    again = pickle.loads(pickle.dumps(stored_dataset))
    assert torch.equal(again[20][0], first[0])
    assert len(pickle.dumps(stored_dataset)) < 10_000, "files are not sent along"


def test_parquet_holds_the_same(some, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    from functa_core.functaset.parquet import write_parquet

    if isinstance(some, Functaset):
        some[:0].save(tmp_path / "e.safetensors")
        write_parquet(StoredFunctaset.open(tmp_path / "e.safetensors"), tmp_path / "e.parquet")
        assert parquet.read_table(tmp_path / "e.parquet").num_rows == 0
        return
    write_parquet(some, tmp_path / "f.parquet")
    table, whole = parquet.read_table(tmp_path / "f.parquet"), some[:]
    assert table.column_names == ["id", "latent", "psnr_db", "label"]
    assert str(table.schema.field("latent").type).startswith("fixed_size_list<")
    latents = np.array(table["latent"].to_pylist(), dtype=np.float32).reshape(COUNT, 2, 3)
    np.testing.assert_array_equal(latents, whole.latents)
    np.testing.assert_array_equal(table["psnr_db"], whole.psnr_db)
    np.testing.assert_array_equal(table["label"], whole.labels)
    assert table["id"].to_pylist() == whole.ids
    about = json.loads(table.schema.metadata[b"functa"])
    assert about.pop("latent_shape") == [2, 3]
    assert about == some.about.tree()
