"""Fused kernels and recorded updates against the plain ways.

On a GPU they run there. Elsewhere Triton's interpreter, where Triton is installed, runs the kernels
on the processor, and its compiler makes them for GPUs that are not there; nothing can be recorded.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from functa_core.dataset import DataSource
from functa_core.meta.learner import MetaConfig, build_learner
from functa_core.meta.outer import update
from functa_core.meta.problem import Problem
from functa_core.meta.recording import Recording
from functa_core.modality import Box, Modality, Spec
from functa_core.networks.siren import SirenConfig
from functa_core.observations import Observations

HERE = Path(__file__).parent
# PyTorch for processors brings none; CI installs it for a run of this file.
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@needs_triton
def test_every_line_of_the_kernel_is_that_of_the_plain_layers():
    environment = os.environ | ({} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"})
    subprocess.run([sys.executable, str(HERE / "fused_lines.py")], check=True, env=environment)


@needs_triton
@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernels_compile_for_gpus_and_fit_their_registers(tmp_path, capability):
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, str(HERE / "fused_compiled.py"), str(capability)]
    subprocess.run(command, check=True, env=environment)


@needs_triton
def test_the_benchmark_of_kernels_compares_tiles(tmp_path):
    there = torch.cuda.is_available()
    environment = os.environ | ({} if there else {"TRITON_INTERPRET": "1"})
    sizes = ["--width", "16", "--signals", "1", "--coordinates", "32", "--rounds", "1"]
    program = HERE.parent / "benchmarks" / "kernels.py"
    command = [
        sys.executable,
        str(program),
        "--device",
        "cuda" if there else "cpu",
        *sizes,
        "--calls",
        "1",
    ]
    subprocess.run([*command, "--out", str(tmp_path)], check=True, env=environment)
    (path,) = tmp_path.glob("kernels-*.json")
    found = json.loads(path.read_text())
    assert set(found["lines"]) == {"wave", "back", "along", "fold", "bend", "mix", "share"}
    for line in found["lines"].values():
        assert not line["reasons"]
        assert len(line["seconds"]) > 1
        assert min(line["seconds"].values()) > 0


def test_nothing_is_recorded_on_a_processor():
    learner = build_learner(Whole.spec, SirenConfig(width=4, depth=3), MetaConfig(), 0)
    given, done = [torch.ones(2)], []

    def work(own):
        done.append(float(own[0].mean()))
        return (own[0],)

    for _ in range(4):
        learner.recording.do(work, given, "same", learner)
    assert done == [1.0] * 4


class Whole(Modality):
    """All coordinates, three channels."""

    name = "whole"
    api_version = 1
    spec = Spec(domain=Box((0.0, 0.0), (1.0, 1.0)), channels=3)

    def dataset(self, split):
        raise NotImplementedError

    def observations(self, signals, generator=None):
        raise NotImplementedError

    def render(self, field, out, names, resolution=None):
        raise NotImplementedError


class Waiting(Whole):
    """Looks at a value before it goes on."""

    def forward(self, field, queries, generator=None):
        found = field(queries)
        return 2 * found if float(found.detach().sum()) > 1e9 else found


def losses(kind, precision, *, group=None, latent_noise=0.0, updates=6):
    """Of some updates on batches that differ, and the learner after them."""
    device = torch.device("cuda")
    modality = kind(None, DataSource())
    config = MetaConfig(lr=1e-4, group=group, latent_noise=latent_noise)
    model = SirenConfig(width=128, depth=5, latent_dim=32)
    learner = build_learner(modality.spec, model, config, 0).to(device)
    optimiser = torch.optim.Adam(learner.parameters(), lr=config.lr)
    generator = torch.Generator().manual_seed(0)
    found = []
    for step in range(updates):
        values = torch.rand((4, 300, 3), generator=generator)
        queries = torch.rand((300, 2), generator=generator)
        observations = Observations(queries, values, torch.ones(4, 300)).to(device)
        problem = Problem(learner.network, modality, observations, precision=precision)
        found.append(update(learner, optimiser, problem, config, noise_seed=step))
    return torch.stack([each.loss for each in found]), learner


@needs_gpu
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize("group", [None, 2])
@pytest.mark.parametrize("latent_noise", [0.0, 0.1])
def test_recorded_updates_are_the_same(monkeypatch, precision, group, latent_noise):
    more = {"group": group, "latent_noise": latent_noise}
    recorded, learner = losses(Whole, precision, **more)
    assert learner.recording._tape is not None
    monkeypatch.setattr(Recording, "do", lambda self, work, given, *_: work(given))
    plain, other = losses(Whole, precision, **more)
    torch.testing.assert_close(recorded, plain, rtol=1e-5, atol=0)
    for ours, theirs in zip(learner.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@needs_gpu
def test_what_cannot_be_recorded_is_done_all_the_same(capsys):
    found, learner = losses(Waiting, None)
    assert learner.recording._tape is None
    assert "not recorded" in capsys.readouterr().err
    torch.rand(2, device="cuda")  # a recording that failed on the way would forbid it
    torch.testing.assert_close(found, losses(Whole, None)[0], rtol=1e-5, atol=0)


@needs_gpu
def test_half_precision_is_near_on_the_gpu_too():
    torch.testing.assert_close(
        losses(Whole, torch.bfloat16)[0], losses(Whole, None)[0], rtol=1e-3, atol=0
    )
