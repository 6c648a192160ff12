"""What size views are brought to, and how their lens changes with them."""

from __future__ import annotations

import attrs
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from functa_core import UserError
from functa_nerf.cameras import Lens

Size = int | tuple[int, int] | None
"""The shorter side, or height and width; None leaves views as they are."""


@attrs.frozen
class Resampling:
    """From one size to another, by area, with pixels that stay square.

    Attributes:
        height, width: of the result.
        scale: new pixels per old one.
        box: left, top, right and lower edge of what is kept of the old image, in its pixels.
    """

    height: int
    width: int
    scale: float
    box: tuple[float, float, float, float]

    def view(self, view: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "height width 3"]:
        """A view resampled: each new pixel is the mean of the area it covers."""
        if view.shape[:2] == (self.height, self.width):
            return view
        size = (self.width, self.height)
        return np.asarray(Image.fromarray(view).resize(size, Image.Resampling.BOX, self.box))

    def lens(self, lens: Lens) -> Lens:
        """The lens of the resampled view."""
        left, top = self.box[:2]
        return Lens(
            lens.focal * self.scale,
            (lens.cx - left) * self.scale,
            (lens.cy - top) * self.scale,
            self.height,
            self.width,
        )


def resampling(height: int, width: int, size: Size, where: str) -> Resampling:
    """How views of a size become what is wanted.

    With only the shorter side given the longer one keeps its proportion. Where that is no whole
    number of pixels, a margin that is less than one new pixel in all is cut off, so that pixels
    stay square and the lens exact.

    Raises:
        UserError: proportions differ by more than that; names `where`.
    """
    if size is None:
        size = (height, width)
    elif isinstance(size, int):
        short = min(height, width)
        size = (height * size // short, width * size // short)
    scale = max(size[0] / height, size[1] / width)
    kept_height, kept_width = min(size[0] / scale, height), min(size[1] / scale, width)
    if (height - kept_height) * scale >= 1 or (width - kept_width) * scale >= 1:
        raise UserError(
            f"{where}: views of {height}x{width} pixels cannot become {size[0]}x{size[1]} "
            "without distortion; crop or pad them first."
        )
    left, top = (width - kept_width) / 2, (height - kept_height) / 2
    return Resampling(*size, scale, (left, top, left + kept_width, top + kept_height))
