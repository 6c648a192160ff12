"""What the machine can do at best, measured in the same run as what is compared with it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from functa_core.networks.products import bfloat16_pays, product

REPEATS = 7
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EMULATED = 4
"""By how much smaller matrices are in a precision that the device does not have."""


def ceilings(device: torch.device, shrink: int = 1) -> dict[str, float]:
    """Rates of the machine.

    Args:
        device: whose.
        shrink: by how much the matrices' sides are smaller than they should be.

    Returns:
        `matmul_float32` and `matmul_bfloat16` by `torch.mm` in multiply-adds a second, of square
        matrices; on a GPU `matmul_tf32` too; `product_float32` and `product_bfloat16`, the best
        that can be had from PyTorch by whatever call, which on some processors is far more (see
        `functa_core.networks.products`); `sine_float32` in elements a second; `copy` in bytes a
        second, those read and those written both counted.
    """
    large = device.type == "cuda"
    side, elements = (8192, 2**28) if large else (2048, 2**24)
    side, elements = side // shrink, elements // shrink
    found = {}
    for name, dtype in PRECISIONS.items():
        emulated = dtype == torch.bfloat16 and not bfloat16_pays(device)
        size = side // EMULATED if emulated else side
        found[f"matmul_{name}"] = _matmul(size, dtype, device)
        ours = _matmul(size, dtype, device, product)
        found[f"product_{name}"] = max(ours, found[f"matmul_{name}"])
    if large:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        found["matmul_tf32"] = _matmul(side, torch.float32, device)
        torch.set_float32_matmul_precision(before)
    x = torch.rand(elements, device=device)
    y = torch.empty_like(x)
    found["sine_float32"] = elements / _fastest(lambda: torch.sin(x, out=y), device)
    found["copy"] = 2 * x.numel() * x.element_size() / _fastest(lambda: y.copy_(x), device)
    return found


def best(earlier: dict[str, float], later: dict[str, float]) -> dict[str, float]:
    """Of two measurements, at the beginning and at the end of a run, the higher rates."""
    return {name: max(rate, later[name]) for name, rate in earlier.items()}


def _matmul(
    side: int,
    dtype: torch.dtype,
    device: torch.device,
    multiply: Callable[[Tensor, Tensor], Tensor] = torch.mm,
) -> float:
    a, b = torch.rand(2, side, side, device=device).to(dtype).unbind()
    return side**3 / _fastest(lambda: multiply(a, b), device)


def _fastest(work: Callable[[], Tensor], device: torch.device) -> float:
    """The least seconds of several tries: a ceiling is not what a busy machine gives."""
    found = []
    for _ in range(REPEATS + 1):  # the first one sets things up
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - began)
    return min(found[1:])
