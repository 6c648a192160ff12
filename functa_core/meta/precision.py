"""The type of number that an update multiplies and keeps."""

from __future__ import annotations

import torch

from functa_core.networks.base import ModulatedNetwork, Network

PRECISIONS = ("auto", "float32", "bfloat16")
AMPERE = (8, 0)
"""The first NVIDIA GPUs that multiply bfloat16 themselves."""


def kept_type(precision: str, network: Network, device: torch.device) -> torch.dtype | None:
    """As `Problem` takes it; None for the weights' own.

    Args:
        precision: of `PRECISIONS`. "auto" is bfloat16 on GPUs that multiply it, several times as
            fast as float32, and float32 elsewhere and for networks without passes by hand.
        network: whose products they are.
        device: where.
    """
    if precision == "bfloat16" or (
        precision == "auto" and multiplies_bfloat16(device) and has_passes(network)
    ):
        return torch.bfloat16
    return None


def multiplies_bfloat16(gpu: torch.device) -> bool:
    """Whether it is a GPU that does."""
    return gpu.type == "cuda" and torch.cuda.get_device_capability(gpu) >= AMPERE


def has_passes(network: Network) -> bool:
    """Whether there are passes by hand, which alone can keep another type than the weights'."""
    return isinstance(network, ModulatedNetwork) and bool(network.passed())
