"""Half-written files, and locks, of processes that are alive and of others."""

import errno
import os
import subprocess
import sys
import time

import pytest

from functa_core.files import DRAFT, MACHINE, locked, remove_drafts, remove_drafts_of, write_new


@pytest.fixture
def ended():
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def draft(folder, machine, process, age=0.0):
    path = folder / f".metrics.json.{machine}.{process}{DRAFT}"
    path.write_text("half")
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_drafts_of_ended_processes_are_removed_and_those_of_others_are_not(tmp_path, ended):
    alive = draft(tmp_path, MACHINE, os.getppid())
    elsewhere = draft(tmp_path, "other-host", ended)
    killed = draft(tmp_path, MACHINE, ended)
    old = draft(tmp_path, "old-host", ended, age=2 * 24 * 3600)
    nameless = draft(tmp_path, MACHINE, "x")
    remove_drafts(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([alive, elsewhere])
    assert not any(path.exists() for path in (killed, old, nameless))
    killed = draft(tmp_path, MACHINE, ended)
    remove_drafts_of(tmp_path / "other.json")
    assert killed.exists()
    remove_drafts_of(tmp_path / "metrics.json")
    assert sorted(tmp_path.iterdir()) == sorted([alive, elsewhere])


def test_a_lock_is_one_process_s_and_ends_with_it(tmp_path):
    path = tmp_path / "config.yaml"
    with locked(path, wait=False) as ours:
        assert ours, "there is no file, so nobody has it"
    path.write_text("seed: 0")
    text = (
        "import sys, time; from pathlib import Path; from functa_core.files import locked\n"
        "with locked(Path(sys.argv[1]), wait=False): print('mine', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", text, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "mine\n"
        with locked(path, wait=False) as ours:
            assert not ours
        child.kill()
        child.wait()
        with locked(path, wait=True) as ours:
            assert ours
    assert path.read_text() == "seed: 0"


def test_a_new_file_without_hard_links(tmp_path, monkeypatch):
    def none(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    write_new(tmp_path / "config.yaml", "seed: 0")
    assert (tmp_path / "config.yaml").read_text() == "seed: 0"
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "config.yaml", "seed: 1")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
