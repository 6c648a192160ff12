"""Nothing that runs on a GPU mixes its tensors with the processor's; on one that is pretended."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
MIXING = """
import torch
from pretended import GPU, Mixed, Pretending, install

install()
with Pretending():
    near = torch.ones(2, 3)
    far = near.to(GPU)
    assert (far.device, torch.zeros(3, device=GPU).device, (far @ far.T).device) == (GPU,) * 3
    assert torch.equal((2 * far).cpu(), 2 * near)
    far[0] = 5.0
    assert (far.sum().item(), near.sum().item()) == (18.0, 6.0)
    for mix in (lambda: far + near, lambda: near[far > 2], far.numpy):
        try:
            mix()
        except (Mixed, RuntimeError):
            continue
        raise SystemExit(f"{mix} went through")
print("all refused")
"""


def child(*arguments, kind="7.0"):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**environment, "OMP_NUM_THREADS": "1", "PRETENDED": kind},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def figures_of(run):
    return json.loads((run / "metrics.json").read_text())


@pytest.mark.slow
def test_the_pretence_tells_both_sides_apart():
    assert child("-c", MIXING) == "all refused\n"


@pytest.mark.slow
def test_gauss_newton_gives_the_figures_of_the_processor(functa, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "images.npz", images=images)
    options = ["--modality", "images", "--data", tmp_path / "images.npz"]
    for option in ("meta.steps=5", "meta.batch_size=3", "modality.points=null", "model.width=16"):
        options += ["--set", option]
    there, here = tmp_path / "there", tmp_path / "here"
    child(HERE / "pretended.py", "train", *options, "--out", there)
    child(HERE / "pretended.py", "evaluate", "--run", there)
    assert functa("train", *options, "--out", here, "--device", "cpu")[0] == 0
    assert functa("evaluate", "--run", here, "--device", "cpu")[0] == 0
    found, known = figures_of(there), figures_of(here)
    assert found["reconstruction"]["test"] == pytest.approx(known["reconstruction"]["test"], 1e-4)


@pytest.mark.slow
def test_what_multiplies_bfloat16_trains_in_it(functa, tmp_path):
    options = ["--modality", "images", "--set", "meta.solver=meta-sgd"]
    for option in ("meta.steps=30", "model.width=16", "modality.points=64"):
        options += ["--set", option]
    there, here = tmp_path / "there", tmp_path / "here"
    told = child(HERE / "pretended.py", "train", *options, "--out", there, kind="8.0")
    assert "in bfloat16" in told
    child(HERE / "pretended.py", "evaluate", "--run", there, kind="8.0")
    assert figures_of(there)["precision"] == "bfloat16"
    assert "precision: auto" in (there / "config.yaml").read_text()  # what it is elsewhere
    code, told, _ = functa("train", *options, "--out", here, "--device", "cpu")
    assert code == 0
    assert "in bfloat16" not in told
    assert functa("evaluate", "--run", here, "--device", "cpu")[0] == 0
    found, known = figures_of(there), figures_of(here)
    assert known["precision"] == "float32"
    assert found["reconstruction"]["test"]["psnr_db"] == pytest.approx(
        known["reconstruction"]["test"]["psnr_db"], abs=0.1
    )
    assert found["reconstruction"]["test"] != known["reconstruction"]["test"]


@pytest.mark.slow
def test_a_run_and_its_tasks_give_the_figures_of_the_processor(functa, tmp_path):
    options = ["--modality", "clips", "--set", "modality.bars=6"]
    others = [
        ("classify", "--set", "tasks.classify.steps=5"),
        ("compress",),
        ("generate", "--set", "tasks.generate.flow_steps=10", "--set", "tasks.generate.model=flow"),
    ]
    there, here = tmp_path / "there", tmp_path / "here"
    child(HERE / "pretended.py", "run", *options, "--out", there)
    assert functa("run", *options, "--out", here, "--device", "cpu")[0] == 0
    for name, *own in others:
        child(HERE / "pretended.py", name, "--run", there, *own)
        assert functa(name, "--run", here, "--device", "cpu", *own)[0] == 0
    found, known = figures_of(there), figures_of(here)
    assert found["reconstruction"]["test"] == pytest.approx(known["reconstruction"]["test"], 1e-5)
    assert set(found["tasks"]) == set(known["tasks"])
    for task in ("impute", "interpolate", "views", "classify", "generate"):
        assert "skipped" not in found["tasks"][task]
