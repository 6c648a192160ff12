"""`functa functaset info|concat|export` and what decodes and exports shards."""

import json
import math
import sys

import attrs
import numpy as np
import pytest
import torch

from functa_core import Functaset, ShardWriter, StoredFunctaset


@pytest.fixture
def files(clips_run):
    return [clips_run / "functaset" / f"{split}.safetensors" for split in ("train", "test")]


@pytest.fixture
def refused(functa, tmp_path):
    """Run a command that must be refused; give its message."""

    def call(*arguments) -> str:
        before = sorted(tmp_path.rglob("*"))
        code, out, err = functa(*arguments)
        assert (code, out) == (2, ""), err
        assert sorted(tmp_path.rglob("*")) == before, "something was written"
        assert err.startswith("functa: error: ")
        assert err.count("\n") <= 2, err
        return err

    return call


def test_concat_puts_files_one_after_the_other(files, functa, tmp_path):
    out = tmp_path / "new" / "all.safetensors"
    code, said, err = functa("functaset", "concat", *files, "--out", out)
    assert (code, said, err) == (0, f"24 latents: {out}\n", "")
    parts, joined = [Functaset.load(path) for path in files], Functaset.load(out)
    assert torch.equal(joined.latents, torch.cat([part.latents for part in parts]))
    assert torch.equal(joined.labels, torch.cat([part.labels for part in parts]))
    assert joined.ids == parts[0].ids + parts[1].ids
    assert joined.split == "all"

    shards = tmp_path / "shards"
    assert functa("functaset", "concat", *files, "--out", shards, "--shard-size", 10)[0] == 0
    assert [shard.signals for shard in StoredFunctaset.open(shards).shards] == [10, 10, 4]
    assert torch.equal(Functaset.load(shards).latents, joined.latents)
    assert torch.equal(StoredFunctaset.open(shards).std, joined.std)


def test_concat_of_a_file_without_labels_says_so(files, functa, tmp_path):
    bare = tmp_path / "bare.safetensors"
    attrs.evolve(Functaset.load(files[1]), labels=None).save(bare)
    out = tmp_path / "all.safetensors"
    code, _, err = functa("functaset", "concat", files[0], bare, "--out", out)
    assert code == 0
    assert f"has no labels, because {bare} has none" in err
    assert Functaset.load(out).labels is None


def test_concat_refuses_what_does_not_go_together(files, refused, tmp_path):
    other = tmp_path / "other.safetensors"
    attrs.evolve(Functaset.load(files[1]), weights_sha256="0" * 64).save(other)
    concat = ["functaset", "concat", files[0], other]
    for more in ([], ["--shard-size", 5]):
        message = refused(*concat, "--out", tmp_path / "all.safetensors", *more)
        assert f"{files[0]} and {other} cannot be put together" in message
        assert "weights_sha256" in message
    assert "must end in .safetensors" in refused(*concat, "--out", tmp_path / "all.npz")
    (tmp_path / "plain").write_text("mine")
    assert "is a file" in refused(*concat, "--out", tmp_path / "plain", "--shard-size", 5)
    assert "--shard-size" in refused(*concat, "--out", tmp_path / "x", "--shard-size", 0)


def test_info_shows_the_statistics(files, functa, tmp_path):
    latents = Functaset.load(files[0]).latents.double().numpy()
    code, text, _ = functa("functaset", "info", files[0], "--json")
    assert code == 0
    found = json.loads(text)["latent_statistics"]
    mean, std = latents.mean(axis=0), latents.std(axis=0)
    assert found["mean"] == pytest.approx([mean.min(), mean.max()], rel=1e-6)
    assert found["std"] == pytest.approx([std.min(), std.max()], rel=1e-6)
    assert found["max_abs"] == pytest.approx(np.abs(latents).max())
    assert found["constant"] == 0
    plain = functa("functaset", "info", *files)[1]
    assert f"std {std.min():.4g} to {std.max():.4g}" in plain
    assert plain.count("weights_sha256") == 2


def test_info_of_shards_and_of_latents_that_are_not_finite(files, functa, tmp_path):
    whole = Functaset.load(files[0])
    latents = whole.latents.clone()
    latents[3, 1] = math.nan
    with ShardWriter(tmp_path / "s", 10) as writer:
        writer.add(attrs.evolve(whole, latents=latents))
    code, text, _ = functa("functaset", "info", tmp_path / "s", "--json")
    assert code == 0
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (found["signals"], found["shards"]) == (22, 3)
    assert found["latent_statistics"]["mean"] == [None, None]


def test_shards_are_decoded_and_exported(files, functa, clips_run, tmp_path):
    shards, npz = tmp_path / "s", tmp_path / "s.npz"
    assert functa("functaset", "concat", files[0], "--out", shards, "--shard-size", 16)[0] == 0
    for latents, out in ((shards, tmp_path / "a"), (files[0], tmp_path / "b")):
        assert functa("decode", "--run", clips_run, "--latents", latents, "--out", out)[0] == 0
    for path in (tmp_path / "b").iterdir():
        assert (tmp_path / "a" / path.name).read_bytes() == path.read_bytes()
    assert functa("export-npz", shards, "--out", npz)[0] == 0
    with np.load(npz) as found:
        np.testing.assert_array_equal(found["train/modulation"], Functaset.load(files[0]).latents)


def test_export_to_parquet(files, functa, refused, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "new" / "f.parquet"
    assert functa("functaset", "export", files[0], "--out", out)[1] == f"{out}\n"
    latents = np.array(parquet.read_table(out)["latent"].to_pylist(), np.float32)
    np.testing.assert_array_equal(latents, Functaset.load(files[0]).latents)
    export = ["functaset", "export", files[0], "--out"]
    assert "functa export-npz" in refused(*export, tmp_path / "f.npz")
    assert "must end in .parquet" in refused(*export, tmp_path / "f.csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = refused(*export, tmp_path / "g.parquet")
    assert "pip install 'functa-core[parquet]'" in message


def test_files_that_are_no_functasets(files, refused, tmp_path):
    (tmp_path / "empty").mkdir()
    for command in (["info"], ["concat", files[0], "--out", tmp_path / "x.safetensors"]):
        assert "no index.json" in refused("functaset", *command, tmp_path / "empty")
        assert "no functaset at" in refused("functaset", *command, tmp_path / "absent")
