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
from typing import Any

import torch

from functa_core.cache import cached, fingerprint

SOURCE = Path(__file__).with_name("sweep.c")
PRODUCT = SOURCE.with_name("product.h")
# No -ffast-math: what is infinite or not a number has to stay so.
FLAGS = ("-O3", "-march=native", "-fPIC", "-fopenmp", "-fno-math-errno", "-fno-trapping-math")
DEFINED = {torch.float32: (), torch.bfloat16: ("-DHALF",)}
"""How to compile for each type of numbers that it can be had for."""

FEW = 16
"""Most channels of the output layer's products, and coordinates of the first, that have loops of
their own."""
BLOCK = 128
"""Most coordinates that are multiplied together, and summed on their own."""
PATIENCE = 60
"""Seconds that a compiler may take; it takes less than one."""


_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_int64


def _fields(names: str, kind: Any) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class Work(ctypes.Structure):
    """`work` of `product.h`."""

    _fields_ = [
        *_fields("matrix", _POINTER),
        *_fields("down right", _SIZE),
        *_fields("x", _POINTER),
        *_fields("terms units signals n", _SIZE),
        *_fields("room", _POINTER),
        *_fields("threads", ctypes.c_int),
    ]


class Array(ctypes.Structure):
    """`array` of `sweep.c`."""

    _fields_ = [*_fields("first", _POINTER), *_fields("rows n", _SIZE)]


class Layer(ctypes.Structure):
    """`layer` of `sweep.c`."""

    _fields_ = [
        *_fields("result sine cosine a x along", Array),
        *_fields("shift total", _POINTER),
        *_fields("units signals", _SIZE),
        *_fields("given", ctypes.c_int),
    ]


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
        said = f"{shlex.join(error.cmd)}\n{error.stderr.strip()}"
        raise NoSweeps(f"{error.cmd[0]} ended with exit code {error.returncode}\n{said}") from error
    # Of folders and files, of `CC`, of a home that nobody knows, of names that are not in there.
    except (OSError, ValueError, RuntimeError, AttributeError, subprocess.TimeoutExpired) as error:
        raise NoSweeps(str(error)) from error


def _kept(dtype: torch.dtype) -> Path:
    """The folder with the library, which is made if there is none."""
    command = shlex.split(os.environ.get("CC") or "cc")
    flags = [*FLAGS, f"-DFEW={FEW}", f"-DBLOCK={BLOCK}", *DEFINED[dtype], *_widest()]

    def make(folder: Path) -> None:
        # Not linked with a library for threads: PyTorch has loaded its own, and one pool of threads
        # is enough. If that is another's, loading fails.
        compiled, linked = folder / "sweep.o", folder / "sweep.so"
        _run([*command, *flags, "-c", str(SOURCE), "-o", str(compiled)])
        _run([*command, "-shared", str(compiled), "-lm", "-o", str(linked)])
        compiled.unlink()

    key = fingerprint(
        SOURCE.read_bytes(), PRODUCT.read_bytes(), " ".join([*command, *flags]), _processor()
    )
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
    for name in ("wave", "fold", "along", "bend"):
        _declare(found, name, ctypes.POINTER(Work), ctypes.POINTER(Layer))
    for name in ("mix", "share"):
        _declare(found, name, *[_POINTER] * 3, *[_SIZE] * 3, ctypes.c_int)
    _declare(found, "sweep_sums", _SIZE, result=_SIZE)
    _declare(found, "sweep_room", _SIZE, _SIZE, ctypes.c_int, result=_SIZE)
    return found


def _declare(found: ctypes.CDLL, name: str, *takes: Any, result: Any = None) -> None:
    function = getattr(found, name)
    function.argtypes, function.restype = takes, result


def _widest() -> list[str]:
    """With AVX-512 compilers take half of its width by themselves."""
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return ["-mprefer-vector-width=512"] if wide else []


def _processor() -> str:
    """What it can do, as Linux tells it: a folder may be shared by machines that differ."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features"))}))
