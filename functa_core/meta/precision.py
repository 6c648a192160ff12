"""The type of number that an update multiplies and keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from functa_core.networks.base import ModulatedNetwork, Network
from functa_core.networks.products import bfloat16_pays, is_nvidia

if TYPE_CHECKING:
    from functa_core.meta.learner import Learner

PRECISIONS = ("auto", "float32", "bfloat16")


def kept_type(precision: str, learner: Learner, device: torch.device) -> torch.dtype | None:
    """As `Problem` takes it; None for the weights' own.

    Args:
        precision: of `PRECISIONS`. "auto" is bfloat16 by a solver that takes rounded gradients, on
            networks with passes by hand, on NVIDIA's GPUs from Ampere on, where it was several
            times as fast (docs/design/0012); elsewhere it is float32.
        learner: network and solver.
        device: where.
    """
    if precision == "bfloat16" or (
        precision == "auto"
        and is_nvidia(device)
        and bfloat16_pays(device)
        and learner.solver.takes_rounded
        and has_passes(learner.network)
    ):
        return torch.bfloat16
    return None


def has_passes(network: Network) -> bool:
    """Whether there are passes by hand, which alone can keep another type than the weights'."""
    return isinstance(network, ModulatedNetwork) and bool(network.passed())
