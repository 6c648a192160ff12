"""Several processes do what one does: the same losses and latents, one voice, one end."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from functa_core import Functaset, StoredFunctaset, UserError, distributed, load_run
from functa_core.runs.encoding import _all_parts, gaps, mine
from functa_core.runs.unfinished import Unfinished

PATIENCE = 600  # seconds, after which two processes count as hanging; they wait for a busy machine
STEPS = 12
# Shares of 2 and 3 signals, random samples, and all the noise that there is.
OPTIONS = (
    "--set", f"meta.steps={STEPS}", "--set", "meta.batch_size=5", "--set", "meta.log_every=1",
    "--set", "meta.latent_noise=0.05", "--set", "meta.checkpoint_every=4",
)  # fmt: skip

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

# A modality that reaches for what only one process may do, at its third batch of training.
TROUBLE = """
import os, signal, time
from functa_clips import Clips
from functa_core import UserError

class Troubled(Clips):
    name = "troubled"
    calls = 0

    def observations(self, signals, generator=None):
        if generator is not None and len(signals) > 1:
            type(self).calls += 1
        if type(self).calls == 3 and os.environ.get("RANK") == "1":
            {trouble}
        return super().observations(signals, generator)
"""


# A modality that has signals of other names in the second process.
OTHER = """
import os
import attrs
from functa_clips import Clips

class Other(Clips):
    name = "other"

    def dataset(self, split):
        known = super().dataset(split)
        return attrs.evolve(known, ids=[f"{os.environ['RANK']}-{one}" for one in known.ids])
"""


def environment(**more: str) -> dict[str, str]:
    paths = os.pathsep.join([str(Path(__file__).parent / "plugins"), *sys.path])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **more}


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def start(
    *arguments: object, processes: int = 2, threads: Sequence[int] = (1, 1)
) -> list[subprocess.Popen[str]]:
    """The command in processes beside one another, as torchrun would start them."""
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, "-m", "functa_core", *map(str, arguments)],
            env=environment(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(processes),
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=port,
                OMP_NUM_THREADS=str(threads[rank]),
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, standard output and standard error of each."""
    try:
        said = [process.communicate(timeout=PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, out, err) for p, (out, err) in zip(processes, said, strict=True)]


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


def alone(functa, *arguments: object) -> None:
    code, _, err = functa(*arguments)
    assert code == 0, err


def test_two_processes_train_as_one_does_and_one_of_them_speaks_and_writes(functa, tmp_path):
    arguments = ("train", "--modality", "clips", *OPTIONS)
    alone(functa, *arguments, "--out", tmp_path / "one")
    first, second = ended(start(*arguments, "--out", tmp_path / "two"))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert first[1].splitlines()[-1] == str(tmp_path / "two")
    assert second[1:] == ("", "")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
    files = {p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*")}
    assert {p.relative_to(tmp_path / "two") for p in (tmp_path / "two").rglob("*")} == files


# What else of torch is imported in a command may hold on to connections that are there by then.
LEAVING = """
import sys, weakref
from functa_core import distributed

def work():
    global connections
    import torch._dynamo, torch.distributed.nn, torch.distributed.algorithms.join, torch.optim
    connections = weakref.ref(torch.distributed.group.WORLD)
    return int(sys.argv[1])

print(distributed.together(work), connections())
"""


@pytest.mark.parametrize("code", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_connections_are_given_up_before_python_ends(code):
    """A thread of theirs aborts the process if it lets go of a tensor later."""
    told = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    told["CUDA_VISIBLE_DEVICES"] = ""  # where there is one, a failure leaves them as they are
    command = [sys.executable, "-c", LEAVING, str(code)]
    done = subprocess.run(
        command, env=environment(**told), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stdout == f"{code} None\n", done.stderr


@pytest.mark.slow
def test_a_run_of_two_processes_is_interrupted_and_goes_on_with_one(functa, tmp_path):
    arguments = ("train", "--modality", "clips", *OPTIONS, "--set", "meta.steps=150")
    alone(functa, *arguments, "--out", tmp_path / "straight")
    run = tmp_path / "stopped"
    both = start(*arguments, "--out", run)
    until = time.monotonic() + PATIENCE
    while not list(run.glob("checkpoints/step-*")) and time.monotonic() < until:
        time.sleep(0.01)
    both[1].send_signal(signal.SIGINT)  # one of them is enough
    first, second = ended(both)
    assert (first[0], second[0]) == (130, 130), first[2] + second[2]
    assert "interrupted" in first[2]
    assert not (run / "weights.safetensors").exists(), "interrupted too late to prove anything"
    alone(functa, *arguments, "--out", run, "--resume")
    assert losses(run) == pytest.approx(losses(tmp_path / "straight"), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "codes", "said"),
    [
        ("raise UserError('this signal is no good.')", (2, 2), "no good"),
        ("raise ZeroDivisionError('no good')", (1, 1), "no good"),
        ("os.kill(os.getpid(), signal.SIGINT)", (130, 130), "interrupted"),
        ("os.kill(os.getpid(), signal.SIGKILL)", (1, -9), "without a word"),
    ],
)
def test_what_ends_one_process_ends_all(trouble, codes, said, tmp_path):
    plugin = tmp_path / "troubled.py"
    plugin.write_text(TROUBLE.format(trouble=trouble))
    found = ended(start("train", "--plugin", plugin, *OPTIONS, "--out", tmp_path / "run"))
    assert tuple(code for code, _, _ in found) == codes, found
    assert "".join(err for _, _, err in found).count(said) == 1, found


@pytest.mark.slow
def test_what_is_wrong_is_said_once_and_nothing_is_written(tmp_path):
    wrong = [
        ("--set", "meta.batch_size=1"),
        ("--data", tmp_path / "nowhere"),
        ("--set", "meta.stepz=3"),
    ]
    for options in wrong:
        arguments = ("train", "--modality", "clips", *options, "--out", tmp_path / "run")
        found = ended(start(*arguments))
        assert [code for code, _, _ in found] == [2, 2], found
        assert sum(bool(err) for _, _, err in found) == 1, found
        assert not (tmp_path / "run").exists()
    for others in (("train", "--no-such-option"), ("encode", "--run", "x", "--out", "x.txt")):
        found = ended(start(*others))
        assert [code for code, _, _ in found] == [2, 2], found
        assert sum(bool(err) for _, _, err in found) == 1, found


@pytest.mark.slow
def test_other_data_in_another_process_is_found_before_anything_is_written(tmp_path):
    plugin = tmp_path / "other.py"
    plugin.write_text(OTHER)
    for command in ("train", "run"):
        found = ended(start(command, "--plugin", plugin, *OPTIONS, "--out", tmp_path / "run"))
        assert [code for code, _, _ in found] == [2, 2], found
        said = "process 1 finds 22 training and 2 test signals, the first process 22 and 2, or"
        assert "".join(err for _, _, err in found).count(said) == 1, found
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_encoding_is_shared_out_and_has_the_latents_of_one_process(functa, clips_run, tmp_path):
    arguments = ("encode", "--run", clips_run, "--shard-size", 7)
    [whole] = ended(start(*arguments, "--out", tmp_path / "one", processes=1))
    assert whole[0] == 0, whole[2]
    first, second = ended(start(*arguments, "--out", tmp_path / "two"))
    assert (first[0], second[0], second[1:]) == (0, 0, ("", "")), first[2] + second[2]
    one, two = (StoredFunctaset.open(tmp_path / name) for name in ("one", "two"))
    assert len(two.shards) == len(one.shards) > 1
    assert list(two.ids()) == list(one.ids())
    assert torch.equal(two[:].latents, one[:].latents)
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}


@pytest.mark.slow
def test_torchrun_runs_everything(functa, tmp_path):
    command = ("run", "--modality", "clips", *OPTIONS)
    done = subprocess.run(
        [sys.executable, *TORCHRUN, "-m", "functa_core", *command, "--out", str(tmp_path / "two")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test PSNR") == 1
    alone(functa, *command, "--out", tmp_path / "one")
    one, two = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("one", "two"))
    assert set(two["tasks"]) == set(one["tasks"])
    psnr = [m["reconstruction"]["test"]["psnr_db"] for m in (one, two)]
    assert psnr[1] == pytest.approx(psnr[0], abs=1e-3)
    latents = [Functaset.load(tmp_path / n / "functaset/train.safetensors") for n in ("one", "two")]
    torch.testing.assert_close(latents[1].latents, latents[0].latents, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
@pytest.mark.parametrize("parts", [{}, {0: 8}, {4: 8, 20: 4}, {0: 30}])
def test_what_is_missing_is_shared_out_in_whole_batches(processes, parts, monkeypatch):
    missing = gaps(parts, 30)
    covered = [i for start, stop in missing for i in range(start, stop)]
    covered += [i for start, length in parts.items() for i in range(start, start + length)]
    assert sorted(covered) == list(range(30))
    monkeypatch.setattr(distributed._team, "count", processes)
    shared = []
    for rank in range(processes):
        monkeypatch.setattr(distributed._team, "rank", rank)
        shared.append(mine(missing, 4))
    everything = [i for spans in shared for start, stop in spans for i in range(start, stop)]
    assert everything == [i for start, stop in missing for i in range(start, stop)]
    begins = {start for start, _ in missing}
    assert all(
        start in begins or any((start - begin) % 4 == 0 for begin in begins)
        for spans in shared
        for start, _ in spans
    )


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_all_with_what_one_process_says(tmp_path):
    # At such a rate the weights are not finite after the first update.
    diverging = ("--set", "meta.lr=1e25", "--set", "meta.clip=null")
    arguments = ("train", "--modality", "clips", *OPTIONS, *diverging, "--out", tmp_path / "run")
    found = ended(start(*arguments))
    assert [code for code, _, _ in found] == [2, 2], found
    assert found[0][2].count("not finite beyond step 0") == 1, found
    assert found[0][2].count("back to step 0") == 3, found
    assert found[1][1:] == ("", ""), found


@pytest.mark.slow
def test_processes_of_different_machines_write_the_parts_of_one_encoding(clips_run, tmp_path):
    """The number of threads is in the key of what is unfinished, and differs from host to host."""
    out = tmp_path / "z.safetensors"
    both = start(*["encode", "--split", "train", "--run"], clips_run, "--out", out, threads=(1, 2))
    first, second = ended(both)
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    whole = load_run(clips_run).functaset("train")
    found = Functaset.load(out)
    assert list(found.ids) == list(whole.ids)
    torch.testing.assert_close(found.latents, whole.latents, rtol=1e-4, atol=1e-6)
    assert {path.name for path in tmp_path.iterdir()} == {out.name}


def test_latents_that_did_not_come_to_the_first_process_are_missed(
    clips_run, tmp_path, monkeypatch
):
    monkeypatch.setattr("functa_core.runs.encoding.count", lambda: 2)
    monkeypatch.setattr("functa_core.runs.encoding.LATE", 0.0)
    run = load_run(clips_run)
    signals = run.dataset("train")
    part = run.functaset("train")[:8]
    unfinished = Unfinished(tmp_path / "parts", run.encoder, signals)
    unfinished.save(0, part, run.modality.observations([signals[0]]))
    with pytest.raises(UserError, match="from signal 8 on are not in"):
        _all_parts(unfinished)
    monkeypatch.setattr("functa_core.runs.encoding.LATE", 60.0)
    found = Unfinished.found
    late = iter([dict[int, StoredFunctaset]()] * 2)  # as a network's file system may show it
    monkeypatch.setattr(Unfinished, "found", lambda self: next(late, found(self)))
    unfinished.save(8, run.functaset("train")[8:], run.modality.observations([signals[8]]))
    assert sum(map(len, _all_parts(unfinished))) == len(signals)
    shutil.rmtree(unfinished.folder)
    monkeypatch.undo()
    with pytest.raises(UserError, match="Does another process encode to the same --out"):
        _all_parts(unfinished)
