"""The benchmark of solvers: that it compares like with like, and what it writes; no time counts."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "solvers.py"


@pytest.fixture(scope="module")
def solvers():
    spec = importlib.util.spec_from_file_location("solvers", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    sys.modules["solvers"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["solvers"]


@pytest.fixture
def sets(tmp_path):
    """A set of 12 pictures of noise, of which 4 are held out."""
    noise = np.random.default_rng(0).integers(256, size=(12, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "noise.npz", images=noise, is_test=np.arange(12) >= 8)
    recipe = {
        "model": {"latent_dim": 4, "width": 8, "depth": 3},
        "meta": {"batch_size": 2, "inner_steps": 2},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    told = {
        "recipe": "recipe.yaml",
        "data": "noise.npz",
        "scored": 3,
        "options": {"modality": {"name": "images", "points": 16}},
    }
    (tmp_path / "sets.yaml").write_text(yaml.safe_dump({"noise": told}))
    return tmp_path / "sets.yaml"


def test_a_part_of_the_sets_is_not_written_over_what_is_of_all(solvers, sets, monkeypatch, capsys):
    given = ["--data", sets.parent, "--sets", sets, "--only", "noise"]
    monkeypatch.setattr(sys, "argv", [str(PROGRAM), *map(str, given)])
    with pytest.raises(SystemExit, match="2"):
        solvers.main()
    assert "by --out where" in capsys.readouterr().err
    assert not (PROGRAM.parent / "results" / "sets.json").exists()


@pytest.mark.slow
def test_the_command_writes_curves_and_a_picture(solvers, sets, monkeypatch):
    folder = sets.parent
    out, picture = folder / "results" / "found.json", folder / "pictures" / "curves.png"
    given = ["--data", folder, "--sets", sets, "--seconds", "0.2", "--rates", "1e-4", "1e-3"]
    given += ["--out", out, "--picture", picture]
    monkeypatch.setattr(sys, "argv", [str(PROGRAM), *map(str, given)])
    solvers.main()
    found = json.loads(out.read_text())
    assert found["versions"]["torch"]
    noise = found["sets"]["noise"]
    assert noise["hardware"]["threads"] == 1
    assert (noise["train"], noise["scored"], noise["config"]["seed"]) == (8, 3, 0)
    assert str(folder) not in out.read_text()
    assert set(noise["solvers"]) == {"meta-sgd", "gauss-newton"}
    for its in noise["solvers"].values():
        assert set(its["rates"]) == {"0.0001", "0.001"}
        fitted = {lr: each["training_psnr_db"] for lr, each in its["rates"].items()}
        assert its["lr"] == max(fitted, key=fitted.get)
        for each in its["rates"].values():
            assert len(each["curve"]) == 1 + found["effort"]["moments"]
            for key in ("updates", "processor_seconds", "wall_seconds"):
                measured = [point[key] for point in each["curve"]]
                assert measured[0] == 0
                assert measured == sorted(measured)
            assert each["curve"][-1]["processor_seconds"] >= 0.2
            assert each["curve"][-1]["psnr_db"] == each["steps"]["2"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_both_begin_with_the_same_weights_and_see_the_same_batches(solvers, sets):
    layers = [
        ("the recipe", yaml.safe_load((sets.parent / "recipe.yaml").read_text())),
        ("the set", {"modality": {"name": "images", "points": 16}}),
        ("the data", {"data": {"path": str(sets.parent / "noise.npz")}}),
    ]
    session = solvers.open_session(None, layers, out=None, resume=False, device="cpu")
    pair = [solvers.contender(session, name, 1e-3, 1.0) for name in solvers.SOLVERS]
    assert type(pair[0].learner.solver) is not type(pair[1].learner.solver)
    ours, theirs = (each.learner.network.state_dict() for each in pair)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    first, second = (each.batches.batch(5) for each in pair)
    assert torch.equal(first.queries, second.queries)
    assert torch.equal(first.values, second.values)

    solvers.in_turns(pair, 0.02, 0.01)
    assert all(each.updates > 0 and each.processor >= 0.02 for each in pair)
    before = pair[0].processor, pair[0].learner.state_dict()["solver.rates"].clone()
    pair[0].scored(session.test, [1])
    assert pair[0].processor == before[0]  # off the clock
    assert torch.equal(pair[0].learner.state_dict()["solver.rates"], before[1])


def test_a_rate_that_diverged_is_not_chosen(solvers):
    def of(**psnr):
        return {lr: {"training_psnr_db": each} for lr, each in psnr.items()}

    assert solvers.best(of(low=20.0, middle=22.0, high=math.nan)) == "middle"
    assert solvers.best(of(low=math.nan, high=5.0)) == "high"
