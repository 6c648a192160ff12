"""Interpolation: the way from one signal to another, frame by frame.

A straight line between latents, and a way through the base space of a flow, whose frames are as
likely latents as its ends are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.console import ticking
from functa_core.drawing import drawn
from functa_core.encoding import Encoder
from functa_core.latents.standardise import Standardiser
from functa_core.modality import Artefact, seeded
from functa_core.observations import Observations, weighted_mean
from functa_core.options import option
from functa_core.seeding import derive
from functa_core.tasks.base import Material, NotApplicable, Outcome, Task
from functa_core.tasks.priors import check_prior, find_flow

PROTOCOL = (
    "length: of the way through the signals' values, sum of root mean squared differences between "
    "frames, over the difference of the ends; nearest_training_latent: root mean squared "
    "distance of the middle frame's latent, in standard deviations of the training latents; "
    "base: spherical in the base space of a flow, the norm linear; means over pairs"
)
STRAIGHT, BASE = "straight", "base"


@runtime_checkable
class Flow(Protocol):
    """An invertible map between latents and a base space where they are standard normal."""

    def to_base(self, z: Float[Tensor, "B Z"]) -> Float[Tensor, "B K"]:
        """Latents to the base space."""
        ...

    def from_base(self, u: Float[Tensor, "B K"]) -> Float[Tensor, "B Z"]:
        """Back again."""
        ...


@attrs.frozen
class InterpolateConfig:
    """Which ways are gone."""

    pairs: int = option(2, "pairs of test signals at most, drawn at random, no signal twice", low=1)
    frames: int = option(16, "frames of each way, both ends included", low=3)
    ways: tuple[str, ...] = option(
        (STRAIGHT, BASE),
        "straight: a line between latents; base: along the base space of a flow that is fitted to "
        "the training latents",
        choices=(STRAIGHT, BASE),
    )

    @ways.validator
    def _some(self, _: Any, value: tuple[str, ...]) -> None:
        if not value:
            raise ValueError("ways must have at least one of straight and base")


class Interpolate(Task):
    """Go from signal to signal."""

    name = "interpolate"
    summary = "Animations from one test signal to another, straight and along a flow's base space."
    Config = InterpolateConfig
    config: InterpolateConfig

    def check(self, material: Material) -> None:
        """Raise `NotApplicable` if there are no two signals."""
        if len(material.test) < 2:
            raise NotApplicable("there is one test signal; a way needs two.")
        if BASE in self.config.ways:
            check_prior("flow", material, "--set tasks.interpolate.ways=[straight]")

    def run(self, material: Material, out: Path) -> Outcome:
        """Ways, their figures and their animations."""
        encoder, test = material.encoder, material.functaset("test").latents
        train = material.functaset("train").latents.flatten(1)
        ways = dict.fromkeys(self.config.ways)
        flow = find_flow(material) if BASE in ways else None
        rows: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        ends_rows, artefacts = list[float](), list[Artefact]()
        pairs = choose_pairs(len(test), self.config.pairs, material.seed)
        with ticking(self.name, len(pairs)) as tick:
            for done, (first, last) in enumerate(pairs, start=1):
                ends = torch.stack([test[first], test[last]]).flatten(1)
                seen = encoder.context(_observed(encoder, material.test[first]))
                frames = {way: path(ends, self.config.frames, way, flow) for way in ways}
                for way, latents in frames.items():
                    middle = latents[len(latents) // 2 :][:1]
                    figures = {
                        "length": length(encoder, _shaped(latents, test), seen),
                        "nearest_training_latent": float(nearest(middle, train)[0]),
                    }
                    rows[way].append(figures)
                ends_rows += nearest(ends, train).tolist()
                fields = {w: encoder.field(_shaped(z, test)) for w, z in frames.items()}
                artefacts += _draw(material, fields, out / f"{first}-to-{last}")
                tick(done)
        found: dict[str, Any] = {
            "protocol": PROTOCOL,
            "pairs": [[material.test.ids[i] for i in pair] for pair in pairs],
            "frames": self.config.frames,
            **{way: _means(few) for way, few in rows.items()},
            "baseline": {
                "cross-fade": {"length": 1.0},
                "ends": {"nearest_training_latent": sum(ends_rows) / len(ends_rows)},
            },
        }
        return Outcome(found, artefacts)


def choose_pairs(count: int, pairs: int, seed: int) -> list[tuple[int, int]]:
    """At most so many pairs of `count` signals, no signal twice."""
    order = torch.randperm(count, generator=seeded(derive(seed, "interpolate"))).tolist()
    return [(order[2 * i], order[2 * i + 1]) for i in range(min(pairs, count // 2))]


def path(
    ends: Float[Tensor, "2 Z"], frames: int, way: str, flow: Flow | None = None
) -> Float[Tensor, "F Z"]:
    """Latents from the first end to the last, both included exactly.

    Args:
        ends: the first and the last.
        frames: F, at least 2.
        way: "straight", or "base": spherical interpolation of directions in the flow's base space
            (Shoemake, 1985) while the norm goes linearly, so that frames are as far from the
            centre as a standard normal's samples are; on a straight line they would not be.
        flow: of the base space.
    """
    share = torch.linspace(0, 1, frames, dtype=torch.float64).to(ends.device)[:, None]
    if way == STRAIGHT:
        return between(ends.double(), share).to(ends.dtype)
    assert flow is not None
    with torch.no_grad():
        turned = spherical(flow.to_base(ends).double(), share)
        latents = flow.from_base(turned.to(ends.dtype))
    latents[0], latents[-1] = ends  # not up to the rounding of the flow's inverse
    return latents


def between(ends: Float[Tensor, "2 K"], share: Float[Tensor, "F 1"]) -> Float[Tensor, "F K"]:
    """From end to end along a straight line."""
    return torch.lerp(ends[0], ends[1], share)


def spherical(ends: Float[Tensor, "2 K"], share: Float[Tensor, "F 1"]) -> Float[Tensor, "F K"]:
    """From end to end along a great circle, the distance from the centre going linearly."""
    norms = ends.norm(dim=1, keepdim=True)
    one, other = ends / norms.clamp_min(1e-12)
    angle = torch.acos((one @ other).clamp(-1, 1))
    if float(angle.sin()) < 1e-6:  # along one ray, or through the centre: no circle to follow
        return between(ends, share)
    directions = (
        torch.sin((1 - share) * angle) * one + torch.sin(share * angle) * other
    ) / torch.sin(angle)
    turned: Tensor = directions * between(norms, share)
    return turned


def length(encoder: Encoder, latents: Float[Tensor, "F *latent"], seen: Observations) -> float:
    """How long a way is through the values at some queries, in distances between its ends.

    Args:
        encoder: of the trained run.
        latents: the frames.
        seen: of one signal; its queries and weights are read, its values are not.
    """
    values = torch.cat([encoder.predict(frame[None], seen) for frame in latents])
    weights = seen.weights.expand(len(values), -1)

    def distance(one: Tensor, other: Tensor) -> Tensor:
        return weighted_mean((one - other).square().mean(dim=-1), weights[: len(one)]).sqrt()

    whole = distance(values[:1], values[-1:]).clamp_min(1e-12)
    return float(distance(values[:-1], values[1:]).sum() / whole)


def nearest(latents: Float[Tensor, "B Z"], train: Float[Tensor, "n Z"]) -> Float[Tensor, " B"]:
    """Root mean squared distance to the nearest training latent, in standard deviations.

    Over the dimensions that vary in training.

    Raises:
        UnfitLatents: none does.
    """
    scale = Standardiser.of(train)
    distances = torch.cdist(
        scale.apply(latents), scale.apply(train), compute_mode="donot_use_mm_for_euclid_dist"
    )
    root: Tensor = distances.amin(dim=1) / math.sqrt(scale.dimensions)
    return root


def _observed(encoder: Encoder, signal: Any) -> Observations:
    return encoder.modality.observations([signal]).to(encoder.device)


def _shaped(flat: Float[Tensor, "F Z"], like: Tensor) -> Tensor:
    return flat.reshape(len(flat), *like.shape[1:])


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}


def _draw(material: Material, fields: Mapping[str, Any], folder: Path) -> list[Artefact]:
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        return drawn(material.modality, "animate", fields, out=folder)
