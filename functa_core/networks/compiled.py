"""`sweep.c` as a library, compiled once on each kind of processor by whatever C compiler there is.

No wheel has to be built for it, and it uses what the very processor can do. Without a compiler, or
where anything else does not work, there is no library and `PlainLayers` do the same. `CC` names the
compiler, as for make; `CC=false` is a way to do without.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shlex
import subprocess
from functools import cache
from pathlib import Path

import torch

from functa_core.cache import cached, fingerprint

SOURCE = Path(__file__).with_name("sweep.c")
# No -ffast-math: what is infinite or not a number has to stay so.
FLAGS = ("-O3", "-march=native", "-fPIC", "-fopenmp", "-fno-math-errno", "-fno-trapping-math")
DEFINED = {torch.float32: (), torch.bfloat16: ("-DHALF",)}
"""How to compile for each type of numbers that it can be had for."""

FEW = 16
"""Most terms, coordinates or channels, of a sum that is made in a sweep itself."""
LINES = {
    "wave": (5, 4),
    "fold": (6, 5),
    "along": (4, 5),
    "bend": (9, 6),
    "mix": (3, 3),
    "share": (3, 3),
}
"""How many arrays each function takes, and then how many sizes; the number of threads is last."""
PATIENCE = 60
"""Seconds that a compiler may take; it takes a third of one."""


class NoSweeps(Exception):
    """They cannot be had here; it says why."""


@cache
def sweeps(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The functions of `sweep.c` on numbers of a type; None where they cannot be had."""
    try:
        return loaded(dtype)
    except NoSweeps:
        return None


def loaded(dtype: torch.dtype) -> ctypes.CDLL:
    """Compile it, unless that was done before, and load it.

    Raises:
        NoSweeps: it is not for this system or type; no compiler, or none that works; it cannot be
            kept or loaded.
    """
    if dtype not in DEFINED or platform.system() != "Linux":
        raise NoSweeps(f"not for {dtype} on {platform.system()}")
    try:
        return _declared(ctypes.CDLL(str(_kept(dtype) / "sweep.so")))
    except subprocess.CalledProcessError as error:
        raise NoSweeps(f"{shlex.join(error.cmd)}: {error.stderr.strip()}") from error
    # Of folders and files, of `CC`, of a home that nobody knows, of names that are not in there.
    except (OSError, ValueError, RuntimeError, AttributeError, subprocess.TimeoutExpired) as error:
        raise NoSweeps(str(error)) from error


def _kept(dtype: torch.dtype) -> Path:
    """The folder with the library, which is made if there is none."""
    command = shlex.split(os.environ.get("CC") or "cc")
    flags = [*FLAGS, f"-DFEW={FEW}", *DEFINED[dtype], *_widest()]

    def make(folder: Path) -> None:
        # Not linked with a library for threads: PyTorch has loaded its own, and one pool of threads
        # is enough. If that is another's, loading fails.
        compiled, linked = folder / "sweep.o", folder / "sweep.so"
        _run([*command, *flags, "-c", str(SOURCE), "-o", str(compiled)])
        _run([*command, "-shared", str(compiled), "-lm", "-o", str(linked)])
        compiled.unlink()

    key = fingerprint(SOURCE.read_bytes(), " ".join([*command, *flags]), _processor())
    return cached(f"sweep-{key}", make)


def _run(command: list[str]) -> None:
    """Nobody is asked anything, and nobody waits for a compiler for ever."""
    subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )


def _declared(found: ctypes.CDLL) -> ctypes.CDLL:
    """With what its functions take."""
    for name, (arrays, sizes) in LINES.items():
        line = getattr(found, name)
        line.argtypes = [ctypes.c_void_p] * arrays + [ctypes.c_int64] * sizes + [ctypes.c_int]
        line.restype = None
    return found


def _widest() -> list[str]:
    """With AVX-512 compilers take half of its width by themselves."""
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return ["-mprefer-vector-width=512"] if wide else []


def _processor() -> str:
    """What it can do, as Linux tells it: a folder may be shared by machines that differ."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features"))}))
