"""How often an update makes the processor wait for the GPU."""

from __future__ import annotations

import warnings

import torch

from functa_core.bench.case import Asked
from functa_core.bench.ours import Functa, FunctaBfloat16
from functa_core.networks.products import bfloat16_pays


def waits(asked: Asked, device: torch.device) -> int | None:
    """Synchronisations within one update of ours, after two others; None without a GPU.

    It is in bfloat16 where the GPU multiplies that, as by default. What is counted is what PyTorch
    warns of in its synchronisation debug mode.
    """
    if device.type != "cuda":
        return None
    ours = (FunctaBfloat16 if bfloat16_pays(device) else Functa)(asked.case(device))
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
