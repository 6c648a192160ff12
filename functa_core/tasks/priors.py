"""Densities of a run's latents that several tasks use."""

from __future__ import annotations

import hashlib

from functa_core.errors import UserError
from functa_core.functaset import Functaset
from functa_core.latents.flow import LEAST, Flow, FlowOptions
from functa_core.latents.gaussian import Gaussian
from functa_core.latents.needs import missing
from functa_core.modality import seeded
from functa_core.seeding import derive
from functa_core.tasks.base import Material, NotApplicable
from functa_core.tasks.completing import Prior

LEAST_FOR_GAUSSIAN = 2


def check_prior(kind: str, material: Material, instead: str) -> None:
    """Raise `NotApplicable` unless a density can be fitted to the training latents.

    Args:
        kind: "flow" or "gaussian".
        material: of the trained run.
        instead: the options with which the task could be done all the same.
    """
    needed = LEAST if kind == "flow" else LEAST_FOR_GAUSSIAN
    found = len(material.train)
    if found < needed:
        raise NotApplicable(
            f"a {kind} of latents needs at least {needed} training signals, found {found}. "
            f"Do without: {instead}"
        )
    if kind == "flow" and (reason := missing(["zuko"])) is not None:
        raise NotApplicable(f"{reason}\nOr do without: {instead}")


def find_prior(kind: str, material: Material) -> Prior:
    """The density of the training latents that is asked for: "flow" or "gaussian"."""
    if kind == "flow":
        return find_flow(material)
    latents = material.functaset("train").latents.flatten(1)
    return Gaussian.fit(latents, seeded(derive(material.seed, "prior")))


def find_flow(material: Material) -> Flow:
    """The flow that the task "generate" left in the run, else one fitted here.

    It is taken only if it was fitted to these latents of these weights.
    """
    train = material.functaset("train")
    if material.tasks is not None:
        try:
            there = Flow.load(material.tasks / "generate" / "flow.safetensors")
        except UserError:  # none, or of another version
            there = None
        if there is not None and belongs_to(train).items() <= there.about.items():
            return there
    return Flow.fit(train.latents.flatten(1), FlowOptions(), derive(material.seed, "flow"))


def belongs_to(fitted: Functaset) -> dict[str, str]:
    """What a model of latents says of itself when it is saved, by which it is recognised."""
    numbers = fitted.latents.contiguous().numpy().tobytes()
    return {
        "weights_sha256": fitted.weights_sha256,
        "latents_sha256": hashlib.sha256(numbers).hexdigest(),
    }
