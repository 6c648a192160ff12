"""The example of a plugin from outside: installed by pip, and nothing else of this repository."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from functa_core import Functaset, UserError, load_run, train

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "functa-terrain"
TINY = [
    *("--set", "modality.resolution=16"),
    *("--set", "modality.points=64"),
    *("--set", "model.width=32"),
    *("--set", "meta.steps=30"),
]


def sources(folder: Path) -> tuple[Path, Path]:
    """Copies to build from, because pip leaves what it builds beside the sources."""
    core, example = folder / "core", folder / "example"
    shutil.copytree(ROOT / "functa_core", core / "functa_core")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, core)
    unwanted = shutil.ignore_patterns("build", "*.egg-info", ".*_cache", ".venv")
    shutil.copytree(EXAMPLE, example, ignore=unwanted)
    return core, example


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Run the `functa` of a new environment that has the core and the example alone."""
    folder = tmp_path_factory.mktemp("clean")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV", "FUNCTA_REGISTRY")
    }
    environment = {**inherited, "XDG_CACHE_HOME": str(folder / "cache")}

    def call(*command: object) -> str:
        done = subprocess.run(
            list(map(str, command)),
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=3600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call(sys.executable, "-m", "venv", folder / "venv")
    programs = folder / "venv" / "bin"
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pin = next(line for line in lines if line.startswith("torch=="))
    call(programs / "python", "-m", "pip", "install", "--quiet", pin, *sources(folder))
    return lambda *arguments: call(programs / "functa", *arguments)


@pytest.mark.slow
def test_a_clean_environment_lists_and_checks_it(clean):
    rows = json.loads(clean("plugins", "list", "--json"))
    assert [(row["name"], row["state"]) for row in rows] == [("terrain", "ok")]
    assert "terrain: ok" in clean("plugins", "check", "terrain", *TINY[:4])


@pytest.mark.slow
def test_a_clean_environment_runs_it(clean, tmp_path):
    run = tmp_path / "run"
    assert clean("run", "--modality", "terrain", "--out", run, *TINY).splitlines()[-1] == str(run)
    figures = json.loads((run / "metrics.json").read_text())
    assert figures["reconstruction"]["test"]["psnr_db"] > 5
    assert figures["reconstruction"]["test"]["rmse_m"] > 0
    assert set(figures["baselines"]) == {"mean", "nearest", "pca"}
    assert (run / "figures" / "fits.png").is_file()
    out = tmp_path / "decoded"
    latents = run / "functaset" / "test.safetensors"
    clean("decode", "--run", run, "--latents", latents, "--out", out, "--resolution", 24)
    with rasterio.open(out / "000000.tif") as file:
        assert file.shape == (24, 24)
        assert 0 <= file.read(1).min() < file.read(1).max() <= 1


def test_metres_come_back_from_stored_latents(tmp_path):
    """Two kinds of ramp: with one scale for all of the data, a latent alone says which heights."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 300, 8)
    heights = np.stack([start + ramp + 0 * ramp[:, None] for start in rng.uniform(0, 900, 24)])
    np.savez(tmp_path / "ramps.npz", heights=heights, is_test=np.arange(24) % 4 == 0)
    config = {
        "modality": {"name": "terrain", "tile": 8, "resolution": 8, "scaling": "data"},
        "data": {"path": str(tmp_path / "ramps.npz")},
        "model": {"width": 32, "depth": 3, "latent_dim": 8, "w0": 5.0},
        "meta": {"steps": 200, "batch_size": 8, "lr": 2e-3, "log_every": 100},
    }
    run = train(config, tmp_path / "run")
    tiles = run.dataset("test")
    stored = run.encode_dataset(tiles, "test")
    stored.save(tmp_path / "test.safetensors")
    latents = Functaset.load(tmp_path / "test.safetensors").latents
    decoded = load_run(tmp_path / "run").decode(latents).squeeze(-1).numpy()
    errors = [np.abs(d - t.heights).mean() for d, t in zip(decoded, tiles, strict=True)]
    assert max(errors) < 60, "of 1,200 m"


def test_options_that_do_not_fit_each_other_are_the_users_to_mend(tmp_path):
    with pytest.raises(UserError, match="resolution must divide tile, got 60 and 256"):
        train({"modality": {"name": "terrain", "resolution": 60}}, tmp_path / "run")
    assert not (tmp_path / "run").exists()
