"""Volume rendering: from a radiance field to the colour of a ray.

The definitions are those of the functa paper's scene experiments ("From data to functa", Dupont et
al., ICML 2022, section 4 and appendix), which take the quadrature of NeRF (Mildenhall et al., ECCV
2020, eq. 3) with their own density activation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from functa_core import Field

DENSITY_SLOPE = 0.1
"""elu(x, slope) + slope never dies as ReLU does: its gradient is positive everywhere."""
MAX_DENSITY = 10.0
"""Upper bound of the density, per unit length."""
LAST_DISTANCE = 1e-3
"""Length that the last point of a ray stands for: almost nothing, the background is behind it."""


class Rendering(NamedTuple):
    """What is seen along rays.

    Attributes:
        colour: (..., N, 3), in the range of the field's colours.
        depth: (..., N), Σ w z, in units of the poses; 0 where a ray meets nothing.
        weights: (..., N, P), the share of each point; their sum is the opacity.
    """

    colour: Float[Tensor, "... N 3"]
    depth: Float[Tensor, "... N"]
    weights: Float[Tensor, "... N P"]


def depths(
    near: float,
    far: float,
    points: int,
    shape: tuple[int, ...] = (),
    generator: Generator | None = None,
) -> Float[Tensor, "*shape P"]:
    """Where rays are sampled.

    Args:
        near, far: first and last depth.
        points: P.
        shape: of the rays, when each gets its own random samples.
        generator: without one, P evenly spaced depths from near to far inclusive, for all rays.
            With one, each even depth moves uniformly at random within its cell, whose borders are
            the mid-points between neighbours, and near and far at the ends (stratified sampling).
    """
    even = torch.linspace(near, far, points)
    if generator is None:
        return even
    middle = (even[1:] + even[:-1]) / 2
    upper = torch.cat([middle, even[-1:]])
    lower = torch.cat([even[:1], middle])
    # Drawn where the generator lives, whatever device the rays are on.
    noise = torch.rand((*shape, points), generator=generator, device=generator.device)
    return lower.to(noise) + (upper - lower).to(noise) * noise


def density(features: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Density from the field's fourth channel: clip(elu(x, 0.1) + 0.1, 0, 10)."""
    activated = torch.nn.functional.elu(features, alpha=DENSITY_SLOPE) + DENSITY_SLOPE
    return activated.clamp(0.0, MAX_DENSITY)


def composite(
    colours: Float[Tensor, "... N P 3"],
    densities: Float[Tensor, "... N P"],
    z: Float[Tensor, "... P"],
    lengths: Float[Tensor, "... N"],
    white_background: bool = True,
) -> Rendering:
    """NeRF's eq. 3: Ĉ = Σ T_i (1 − exp(−σ_i δ_i)) c_i, with T_i = exp(−Σ_{j<i} σ_j δ_j).

    T is an exponential of a sum, where the authors' code takes a product of 1 − α + 1e-10: the two
    agree to 1e-7, and the sum has plain first and second derivatives even where a ray is opaque.

    Args:
        colours: of P points on each of N rays.
        densities: at least 0, per unit length.
        z: depths of the points, ascending; shapes broadcast.
        lengths: of the rays' directions, which turn steps in depth into steps along the ray.
        white_background: what is behind the last point: white, else black.
    """
    steps = torch.cat([z[..., 1:] - z[..., :-1], torch.full_like(z[..., :1], LAST_DISTANCE)], -1)
    thickness = densities * (steps * lengths[..., None])
    in_front = torch.nn.functional.pad(thickness, (1, 0))[..., :-1].cumsum(dim=-1)
    weights = torch.exp(-in_front) * -torch.expm1(-thickness)
    colour = (weights[..., None] * colours).sum(dim=-2)
    if white_background:
        colour = colour + (1.0 - weights.sum(dim=-1, keepdim=True))
    return Rendering(colour, (weights * z).sum(dim=-1), weights)


def render_rays(
    field: Field,
    queries: Float[Tensor, "*B N 6"],
    z: Float[Tensor, "... P"],
    white_background: bool = True,
) -> Rendering:
    """Render a field of B latents along rays, shared by them (N, 6) or each one's own (B, N, 6).

    The field is asked at (N·P, 3) or (B, N·P, 3): rays that are shared stay shared points.

    Args:
        z: depths, (P) for all rays or (N, P) for each its own.
    """
    origins, directions = queries[..., None, :3], queries[..., None, 3:]
    z = z.to(queries)
    coords = origins + directions * z[..., None]
    features = field(coords.flatten(-3, -2))
    features = features.reshape(len(features), *coords.shape[-3:-1], features.shape[-1])
    return composite(
        features[..., :3],
        density(features[..., 3]),
        z.to(features),
        queries[..., 3:].norm(dim=-1).to(features),
        white_background,
    )
