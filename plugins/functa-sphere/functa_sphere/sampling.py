"""Random cells for a training step."""

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor


def draw_by_area(areas: Float[Tensor, " N"], count: int, generator: Generator) -> Int[Tensor, " n"]:
    """Draw cells so that each is expected count · area / total times.

    The mean over the drawn cells then estimates the mean over the sphere without bias. All cells
    side by side, each as long as its area, are cut into `count` equal lengths and one point is
    drawn in each: stratified sampling, whose variance is never above that of independent draws by
    area. Drawing cells uniformly and weighting them by area has a higher one: it spends as many
    observations on the small cells near the poles as on the equator.

    Args:
        areas: at least 0, not all 0; a cell of area 0 is never drawn.
        count: how many to draw; a cell larger than a stratum may come more than once.
        generator: of the draws.
    """
    ends = areas.double().cumsum(0)
    places = torch.arange(count, dtype=torch.float64)
    places += torch.rand(count, generator=generator, dtype=torch.float64)
    chosen = torch.searchsorted(ends, places * (float(ends[-1]) / count), right=True)
    last = int(areas.nonzero().max())  # rounding may place the last draw at the very end
    return chosen.clamp(max=last)
