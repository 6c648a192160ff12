"""Encoding goes on where it was stopped, and ends with the file that it would have ended with."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from functa_core import Functaset, StoredFunctaset, load_run
from functa_core.runs import encoding, unfinished

# The command line with a part for every batch, killed or interrupted at a moment that is given.
CHILD = """
import os, signal, sys
from pathlib import Path
from functa_core.runs import encoding, unfinished
from functa_core.cli.main import main

moment, count, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
encoding.PART_SECONDS = 0.0
calls = 0

def stopping(real, before):
    def call(*arguments, **more):
        global calls
        calls += 1
        if before and calls == count:
            os.kill(os.getpid(), number)
        result = real(*arguments, **more)
        if not before and calls == count:
            os.kill(os.getpid(), number)
        return result
    return call

if moment == "part":
    unfinished.Unfinished.save = stopping(unfinished.Unfinished.save, False)
elif moment == "draft":  # written, and not yet renamed
    Path.replace = stopping(Path.replace, True)
elif moment == "end":  # the output is there, and the parts too
    unfinished.Unfinished.remove = stopping(unfinished.Unfinished.remove, True)
main(sys.argv[4:])
"""


def child(moment: str, count: int, number: int, *arguments: object) -> tuple[int, str, str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CHILD, moment, str(count), str(int(number))]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """100 clips: seven batches."""
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("data") / "clips.npz"
    clips: dict[str, Any] = {f"{i:03d}": rng.uniform(-1, 1, 20 + i % 7) for i in range(100)}
    np.savez(path, **clips)
    return path


@pytest.fixture(scope="module")
def undisturbed(clips_run, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "x.safetensors"
    run = load_run(clips_run)
    run.encode_to(out, run.dataset("all", data), "all")
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    return out.read_bytes()


@pytest.mark.parametrize(
    ("moment", "count", "done"),
    [
        ("part", 6, 96),
        pytest.param("draft", 3, 32, marks=pytest.mark.slow),
        pytest.param("draft", 8, 100, marks=pytest.mark.slow),
        pytest.param("end", 1, 100, marks=pytest.mark.slow),
    ],
)
def test_a_killed_encoding_goes_on_by_itself(
    moment, count, done, clips_run, data, undisturbed, functa, tmp_path
):
    out = tmp_path / "new" / "x.safetensors"
    encode = ["encode", "--run", clips_run, "--data", data, "--out", out]
    code, _, err = child(moment, count, signal.SIGKILL, *encode)
    assert code == -signal.SIGKILL, err
    assert out.exists() == (moment == "end")
    assert (out.parent / "x.safetensors.parts").is_dir()
    code, said, err = functa(*encode)
    assert (code, err) == (0, "")
    assert f"encode all: {done} of 100 were encoded before; going on from there" in said
    assert out.read_bytes() == undisturbed
    assert [path.name for path in out.parent.iterdir()] == [out.name], "nothing is left behind"


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_an_interrupted_encoding_keeps_all_it_has(
    number, clips_run, data, undisturbed, functa, tmp_path
):
    out = tmp_path / "x.safetensors"
    encode = ["encode", "--run", clips_run, "--data", data, "--out", out]
    code, _, err = child("part", 3, number, *encode)
    assert code == 130, err
    assert "interrupted" in err
    said = functa(*encode)[1]
    assert "48 of 100 were encoded before" in said
    assert out.read_bytes() == undisturbed


@pytest.mark.slow
def test_a_killed_run_goes_on(clips_run, functa, tmp_path):
    run = ["run", "--modality", "clips", "--out", tmp_path / "run"]
    code, _, err = child("part", 1, signal.SIGKILL, *run)
    assert code == -signal.SIGKILL, err
    place = tmp_path / "run" / "functaset"
    assert [path.name for path in place.iterdir()] == ["train.safetensors.parts"]
    code, said, err = functa(*run, "--resume")
    assert code == 0, err
    assert "encode train: 16 of 22 were encoded before" in said
    for split in ("train", "test"):
        name = f"{split}.safetensors"
        assert (place / name).read_bytes() == (clips_run / "functaset" / name).read_bytes()
    assert len(list(place.iterdir())) == 2


def stop_after(monkeypatch, parts: int) -> None:
    """Have the next encoding stopped after a number of parts of one batch each."""
    monkeypatch.setattr(encoding, "PART_SECONDS", 0.0)
    real, calls = unfinished.Unfinished.save, 0

    def save(self, *arguments):
        nonlocal calls
        result = real(self, *arguments)
        calls += 1
        if calls == parts:
            monkeypatch.setattr(unfinished.Unfinished, "save", real)
            raise MemoryError
        return result

    monkeypatch.setattr(unfinished.Unfinished, "save", save)


def test_work_on_other_data_is_never_taken(clips_run, data, functa, tmp_path, monkeypatch):
    """Arrays of equal length have the same ids."""
    run, out = load_run(clips_run), tmp_path / "x.safetensors"
    stop_after(monkeypatch, 3)
    with pytest.raises(MemoryError):
        run.encode_to(out, run.dataset("all", data))
    with np.load(data) as file:
        np.savez(tmp_path / "other.npz", **{name: -file[name] for name in file.files})
    other = run.dataset("all", tmp_path / "other.npz")
    encode = ["encode", "--run", clips_run, "--data", tmp_path / "other.npz", "--out", out]
    code, said, _ = functa(*encode)
    assert code == 0
    assert "encoded before" not in said
    assert torch.equal(Functaset.load(out).latents, run.encode(other))


def test_work_of_other_weights_or_options_is_left_alone(
    clips_run, data, tmp_path, monkeypatch, capsys
):
    run, out = load_run(clips_run), tmp_path / "x.safetensors"
    stop_after(monkeypatch, 2)
    with pytest.raises(MemoryError):
        run.encode_to(out, run.dataset("all", data))
    before = {path: path.read_bytes() for path in tmp_path.rglob("part-*")}
    again = load_run(clips_run, modality={"bars": 3})
    again.encode_to(out, again.dataset("all", data))
    said = capsys.readouterr()
    assert "encoded before" not in said.out
    assert said.err.count("an unfinished encoding by other weights, data or options") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("part-*")} == before


def test_a_damaged_part_is_made_again(clips_run, data, undisturbed, tmp_path, monkeypatch):
    run, out = load_run(clips_run), tmp_path / "x.safetensors"
    stop_after(monkeypatch, 3)
    with pytest.raises(MemoryError):
        run.encode_to(out, run.dataset("all", data))
    _, second, _ = sorted(tmp_path.rglob("part-*"))
    second.write_bytes(second.read_bytes()[:-9])
    run.encode_to(out, run.dataset("all", data))
    assert out.read_bytes() == undisturbed


def test_encoding_into_shards(clips_run, data, undisturbed, functa, tmp_path, monkeypatch):
    out = tmp_path / "shards"
    encode = ["encode", "--run", clips_run, "--data", data, "--out", out, "--shard-size", 30]
    stop_after(monkeypatch, 2)
    assert functa(*encode)[0] == 2
    assert not out.exists()
    code, said, err = functa(*encode)
    assert (code, "32 of 100 were encoded before" in said) == (0, True), err
    assert [shard.signals for shard in StoredFunctaset.open(out).shards] == [30, 30, 30, 10]
    assert functa("functaset", "concat", out, "--out", tmp_path / "one.safetensors")[0] == 0
    assert (tmp_path / "one.safetensors").read_bytes() == undisturbed
    code, _, err = functa(*encode)
    assert (code, "holds a functaset already" in err) == (2, True)


def test_memory_holds_a_part_at_a_time(clips_run, data, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "PART_NUMBERS", 6 * 32)
    sizes = []
    real = unfinished.Unfinished.save
    monkeypatch.setattr(
        unfinished.Unfinished,
        "save",
        lambda self, start, part, first: (
            sizes.append((start, len(part))),
            real(self, start, part, first),
        )[1],
    )
    run = load_run(clips_run)
    out: Path = tmp_path / "x.safetensors"
    run.encode_to(out, run.dataset("all", data))
    assert sizes == [(0, 32), (32, 32), (64, 32), (96, 4)]
    assert out.read_bytes() == undisturbed
