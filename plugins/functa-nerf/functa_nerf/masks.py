"""Ways to hide part of what the cameras of a scene saw."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Generator, Tensor

from functa_core import Mask, Observations
from functa_nerf.cameras import Lens
from functa_nerf.scenes import Scene


def masks(lens: Lens) -> list[Mask]:
    """The masks of scenes whose views were taken with a lens: the same part of every view."""
    height, width = lens.height, lens.width
    left = torch.zeros(height, width, dtype=torch.bool)
    left[:, : (width + 1) // 2] = True
    clear = torch.ones(height, width, dtype=torch.bool)
    rows, columns = (slice(side // 4, side - side // 4) for side in (height, width))
    clear[rows, columns] = False
    return [
        _in_every_view("left-half", "the left half of every context view is seen", left),
        _in_every_view(
            "occluded", "something stands before the middle quarter of every context view", clear
        ),
    ]


def _in_every_view(name: str, summary: str, shown: Bool[Tensor, "H W"]) -> Mask:
    def visible(
        signals: Sequence[Scene], observations: Observations, _: Generator
    ) -> Bool[Tensor, "B N"]:
        views = observations.count // shown.numel()
        return shown.reshape(-1).repeat(views).expand(len(signals), -1)

    return Mask(name, summary, visible)
