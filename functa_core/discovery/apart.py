"""Running Python in a process of its own, so that nothing it does can spoil this one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import attrs


@attrs.frozen
class Ended:
    """What became of a process.

    Attributes:
        code: its exit code; None if it ran past its time limit and was killed.
        out, err: what it printed.
    """

    code: int | None
    out: str
    err: str


def run_apart(module: str, *arguments: str, time_limit: float) -> Ended:
    """Run `python -m module` with this process's path, for at most `time_limit` seconds.

    Its output goes to files: a pipe stays open, and is waited for, as long as any process that it
    started in turn lives.
    """
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            code: int | None = subprocess.run(
                [sys.executable, "-P", "-m", module, *arguments],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=time_limit,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Ended(code, *texts)
