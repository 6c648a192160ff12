"""Silhouettes on a plain background, and how well they fit together under given cameras.

An object lies within the cone of each of its silhouettes. So on the ray of a pixel that shows it
there is a point that all other views show as the object too: the ray meets the visual hull
(Laurentini, IEEE PAMI 1994). If the poses are wrong, for many pixels there is no such point.
"""

from __future__ import annotations

import attrs
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import max_pool2d, normalize

from functa_nerf.cameras import Lens, rays
from functa_nerf.scenes import Scene, spread
from functa_nerf.sight import Sight

SIDE = 32
"""Silhouettes are looked at with about so many pixels along the shorter side."""
CONTRAST = 12
"""Steps of 255, in any channel, by which the object differs from what is behind it."""
PLAIN_BORDER = 0.95
"""The share of the border that must be background: else it is not plain, or the object cut off."""
SMALLEST, LARGEST = 0.01, 0.7
"""The share of a picture that an object covers; what covers less or more tells nothing."""
PIXELS = 64
"""Pixels of each silhouette that are traced, evenly spread over it."""
DEPTHS = 32
"""Points on a ray at which the other silhouettes are looked up."""
REACH = 1.5
"""How far from the target they are, in radii of the sphere that fits into every picture: an object
need not be in the middle."""


@attrs.frozen(eq=False)
class Silhouettes:
    """Where each of V views shows the object, at low resolution, and the lens for that."""

    masks: Bool[Tensor, "V h w"]
    lens: Lens

    def radius(self, poses: Float[Tensor, "V 4 4"], target: Float[Tensor, "3"]) -> float:
        """How far the object reaches from a point: the largest distance of its pixels' rays.

        A point of the object is at least as far away as the rays through it, and as far as those
        that pass it at a right angle: with views from all around the two agree.
        """
        beams = rays(poses, self.lens)[self.masks.flatten(1)].double()
        directions = normalize(beams[:, 3:], dim=-1)
        return float(torch.linalg.cross(target - beams[:, :3], directions).norm(dim=-1).max())


def silhouettes_of(scene: Scene) -> Silhouettes | None:
    """The silhouettes of a scene.

    None where the background is not plain: not of one colour, or the object goes over the border.
    """
    images = scene.images.short()
    edges = [images[:, [0, -1]].flatten(0, 2), images[:, :, [0, -1]].flatten(0, 2)]
    border = torch.cat(edges)
    background = border.median(dim=0).values
    plain = (border - background).abs().amax(dim=-1) <= CONTRAST
    if plain.float().mean() < PLAIN_BORDER:
        return None
    masks = (images - background).abs().amax(dim=-1) > CONTRAST
    factor = max(1, min(masks.shape[1:]) // SIDE)
    small = max_pool2d(masks[:, None].float(), factor, ceil_mode=True)[:, 0] > 0
    covered = small.float().mean(dim=(1, 2))
    if float(covered.min()) < SMALLEST or float(covered.max()) > LARGEST:
        return None
    lens, (height, width) = scene.lens, small.shape[1:]
    coarse = Lens(lens.focal / factor, lens.cx / factor, lens.cy / factor, height, width)
    return Silhouettes(small, coarse)


def explained(seen: Silhouettes, poses: Float[Tensor, "V 4 4"], sight: Sight) -> float:
    """The share of the object's pixels whose rays meet the visual hull of the other views.

    1, or little less, for true poses. A point outside a picture is not part of the object, which
    every picture shows as a whole.

    Args:
        poses: under which the silhouettes are to fit together.
        sight: what the cameras with these poses look at, without a fault.
    """
    # One pixel wider, because a point on a ray is not the centre of another view's pixel.
    wide = max_pool2d(seen.masks[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0
    steps = torch.linspace(-REACH, REACH, DEPTHS) * sight.radius
    shares = []
    for view, mask in enumerate(seen.masks):
        pixels = mask.flatten().nonzero()[:, 0]
        pixels = pixels[spread(len(pixels), PIXELS)]
        beams = rays(poses[view : view + 1], seen.lens, pixels[None])[0]
        z = (float(sight.depths[view]) + steps).clamp_min(0)
        points = beams[:, None, :3] + beams[:, None, 3:] * z[:, None]
        others = [i for i in range(len(poses)) if i != view]
        shown = _shown(wide[others], seen.lens, poses[others], points.flatten(0, 1))
        in_hull = shown.all(dim=0).reshape(len(pixels), DEPTHS)
        shares.append(in_hull.any(dim=1).float().mean())
    return float(torch.stack(shares).mean())


def _shown(
    masks: Bool[Tensor, "V h w"],
    lens: Lens,
    poses: Float[Tensor, "V 4 4"],
    points: Float[Tensor, "n 3"],
) -> Bool[Tensor, "V n"]:
    """Whether each view shows the object where points of the world are in its picture."""
    x, y, z = ((points - poses[:, None, :3, 3]) @ poses[:, :3, :3]).unbind(dim=-1)
    ahead = (-z).clamp_min(1e-9)
    column = (lens.cx + lens.focal * x / ahead).floor()
    row = (lens.cy - lens.focal * y / ahead).floor()
    inside = (z < 0) & (column >= 0) & (column < lens.width) & (row >= 0) & (row < lens.height)
    index = torch.where(inside, row * lens.width + column, 0.0).long()
    return inside & masks.flatten(1).gather(1, index)
