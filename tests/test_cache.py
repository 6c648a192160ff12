"""The cache: made once, whole or not at all, by one process or several."""

import importlib
import os
import subprocess
import sys
import threading
from functools import partial

import pytest

from functa_core import UserError, cached, cached_all, fingerprint, parallel


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "functa"


def test_the_cache_makes_a_thing_once_and_never_half(cache):
    made = []

    def make(folder):
        made.append(folder)
        (folder / "x").write_text("1")
        if len(made) == 1:
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        cached("thing-v1", make)
    assert list((cache).iterdir()) == []
    folder = cached("thing-v1", make)
    assert folder == cache / "thing-v1"
    assert cached("thing-v1", make) == folder
    assert len(made) == 2
    assert [p.name for p in (cache).iterdir()] == ["thing-v1"]


def test_two_makers_at_once_do_no_harm(cache):
    both = threading.Barrier(2)

    def make(folder):
        both.wait(timeout=10)
        (folder / "x").write_text("1")

    threads = [threading.Thread(target=cached, args=("t", make)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [p.name for p in (cache / "t").iterdir()] == ["x"]


def write(prefix, job, folder):
    if job < 0:
        raise UserError(f"{job} is negative")
    (folder / "x").write_text(f"{prefix}{job}")


def test_many_are_made_at_once_and_faults_come_back_by_key(cache):
    cached("k1", partial(write, "old", 1))
    faults = cached_all({"k1": 1, "k2": 2, "k3": -3}, partial(write, "new"), "writing")
    assert {key: str(fault) for key, fault in faults.items()} == {"k3": "-3 is negative"}
    assert {p.parent.name: p.read_text() for p in cache.rglob("x")} == {"k1": "old1", "k2": "new2"}
    assert sorted(p.name for p in cache.iterdir()) == ["k1", "k2"]


def test_what_is_a_bug_is_not_taken_for_a_fault():
    with pytest.raises(TypeError):
        cached_all({"k": "word"}, partial(write, ""), "writing")


PROGRAM = """
import os, sys
from functa_core import UserError, cached, cached_all, parallel

def make(job, folder):
    if job == 3:
        raise UserError("three")
    if job == 5 and DIE and os.getpid() != PARENT:
        os._exit(1)
    (folder / "pid").write_text(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')}")

PARENT, DIE = int(os.environ.setdefault("PARENT", str(os.getpid()))), "die" in sys.argv

def main():
    parallel._processors = lambda: 2
    parallel.TRIAL = parallel.WORTH = parallel.QUIET = 0.0
    jobs = {f"k{i}": i for i in range(8)}
    print({key: str(fault) for key, fault in cached_all(jobs, make, "working").items()})
    told = {(cached(key, None) / "pid").read_text() for key in jobs if key != "k3"}
    print(len({line.split()[0] for line in told} - {str(PARENT)}) > 0)
    print(sorted({line.split()[1] for line in told if line.split()[0] != str(PARENT)}))

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("ending", ["", "die"])
def test_processes_share_the_work_and_one_may_die(tmp_path, cache, ending):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), ending],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "4"},
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "{'k3': 'three'}"
    if not ending:
        assert done.stdout.splitlines()[1:] == ["True", "['1']"]
        assert "functa: working (once: they are kept): 1/8, " in done.stderr
    made = sorted(p.name for p in cache.glob("k*"))
    assert made == [f"k{i}" for i in range(8) if i != 3]


def test_processes_are_started_for_long_work_only(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(parallel, "_processors", lambda: 2)
    monkeypatch.setattr(parallel.time, "monotonic", lambda: clock[0])
    handed_over = []
    monkeypatch.setattr(
        parallel,
        "_in_processes",
        lambda work, jobs, progress: handed_over.append(len(jobs)) or list(jobs),
    )

    def work(seconds):
        clock[0] += seconds
        return seconds

    for seconds, count, expected in ((0.125, 95, 0), (0.125, 96, 80), (1.5, 8, 0), (1.5, 9, 7)):
        handed_over.clear()
        jobs = [seconds] * count
        assert parallel.in_parallel(work, jobs, "working") == jobs
        assert sum(handed_over) == expected, (seconds, count)


def test_progress_is_told_now_and_then(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(parallel, "_processors", lambda: 1)
    monkeypatch.setattr(parallel.time, "monotonic", lambda: clock[0])

    def work(job):
        clock[0] += 2.0

    parallel.in_parallel(work, range(12), "working")
    assert capsys.readouterr().err.splitlines() == [
        "functa: working: 2/12, 20 s left",
        "functa: working: 7/12, 10 s left",
    ]


def test_a_fingerprint_is_of_all_its_parts(tmp_path, monkeypatch):
    (tmp_path / "some_code.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("some_code")
    first = fingerprint(module, b"data", "setting")
    assert len(first) == 32
    assert first == fingerprint(module, "data", b"setting")
    others = {
        fingerprint(module, b"dat", "asetting"),
        fingerprint(module, b"data"),
        fingerprint(b"data", module, "setting"),
        fingerprint(module, b"data", "setting", ""),
    }
    (tmp_path / "some_code.py").write_text("x = 2\n")
    others.add(fingerprint(module, b"data", "setting"))
    assert len(others | {first}) == 6
