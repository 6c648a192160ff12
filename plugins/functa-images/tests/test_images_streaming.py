"""Data larger than the memory a process may take: trained on and encoded under a limit.

Each test has a counterpart in which the data is held whole: it ends for want of memory, so the
limit is one.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from images_on_disk import picture
from PIL import Image

from functa_core import Functaset

pytest.importorskip("resource", reason="limits of memory are set as on Unix")
if not Path("/proc/self/status").exists():
    pytest.skip("what a process takes is read as on Linux", allow_module_level=True)

ROOM = 120
"""Megabytes that a process may take beyond what it takes when the same has been done to little."""

# Everything is loaded, by a run on two small pictures, when the limit is set.
PROGRAM = f"""
import resource, sys
from functa_core import arrays
from functa_core.cli.main import main

def command(*arguments):
    try:
        main(list(arguments))
    except SystemExit as ended:
        return ended.code

def train_and_encode(data, out):
    options = ["--data", data, "--out", out]
    for option in sys.argv[4:]:
        options += ["--set", option]
    return command("train", "--modality", "images", *options) or command(
        "encode", "--run", out, "--split", "test", "--out", out + ".safetensors"
    )

few, data, out = sys.argv[1:4]
assert train_and_encode(few, out + "-few") == 0
lines = open("/proc/self/status").read().splitlines()
used = next(int(line.split()[1]) for line in lines if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (1024 * used + {ROOM} * 2**20, resource.RLIM_INFINITY))
if out.endswith("whole"):
    arrays.MAPPED = 2**40
sys.exit(train_and_encode(data, out))
"""
OPTIONS = (
    "meta.solver=meta-sgd", "meta.inner_steps=1", "meta.steps=12", "meta.batch_size=4",
    "meta.encode_batch=1", "modality.points=64", "model.width=8", "model.depth=2",
    "model.latent_dim=4", "data.test_fraction=0.06", "meta.checkpoint_every=12",
)  # fmt: skip


def limited(few: Path, data: Path, out: Path, *sets: str) -> subprocess.CompletedProcess[str]:
    """Training and encoding in a process that may take little."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(few), str(data), str(out), *OPTIONS, *sets],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def fitted(out: Path, done: subprocess.CompletedProcess[str]) -> int:
    """How many latents there are in the end."""
    assert done.returncode == 0, done.stderr
    return len(Functaset.load(Path(f"{out}.safetensors")))


def saved(path: Path, count: int, side: int) -> Path:
    """Floats of pictures; zeros take no room on disk where files may have holes."""
    shape = (count, side, side, 3)
    array = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    array[0] = 0.5
    array.flush()
    return path


def drawn(folder: Path, count: int, side: int) -> Path:
    """A folder of PNG files, small on disk and large in memory."""
    folder.mkdir()
    tile = picture(16, 16)
    for number in range(count):
        pixels = np.tile(np.roll(tile, number, axis=0), (side // 16, side // 16, 1))
        Image.fromarray(pixels).save(folder / f"{number:03d}.png", compress_level=1)
    return folder


@pytest.mark.slow  # reads hundreds of megabytes in processes of their own
def test_an_array_file_larger_than_memory(tmp_path):
    few, data = saved(tmp_path / "few.npy", 2, 16), saved(tmp_path / "data.npy", 100, 512)
    assert data.stat().st_size > 2 * ROOM * 2**20
    assert fitted(tmp_path / "mapped", limited(few, data, tmp_path / "mapped")) == 6
    assert limited(few, data, tmp_path / "whole").returncode != 0


@pytest.mark.slow  # reads hundreds of megabytes in processes of their own
def test_a_folder_larger_than_memory(tmp_path):
    few, data = drawn(tmp_path / "few", 2, 16), drawn(tmp_path / "data", 330, 512)
    assert 2 * ROOM * 2**20 < 330 * 512**2 * 3
    sets = ("data.test_fraction=0.02", "data.keep_gb=0.01")
    assert fitted(tmp_path / "some", limited(few, data, tmp_path / "some", *sets)) == 7
    assert limited(few, data, tmp_path / "all", "data.keep_gb=9").returncode != 0
