"""How often an update makes the processor wait for the GPU."""

from __future__ import annotations

import warnings

import torch

from functa_core.bench.case import Asked
from functa_core.bench.ours import FunctaBfloat16


def waits(asked: Asked, device: torch.device) -> int | None:
    """Synchronisations within one update of ours in bfloat16, after two; None without a GPU.

    They are what PyTorch warns of in its synchronisation debug mode.
    """
    if device.type != "cuda":
        return None
    ours = FunctaBfloat16(asked.case(device))
    work = ours.updating()
    for _ in range(2):
        ours.finish(work())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        switched_on = len(caught)  # that it is a prototype
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(each.message) for each in caught[switched_on:])
