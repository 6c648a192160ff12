"""From scenes to observations: which pixels are looked at, and the rays through them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from torch.nn.utils.rnn import pad_sequence

from functa_core import Observations, random_subset
from functa_nerf.cameras import rays
from functa_nerf.scenes import Scene, same_cameras

Choice = tuple[Int[Tensor, " _v"], Int[Tensor, "_v _n"]]
"""Views of a scene, and n pixels (row · width + column) in each of them."""


def every_pixel(scene: Scene) -> Choice:
    """All pixels of all views, view after view."""
    pixels = torch.arange(scene.lens.height * scene.lens.width)
    return torch.arange(scene.views), pixels.expand(scene.views, -1)


def random_pixels(scene: Scene, views: int, pixels: int, generator: Generator) -> Choice:
    """Some views without repeats, and in each of them some pixels without repeats."""
    count = scene.lens.height * scene.lens.width
    seen = random_subset(scene.views, views, generator)
    return seen, torch.stack([random_subset(count, pixels, generator) for _ in seen])


def choose(
    scenes: Sequence[Scene], views: int, pixels: int, generator: Generator | None
) -> list[Choice]:
    """What one batch looks at: everything, or with a generator a random part.

    Scenes with as many views as each other get the same random part, so that those seen by the same
    cameras go on sharing their rays; otherwise each scene gets its own.
    """
    if generator is None:
        return [every_pixel(scene) for scene in scenes]
    if len({(s.views, s.lens.height, s.lens.width) for s in scenes}) == 1:
        return [random_pixels(scenes[0], views, pixels, generator)] * len(scenes)
    return [random_pixels(scene, views, pixels, generator) for scene in scenes]


def observe(scenes: Sequence[Scene], choices: Sequence[Choice]) -> Observations:
    """The chosen pixels of each scene as observations; groups are the views' indices.

    Queries are shared (N, 6) if all scenes have the same cameras and choices.
    Scenes with fewer observations than the others are padded with weight 0 and group −1.
    """
    pairs = list(zip(scenes, choices, strict=True))
    colours = [_colours(scene, choice) for scene, choice in pairs]
    groups = [view[:, None].expand_as(pixels).flatten() for view, pixels in choices]
    ones = [torch.ones(len(c)) for c in colours]
    if all(
        same_cameras(scenes[0], scene) and _equal(choices[0], choice) for scene, choice in pairs
    ):
        queries = _rays(scenes[0], choices[0])
    else:
        queries = pad_sequence([_rays(s, c) for s, c in pairs], batch_first=True)
    return Observations(
        queries=queries,
        values=pad_sequence(colours, batch_first=True),
        weights=pad_sequence(ones, batch_first=True),
        groups=pad_sequence(groups, batch_first=True, padding_value=-1),
    )


def _equal(one: Choice, other: Choice) -> bool:
    return one is other or all(map(torch.equal, one, other))


def _rays(scene: Scene, choice: Choice) -> Float[Tensor, "N 6"]:
    view, pixels = choice
    return rays(scene.poses[view], scene.lens, pixels).reshape(-1, 6)


def _colours(scene: Scene, choice: Choice) -> Float[Tensor, "N 3"]:
    view, pixels = choice
    flat = scene.images.reshape(scene.views, -1, 3)
    return flat[view[:, None], pixels].reshape(-1, 3).float() / 255
