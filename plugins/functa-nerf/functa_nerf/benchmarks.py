"""The size that `functa bench` measures scenes at, and volume rendering for its peer in JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Generator

from functa_core import Benchmark
from functa_nerf.cameras import Lens, Orbit
from functa_nerf.rendering import DENSITY_SLOPE, LAST_DISTANCE, MAX_DENSITY
from functa_nerf.scenes import Scene

VIEWS, SIDE, POINTS = 8, 32, 32
NEAR, FAR = 0.8, 1.8
ORBIT = Orbit(target=(0.0, 0.0, 0.0), up=(0.0, 0.0, 1.0), radius=1.3, elevation=20.0)
LENS = Lens(focal=33.0, cx=SIDE / 2, cy=SIDE / 2, height=SIDE, width=SIDE)


def _noise(count: int, generator: Generator) -> Sequence[Scene]:
    """Views of random colours, from cameras that are all on one circle."""
    shape = (count, VIEWS, SIDE, SIDE, 3)
    views = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    poses = ORBIT.poses(VIEWS)
    return [Scene(f"noise {i}", images, poses, LENS) for i, images in enumerate(views)]


def jax_forward(modality: Any) -> Callable[[Callable[[Any], Any], Any], Any]:
    """Volume rendering as `functa_nerf.rendering` defines it, in JAX: rays (N, 6) → colours (N, 3).

    Needs jax, of which nothing else here knows.
    """
    import jax
    import jax.numpy as jnp

    points = modality.config.points_per_ray
    white = modality.config.white_background
    near, far = float(modality.state["near"]), float(modality.state["far"])

    def forward(field: Callable[[Any], Any], queries: Any) -> Any:
        z = jnp.linspace(near, far, points)
        origins, directions = queries[:, None, :3], queries[:, None, 3:]
        features = field((origins + directions * z[:, None]).reshape(-1, 3))
        features = features.reshape(len(queries), points, 4)
        activated = jax.nn.elu(features[..., 3], DENSITY_SLOPE) + DENSITY_SLOPE
        steps = jnp.append(z[1:] - z[:-1], LAST_DISTANCE)
        lengths = jnp.linalg.norm(queries[:, 3:], axis=-1, keepdims=True)
        thickness = jnp.clip(activated, 0.0, MAX_DENSITY) * steps * lengths
        in_front = jnp.cumsum(thickness, axis=-1) - thickness
        weights = jnp.exp(-in_front) * -jnp.expm1(-thickness)
        colours = (weights[..., None] * features[..., :3]).sum(axis=1)
        behind = 1.0 - weights.sum(axis=1, keepdims=True) if white else 0.0
        return colours + behind

    return forward


BENCHMARKS: Mapping[str, Benchmark] = {
    "nerf": Benchmark(
        summary="1 scene, 8 views x 1,024 rays x 32 points",
        sections={
            "modality": {
                "views": VIEWS,
                "rays": SIDE * SIDE,
                "points_per_ray": POINTS,
                "coord_noise": False,
            },
            # The rays are the paper's; its width of 512 and depth of 15 would need more memory
            # than a computer without a GPU has.
            "model": {"width": 64, "depth": 5, "latent_dim": 64, "w0": 15.0},
            "meta": {"batch_size": 1, "lr": 1e-4, "chunk": 256},
        },
        state={
            "label_names": [],
            "lens": attrs.asdict(LENS),
            "orbit": attrs.asdict(ORBIT),
            "near": NEAR,
            "far": FAR,
            "bound": 3.0,
        },
        signals=_noise,
        jax_forward=jax_forward,
        decoding="render",
    )
}
