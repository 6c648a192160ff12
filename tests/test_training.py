"""Training goes to the same end whatever happens in between."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from safetensors.torch import load_file

from functa_core import UserError, train
from functa_core.runs import training
from functa_core.runs.batches import Batches
from functa_core.runs.interrupt import Interrupt, interruptible
from functa_core.runs.starting import open_session

OPTIONS: dict[str, dict[str, Any]] = {
    "modality": {"name": "clips"},
    "meta": {"steps": 24, "checkpoint_every": 5},
}
FALLING = {**OPTIONS, "meta": {**OPTIONS["meta"], "lr_final": 0.1}}
COMMAND = [sys.executable, "-m", "functa_core", "train", "--modality", "clips"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    root = tmp_path_factory.mktemp("straight") / "run"
    train(FALLING, root)
    return (root / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("stop", [0, 3, 5, 13, 23])
def test_a_crash_at_any_update_changes_nothing(stop, uninterrupted, tmp_path, monkeypatch):
    calls = 0
    real = training.update

    def crashing(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls > stop:
            raise MemoryError("crash")
        return real(*args, **kwargs)

    monkeypatch.setattr(training, "update", crashing)
    with pytest.raises(MemoryError):
        train(FALLING, tmp_path / "run")
    monkeypatch.setattr(training, "update", real)
    train(FALLING, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == uninterrupted
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [1, 5, 10, 15, 20, 24]


def child(out: Path, *more: str) -> subprocess.Popen[str]:
    sets = ["--set", "meta.steps=200", "--set", "meta.checkpoint_every=7", *more]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent / "plugins")}
    return subprocess.Popen(
        [*COMMAND, "--out", str(out), *sets],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_checkpoint(run: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while not list(run.glob("checkpoints/step-*")) and process.poll() is None:
        assert time.monotonic() < until, "no checkpoint within a minute"
        time.sleep(0.005)


@pytest.mark.slow
def test_kill_and_interrupt_and_resume_end_bit_for_bit_the_same(tmp_path):
    straight = child(tmp_path / "straight")
    assert straight.wait(timeout=120) == 0

    run = tmp_path / "stopped"
    first = child(run)
    wait_for_checkpoint(run, first)
    first.send_signal(signal.SIGKILL)
    first.wait(timeout=60)
    assert not (run / "weights.safetensors").exists(), "killed too late to prove anything"

    seen = set(run.glob("checkpoints/step-*"))
    second = child(run, "--resume")
    until = time.monotonic() + 60
    while set(run.glob("checkpoints/step-*")) == seen and time.monotonic() < until:
        time.sleep(0.005)
    second.send_signal(signal.SIGINT)
    _, error = second.communicate(timeout=60)
    assert second.returncode == 130, error
    assert "interrupted" in error
    assert not (run / "weights.safetensors").exists(), "interrupted too late to prove anything"

    third = child(run, "--resume")
    assert third.wait(timeout=120) == 0
    expected = (tmp_path / "straight" / "weights.safetensors").read_bytes()
    assert (run / "weights.safetensors").read_bytes() == expected


def test_a_second_ctrl_c_interrupts_at_once_and_what_torchrun_sends_on_does_not(monkeypatch):
    interrupt = Interrupt()
    with interruptible(interrupt):
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.requested
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)  # within a second: the same Ctrl-C
        monkeypatch.setattr("functa_core.runs.interrupt.ECHO", -1.0)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_last_good_checkpoint_survives_a_broken_one(uninterrupted, tmp_path, monkeypatch):
    train(FALLING, tmp_path / "run")
    *_, newest = sorted((tmp_path / "run" / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:100])
    (tmp_path / "run" / "weights.safetensors").unlink()
    train(FALLING, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == uninterrupted


def test_no_readable_checkpoint_is_said_so(tmp_path):
    train(OPTIONS, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.write_bytes(b"")
    (tmp_path / "run" / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="no checkpoint in"):
        train(OPTIONS, tmp_path / "run", resume=True)


def poison(monkeypatch, when):
    """Make the loss of chosen updates NaN. `when` takes (how often it was asked, the rate)."""
    real, calls = training.update, 0

    def poisoned(learner, optimiser, problem, *args):
        nonlocal calls
        calls += 1
        result = real(learner, optimiser, problem, *args)
        if when(calls, optimiser.param_groups[0]["lr"]):
            with torch.no_grad():
                learner.network.layers[0].weight.fill_(torch.nan)
            return attrs.evolve(result, loss=result.loss * torch.nan)
        return result

    monkeypatch.setattr(training, "update", poisoned)


def test_the_rate_falls_along_half_a_cosine(tmp_path, monkeypatch):
    used, real = [], training.update

    def watching(learner, optimiser, *args):
        used.append(optimiser.param_groups[0]["lr"])
        return real(learner, optimiser, *args)

    monkeypatch.setattr(training, "update", watching)
    run = train(FALLING, tmp_path / "run")
    lr = run.config.meta.lr
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=24, eta_min=lr / 10)
    expected = []
    for _ in range(24):
        expected += schedule.get_last_lr()
        optimiser.step()
        schedule.step()
    assert used == pytest.approx(expected, rel=1e-9)


def test_a_non_finite_loss_goes_back_with_a_lower_rate(tmp_path, monkeypatch, capsys):
    poison(monkeypatch, lambda call, lr: call == 12)
    train(OPTIONS, tmp_path / "run")
    assert "back to step 10 with rate 0.0005" in capsys.readouterr().err
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())


def test_it_gives_up_with_a_clear_message(tmp_path, monkeypatch, capsys):
    poison(monkeypatch, lambda call, lr: call > 11)
    with pytest.raises(UserError, match=r"not finite beyond step 10.*lower model\.w0 or meta\.lr"):
        train(OPTIONS, tmp_path / "run")
    assert capsys.readouterr().err.count("back to step 10") == 3
    with pytest.raises(UserError, match="not finite"):
        train(OPTIONS, tmp_path / "run", resume=True)


def test_batches_are_a_function_of_seed_and_step(tmp_path):
    session = open_session(
        "clips", [("test", OPTIONS)], out=tmp_path / "a", resume=False, device="cpu"
    )

    def batches():
        return Batches(session.modality, session.train, session.config)

    late_first = batches()
    later, earlier = late_first.batch(7), late_first.batch(2)
    in_order = batches()
    assert torch.equal(in_order.batch(2).queries, earlier.queries)
    assert torch.equal(in_order.batch(7).queries, later.queries)
    assert not torch.equal(earlier.queries, later.queries)
    before = torch.get_rng_state()
    in_order.batch(3)
    assert torch.equal(torch.get_rng_state(), before), "global randomness is nobody's"
