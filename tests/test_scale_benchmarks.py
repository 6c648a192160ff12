"""The benchmarks of growth and of the memory estimate: that they run; no time counts."""

import importlib
import sys
from pathlib import Path

import pytest

from functa_core.bench.case import Asked

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
NETWORK = {"width": 16, "depth": 3, "latent_dim": 4}


@pytest.fixture
def program(request, monkeypatch):
    """A program of `benchmarks/`, as a module that processes of its own find too."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module(request.param)
    del sys.modules[request.param]


@pytest.mark.slow
@pytest.mark.parametrize("program", ["cost_growth"], indirect=True)
def test_growth_is_measured(program, monkeypatch, tmp_path):
    monkeypatch.setattr(program, "SECONDS", 0.0)
    found = program.measured(Asked(program.Sized, "16", {"model": NETWORK}))
    assert all(found[name]["seconds"] > 0 for name in ("update", "encode"))
    assert found["peak_bytes"] > 0

    file = tmp_path / "many.npy"
    program.write(file, 1000)
    monkeypatch.setattr(program, "UPDATES", 2)
    assert program.opened(file)["update_seconds"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("program", ["memory_estimate"], indirect=True)
def test_the_estimate_is_compared_with_what_is_taken(program):
    found = program.compared("small", "images")
    assert set(found["ratio"]) == {"update", "process"}
    assert all(0.7 < ratio < 1.3 for ratio in found["ratio"].values())
