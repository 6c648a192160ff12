"""On what it was measured: hardware and versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from functa_core.networks.compiled import NoSweeps, loaded

PACKAGES = ("functa-core", "torch", "numpy", "jax", "jaxlib")


def hardware(device: torch.device) -> dict[str, Any]:
    """Processor, cores that may be used, threads, memory in bytes, load, and the GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "memory_bytes": _memory(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "gpu": None,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found["gpu"] = {"name": properties.name, "memory_bytes": properties.total_memory}
    return found


def versions() -> dict[str, str | None]:
    """Of Python and of what computes; None for what is not installed.

    `sweep` tells whether a processor has the compiled sweeps of `networks/sweep.c`, or why not.
    """
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    found["cuda"] = torch.version.cuda
    found["sweep"] = _sweep()
    return found


def _sweep() -> str:
    """Whether they are compiled here, for float32."""
    try:
        loaded(torch.float32)
    except NoSweeps as error:
        return f"not compiled: {str(error).partition(chr(10))[0]}"  # what follows has paths
    return "compiled"


def _processor() -> str:
    """Its name: the system's own, where it tells."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory() -> int | None:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
