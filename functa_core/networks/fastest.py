"""Which layers the passes have on a device."""

from __future__ import annotations

import torch

from functa_core.networks.buffers import Buffers
from functa_core.networks.compiled import sweeps
from functa_core.networks.fused import FusedLayers, usable
from functa_core.networks.layers import Layers, PlainLayers
from functa_core.networks.swept import SweptLayers


def layers_for(
    device: torch.device, dtype: torch.dtype, total: torch.dtype, buffers: Buffers
) -> Layers:
    """The fastest layers there are.

    Args:
        device: of everything.
        dtype: of what is kept.
        total: of sums.
        buffers: where memory comes from.
    """
    plain = PlainLayers(dtype, total, buffers)
    if total != torch.float32:
        return plain
    if dtype == torch.bfloat16 and usable(device):
        return FusedLayers(plain, buffers)
    compiled = sweeps(dtype) if device.type == "cpu" else None
    return plain if compiled is None else SweptLayers(plain, compiled, buffers)
