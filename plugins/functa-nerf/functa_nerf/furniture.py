"""Furniture made of simple solids: the objects of the embedded set.

Lengths are in arbitrary units (an object is scaled afterwards), z is up, and −y is the front.

trimesh is imported by what needs it: the finished set is in the cache, and it takes a second.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import numpy as np

if TYPE_CHECKING:
    import trimesh

Colour = tuple[float, float, float]
SECTIONS = 20
"""Sides of what should look round: enough at the resolution of the embedded views."""


@attrs.frozen(eq=False)
class Part:
    """A solid of one colour, RGB in [0, 1]."""

    mesh: trimesh.Trimesh
    colour: Colour


def palette(rng: np.random.Generator, count: int) -> list[Colour]:
    """Vivid colours whose hues are far apart from each other."""
    start = rng.uniform()
    return [
        colorsys.hsv_to_rgb(
            (start + (i + rng.uniform(-0.2, 0.2)) / count) % 1.0,
            rng.uniform(0.6, 0.95),
            rng.uniform(0.55, 0.95),
        )
        for i in range(count)
    ]


def box(low: tuple[float, float, float], high: tuple[float, float, float], colour: Colour) -> Part:
    """A box between two corners."""
    import trimesh

    return Part(trimesh.creation.box(bounds=[low, high]), colour)


def turned(profile: list[tuple[float, float]], colour: Colour) -> Part:
    """A solid of revolution about the vertical axis; profile: (radius, height), upwards."""
    import trimesh

    closed = [(0.0, profile[0][1]), *profile, (0.0, profile[-1][1])]
    return Part(trimesh.creation.revolve(np.array(closed), sections=SECTIONS), colour)


def chair(rng: np.random.Generator) -> list[Part]:
    """Four legs, a seat, a back that may be slatted, sometimes arms."""
    seat, back, frame = palette(rng, 3)
    w, d = rng.uniform(0.4, 0.65), rng.uniform(0.4, 0.6)
    h, top = rng.uniform(0.35, 0.6), rng.uniform(0.35, 0.75)
    leg, thick = rng.uniform(0.06, 0.11), rng.uniform(0.05, 0.13)
    parts = _legs(w, d, h, leg, frame)
    parts.append(box((-w / 2, -d / 2, h), (w / 2, d / 2, h + thick), seat))
    base = h + thick
    if rng.uniform() < 0.5:
        parts.append(box((-w / 2, d / 2 - 0.07, base), (w / 2, d / 2, base + top), back))
    else:
        for low in (0.25, 0.65):
            parts.append(
                box(
                    (-w / 2, d / 2 - 0.07, base + low * top),
                    (w / 2, d / 2, base + (low + 0.3) * top),
                    back,
                )
            )
        for x in (-w / 2, w / 2 - leg):
            parts.append(box((x, d / 2 - 0.08, base), (x + leg, d / 2, base + top), frame))
    if rng.uniform() < 0.4:
        arm = rng.uniform(0.15, 0.25)
        for x in (-w / 2 - 0.05, w / 2 - 0.03):
            parts.append(box((x, -d / 2, base + arm), (x + 0.08, d / 2, base + arm + 0.06), frame))
            parts.append(box((x, -d / 2, base), (x + 0.08, -d / 2 + 0.07, base + arm), frame))
    return parts


def table(rng: np.random.Generator) -> list[Part]:
    """A round top on a foot, or a rectangular one on four legs."""
    top, frame = palette(rng, 2)
    h, thick = rng.uniform(0.4, 0.8), rng.uniform(0.06, 0.12)
    if rng.uniform() < 0.5:
        r, pole = rng.uniform(0.4, 0.65), rng.uniform(0.06, 0.12)
        foot = r * rng.uniform(0.45, 0.75)
        return [
            turned([(foot, 0.0), (foot, 0.06), (pole, 0.12), (pole, h)], frame),
            turned([(r, h), (r, h + thick)], top),
        ]
    w, d = rng.uniform(0.8, 1.4), rng.uniform(0.5, 0.8)
    parts = _legs(w, d, h, rng.uniform(0.07, 0.13), frame)
    parts.append(box((-w / 2, -d / 2, h), (w / 2, d / 2, h + thick), top))
    return parts


def lamp(rng: np.random.Generator) -> list[Part]:
    """A foot, a pole and a shade."""
    shade, frame = palette(rng, 2)
    h, pole = rng.uniform(0.6, 1.1), rng.uniform(0.035, 0.06)
    foot, tall = rng.uniform(0.18, 0.32), rng.uniform(0.28, 0.5)
    wide = rng.uniform(0.25, 0.42)
    narrow = wide * rng.uniform(0.35, 1.0)
    return [
        turned([(foot, 0.0), (foot, 0.05), (pole, 0.09), (pole, h)], frame),
        turned([(wide, h - 0.05), (narrow, h - 0.05 + tall)], shade),
    ]


def shelf(rng: np.random.Generator) -> list[Part]:
    """A case with shelves, and things standing on them."""
    frame, inside, *things = palette(rng, 5)
    w, d, h = rng.uniform(0.5, 0.9), rng.uniform(0.28, 0.45), rng.uniform(0.7, 1.2)
    boards, thick = int(rng.integers(2, 5)), 0.06
    parts = [
        box((-w / 2, d / 2 - 0.04, 0.0), (w / 2, d / 2 + 0.01, h), inside),
        box((-w / 2, -d / 2, 0.0), (-w / 2 + thick, d / 2, h), frame),
        box((w / 2 - thick, -d / 2, 0.0), (w / 2, d / 2, h), frame),
    ]
    gap = (h - thick) / boards
    parts += [
        box((-w / 2, -d / 2, i * gap), (w / 2, d / 2, i * gap + thick), frame)
        for i in range(boards + 1)
    ]
    for i in range(boards):
        wide, tall = rng.uniform(0.2, 0.5) * w, rng.uniform(0.5, 0.9) * (gap - thick)
        x, floor = rng.uniform(-w / 2 + thick, w / 2 - thick - wide), i * gap + thick
        colour = things[i % len(things)]
        parts.append(box((x, -d / 2 + 0.05, floor), (x + wide, d / 2 - 0.04, floor + tall), colour))
    return parts


def sofa(rng: np.random.Generator) -> list[Part]:
    """A base, a back, two arms, and cushions in another colour."""
    cover, cushion = palette(rng, 2)
    w, d = rng.uniform(0.8, 1.5), rng.uniform(0.5, 0.7)
    h, top, arm = rng.uniform(0.2, 0.32), rng.uniform(0.3, 0.5), rng.uniform(0.1, 0.2)
    side = h + rng.uniform(0.12, 0.25)
    parts = [
        box((-w / 2, -d / 2, 0.0), (w / 2, d / 2, h), cover),
        box((-w / 2, d / 2 - 0.15, h), (w / 2, d / 2, h + top), cover),
        box((-w / 2 - arm, -d / 2, 0.0), (-w / 2, d / 2, side), cover),
        box((w / 2, -d / 2, 0.0), (w / 2 + arm, d / 2, side), cover),
    ]
    count = int(rng.integers(1, 4))
    for i in range(count):
        x = -w / 2 + i * w / count
        far = x + w / count - 0.03
        parts.append(box((x + 0.03, -d / 2 - 0.03, h), (far, d / 2 - 0.15, h + 0.1), cushion))
    return parts


def _legs(w: float, d: float, h: float, leg: float, colour: Colour) -> list[Part]:
    """Four square legs below the corners of a board."""
    return [
        box((x, y, 0.0), (x + leg, y + leg, h), colour)
        for x in (-w / 2, w / 2 - leg)
        for y in (-d / 2, d / 2 - leg)
    ]


KINDS: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    "chair": chair,
    "lamp": lamp,
    "shelf": shelf,
    "sofa": sofa,
    "table": table,
}


def piece(kind: str, seed: tuple[int, ...]) -> list[Part]:
    """One piece of furniture, a function of its kind and seed, within the unit-diameter sphere."""
    parts = KINDS[kind](np.random.default_rng(seed))
    corners = np.concatenate([part.mesh.vertices for part in parts])
    centre = (corners.max(axis=0) + corners.min(axis=0)) / 2
    scale = 0.5 / np.linalg.norm(corners - centre, axis=1).max()
    for part in parts:
        part.mesh.apply_translation(-centre).apply_scale(scale)
    return parts
