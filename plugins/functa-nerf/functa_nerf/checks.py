"""Whether poses follow the convention that they are read in: the commonest fault of own data.

A matrix may mean something else than it is taken for: a camera whose axes point elsewhere (OpenCV's
y goes down and z ahead), or the map from world to camera. Each of these readings is tried, and
what tells them apart is whether the cameras look at one point, and whether the silhouettes that
they see fit together there. What is found is a note, never a refusal.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_nerf.scenes import Scene, spread
from functa_nerf.sight import Sight, sight_of, tangents
from functa_nerf.silhouettes import Silhouettes, explained, silhouettes_of

SCENES, VIEWS = 6, 8
"""How many scenes are looked at, and views of each: more would say the same."""
FEWEST_VIEWS = 3
"""Two cameras meet somewhere in almost any reading."""
CLEARLY = 0.05
"""By so much of the silhouettes another reading must explain more. With true poses all of it is
explained; with pictures turned by 180 degrees 85 % (8 views of furniture), all of a ball."""
GOOD = 0.9
"""What a reading must explain to be proposed."""
CONFIDENT = 0.9
"""The share of the cameras that must agree where there are no silhouettes to ask."""


@attrs.frozen
class Reading:
    """What the numbers of a pose may mean.

    Attributes:
        turn: the diagonal of what the matrix is to be multiplied by, on the right.
        inverse: whether it is inverted before that.
        finding: what speaks for it, as a clause.
        cure: what to do with the files.
    """

    turn: tuple[float, float, float]
    inverse: bool = False
    finding: str = ""
    cure: str = ""

    def of(self, poses: Float[Tensor, "V 4 4"]) -> Float[Tensor, "V 4 4"]:
        """The poses, if this is what they mean."""
        turned = torch.linalg.inv(poses.double()) if self.inverse else poses.double()
        return (turned * torch.tensor([*self.turn, 1.0], dtype=torch.float64)).float()


def _turned(turn: tuple[float, float, float], finding: str) -> Reading:
    diagonal = ", ".join(f"{sign:g}" for sign in (*turn, 1))
    return Reading(turn, False, finding, f"multiply each matrix by diag({diagonal}) on the right")


AS_GIVEN = Reading((1, 1, 1))
INVERTED = ("they map from world to camera", "invert each matrix, then inspect again")
READINGS = (
    _turned(
        (1, -1, -1),
        "they follow the other of the two usual conventions (OpenCV's and SRN's: y down, looking "
        "along +z; OpenGL's and Blender's: y up, looking along -z)",
    ),
    _turned((-1, -1, 1), "x and y point the other way, so that pictures stand on their heads"),
    _turned((-1, 1, -1), "x and z point the other way (as PyTorch3D's do for OpenGL's)"),
    Reading((1, 1, 1), True, *INVERTED),
    Reading((1, -1, -1), True, *INVERTED),
)
"""In the order in which they are believed where two explain as much."""


@attrs.frozen(eq=False)
class _Rig:
    """Cameras of one scene: poses, half angles of view, and silhouettes where there are any."""

    poses: Tensor
    tangents: Tensor
    seen: Silhouettes | None

    def sight(self, reading: Reading) -> Sight:
        return sight_of(reading.of(self.poses), self.tangents)


def check_poses(scenes: Sequence[Scene]) -> list[str]:
    """Notes on what looks wrong with the poses; none if nothing does, or if it cannot be told."""
    rigs = _rigs(scenes)
    outlined = [rig for rig in rigs if rig.seen is not None]
    found = _by_silhouettes(outlined) or _by_axes(rigs)
    return [found] if found else []


def _rigs(scenes: Sequence[Scene]) -> list[_Rig]:
    """A few scenes with a few of their views; one rig of all of them if each has too few."""
    few = [scenes[i].thinned(VIEWS) for i in spread(len(scenes), SCENES)]
    whole = [s for s in few if s.views >= FEWEST_VIEWS]
    if whole:
        return [_Rig(s.poses, tangents(s), silhouettes_of(s)) for s in whole]
    some = [scenes[i] for i in spread(len(scenes), SCENES * VIEWS)]
    if sum(s.views for s in some) < FEWEST_VIEWS:
        return []
    poses = torch.cat([s.poses for s in some])
    return [_Rig(poses, torch.cat([tangents(s) for s in some]), None)]


def _by_silhouettes(rigs: Sequence[_Rig]) -> str:
    """What is wrong with the poses, judged by the visual hull; empty if nothing is."""
    given = _explained(rigs, AS_GIVEN)
    if not rigs or given >= 1 - CLEARLY:
        return ""
    shares = [_explained(rigs, reading) for reading in READINGS]
    best = max(shares)
    if best >= GOOD and best > given + CLEARLY:
        # Readings that differ by less than this are not told apart: the first is the likeliest.
        first = next(i for i, share in enumerate(shares) if share > best - CLEARLY / 2)
        return _note(rigs, READINGS[first], f" ({best:.0%} of the silhouettes, not {given:.0%})")
    return ""


def _by_axes(rigs: Sequence[_Rig]) -> str:
    """What is wrong with the poses, judged by where the cameras look; empty if nothing is."""
    if len(_faults(rigs)) < max(1, CONFIDENT * len(rigs)):
        return ""
    for reading in READINGS:
        sights = [rig.sight(reading) for rig in rigs]
        seen = torch.cat([s.sees & (not s.fault) for s in sights])
        if float(seen.float().mean()) >= CONFIDENT:
            return _note(rigs, reading, "")
    return ""


def _explained(rigs: Sequence[_Rig], reading: Reading) -> float:
    """The mean share of the silhouettes that fits together in a reading; 0 for no rigs."""
    total = 0.0
    for rig in rigs:
        sight = rig.sight(reading)
        if rig.seen is not None and not sight.fault:
            total += explained(rig.seen, reading.of(rig.poses), sight)
    return total / max(1, len(rigs))


def _faults(rigs: Sequence[_Rig]) -> list[str]:
    """What is wrong with where the cameras look, for each rig where something is."""
    return [fault for rig in rigs if (fault := rig.sight(AS_GIVEN).fault)]


def _note(rigs: Sequence[_Rig], reading: Reading, evidence: str) -> str:
    symptom = next(iter(_faults(rigs)), "the silhouettes do not fit together")
    return (
        f"The poses look wrong: {symptom}. They fit{evidence} if {reading.finding}: {reading.cure}."
    )
