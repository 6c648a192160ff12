"""Ways to hide part of a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Generator, Tensor

from functa_core import Mask, Observations
from functa_images.pixels import Pixels

SCATTERED = 0.1
"""Share of the pixels that the random mask shows."""


def masks(height: int, width: int) -> list[Mask]:
    """The masks of pictures of one size."""
    left, top, around = (torch.zeros(height, width, dtype=torch.bool) for _ in range(3))
    left[:, : (width + 1) // 2] = True
    top[: (height + 1) // 2] = True
    around[:] = True
    rows, columns = (slice(side // 4, side - side // 4) for side in (height, width))
    around[rows, columns] = False
    return [
        _same_for_all("left-half", "the left half is seen", left),
        _same_for_all("top-half", "the upper half is seen", top),
        _same_for_all("centre-hidden", "a box of half the width and height is hidden", around),
        Mask("random-tenth", "a random tenth of the pixels is seen", _scattered),
    ]


def _same_for_all(name: str, summary: str, shown: Bool[Tensor, "h w"]) -> Mask:
    def visible(
        signals: Sequence[Pixels], observations: Observations, _: Generator
    ) -> Bool[Tensor, "B N"]:
        return shown.reshape(-1).expand(len(signals), -1)

    return Mask(name, summary, visible)


def _scattered(
    signals: Sequence[Pixels], observations: Observations, generator: Generator
) -> Bool[Tensor, "B N"]:
    """Pixels of its own for each picture, at least one."""
    shown = torch.zeros(len(signals), observations.count, dtype=torch.bool)
    few = max(1, round(SCATTERED * observations.count))
    for row in shown:
        row[torch.randperm(observations.count, generator=generator)[:few]] = True
    return shown
