"""Looking at a field: whole views, one after the other, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core import Field
from functa_nerf.cameras import Lens, Orbit, rays
from functa_nerf.rendering import Rendering

POINTS_AT_ONCE = 2**18
"""Field points asked for at a time: bounds memory at any resolution."""


class View(NamedTuple):
    """What one camera sees of one field, on the CPU.

    Attributes:
        colour: (H, W, 3), in the range of the field's colours.
        depth: (H, W), along the camera's axis in units of the poses: the mean over what a ray met,
            so that a half transparent thing has the depth of an opaque one. Without meaning where
            the opacity is 0.
        opacity: (H, W), from 0 to 1.
    """

    colour: Float[Tensor, "H W 3"]
    depth: Float[Tensor, "H W"]
    opacity: Float[Tensor, "H W"]


@attrs.frozen(eq=False)
class Turntable:
    """One turn of a camera around a scene.

    Attributes:
        render: (field, rays (n, 6)) → what is seen along them.
        points: field points that a ray takes.
        lens: whose shorter side the square views of the turn show.
        orbit: where the cameras are.
        count: views of a turn.
        near, far: least and greatest depth, in units of the poses.
    """

    render: Callable[[Field, Tensor], Rendering]
    points: int
    lens: Lens
    orbit: Orbit
    count: int
    near: float
    far: float

    @property
    def poses(self) -> Float[Tensor, "V 4 4"]:
        """The cameras of one turn."""
        return self.orbit.poses(self.count)

    @property
    def native_side(self) -> int:
        """Pixels a side of square views at the resolution of the lens."""
        return min(self.lens.height, self.lens.width)

    @property
    def _rays_at_once(self) -> int:
        return max(1, POINTS_AT_ONCE // self.points)

    def turn(self, field: Field, side: int) -> Iterator[View]:
        """The views of one turn around a field of one latent, `side` pixels each way."""
        for pose in self.poses:
            yield self.look(field, pose, self.lens.fitted(side))

    @torch.no_grad()
    def look(self, field: Field, pose: Float[Tensor, "4 4"], lens: Lens) -> View:
        """One view of a field of one latent.

        Besides the view itself, memory holds `POINTS_AT_ONCE` points and what they need.
        """
        count = lens.height * lens.width
        view = View(torch.empty(count, 3), torch.empty(count), torch.empty(count))
        for pixels in torch.split(torch.arange(count), self._rays_at_once):
            seen = self.render(field, rays(pose[None], lens, pixels[None])[0])
            opacity = seen.weights[0].sum(dim=-1)
            view.colour[pixels] = seen.colour[0].cpu()
            view.depth[pixels] = (seen.depth[0] / opacity.clamp_min(1e-3)).cpu()
            view.opacity[pixels] = opacity.cpu()
        return View(*(part.reshape(lens.height, lens.width, *part.shape[1:]) for part in view))
