"""Modalities with one defect each, and the check that has to find it.

All but those of the entry point are Clips with one thing changed.
"""

import itertools
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
import numpy as np
import torch
from functa_clips import Clips, ClipsConfig

from functa_core import Artefact, Box, Mask, Metric, Observations, Spec, option
from functa_core.modality import seeded

MUTANTS: list[tuple[str, type[Clips]]] = []


def caught_by(check: str) -> Callable[[type[Clips]], type[Clips]]:
    def note(mutant: type[Clips]) -> type[Clips]:
        MUTANTS.append((check, mutant))
        return mutant

    return note


@caught_by("config")
class OptionsThatGrow(Clips):
    @attrs.frozen
    class Config(ClipsConfig):
        shift: int = attrs.field(
            default=1, converter=lambda value: value + 1, metadata={"help": "samples"}
        )


@caught_by("config")
class UnexplainedOption(Clips):
    @attrs.frozen
    class Config(ClipsConfig):
        shift: int = 1


@caught_by("config")
class OptionsThatChange(Clips):
    @attrs.define
    class Config:
        points: int | None = option(8, "samples of a training step")
        longest: int = option(16, "samples of the longest clip")
        bars: int = option(0, "parts")


@caught_by("data")
class OneId(Clips):
    def dataset(self, split):
        return attrs.evolve(super().dataset(split), ids=["clip"] * len(super().dataset(split)))


@caught_by("data")
class LabelsFromOne(Clips):
    def dataset(self, split):
        known = super().dataset(split)
        return attrs.evolve(known, labels=[label + 1 for label in known.labels])


@caught_by("data")
class LastOneMissing(Clips):
    def dataset(self, split):
        known = super().dataset(split)

        def load(place):
            if split == "train" and place == len(known) - 1:
                raise FileNotFoundError("there is no such clip")
            return known[place]

        return attrs.evolve(known, load=load)


@caught_by("offline")
class AsksTheNetwork(Clips):
    def dataset(self, split):
        if self.source.path is None:
            with suppress(OSError):  # it can do without, but what was tried counts
                socket.getaddrinfo("localhost", 80)
        return super().dataset(split)


@caught_by("state")
class KeysThatBecomeText(Clips):
    def prepare(self, train):
        return {**super().prepare(train), "loudness": {0: 1.0, 1: 0.5}}


@caught_by("state")
class StateByChance(Clips):
    def prepare(self, train):
        return {**super().prepare(train), "scale": random.SystemRandom().random()}


@caught_by("spec")
class LouderThanTheRange(Clips):
    def observations(self, signals, generator=None):
        made = super().observations(signals, generator)
        return attrs.evolve(made, values=made.values * 3)


@caught_by("spec")
class HidesEverything(Clips):
    def held_out(self, signals, observations):
        return torch.ones_like(observations.weights, dtype=torch.bool)


@caught_by("domain")
class NarrowDomain(Clips):
    spec = Spec(Box((0.0,), (0.5,)), channels=1, value_range=(-1.0, 1.0), output_offset=0.0)


@caught_by("domain")
class NoiseBeyondTheEdge(Clips):
    def forward(self, field, queries, generator=None):
        if generator is not None:
            queries = queries + 0.5 * torch.rand(queries.shape, generator=generator)
        return field(queries)


@caught_by("sampling")
class DrawsOfItsOwn(Clips):
    own_draws = itertools.count(1000)

    def observations(self, signals, generator=None):
        if generator is not None:
            generator = seeded(next(self.own_draws))
        return super().observations(signals, generator)


@caught_by("sampling")
class NoiseOfItsOwn(Clips):
    own_draws = itertools.count()

    def forward(self, field, queries, generator=None):
        if generator is None:
            return field(queries)
        own = seeded(next(self.own_draws))
        return field(queries) + 1e-3 * torch.rand(queries.shape, generator=own)


@caught_by("sampling")
class SignalsThatChange(Clips):
    loads = itertools.count()

    def dataset(self, split):
        known = super().dataset(split)
        return attrs.evolve(known, load=lambda i: known[i] * (1 - 0.01 * (next(self.loads) % 7)))


@caught_by("random-state")
class DrawsGlobally(Clips):
    def observations(self, signals, generator=None):
        torch.rand(1)
        return super().observations(signals, generator)


@caught_by("random-state")
class SeedsGlobally(Clips):
    def dataset(self, split):
        np.random.seed(0)  # noqa: NPY002 - the defect
        np.random.rand(1)  # noqa: NPY002
        return super().dataset(split)


@caught_by("masks")
class HidesNothing(Clips):
    def masks(self):
        everything = Mask("all", "everything", lambda s, o, g: torch.ones_like(o.weights).bool())
        return [*super().masks(), everything]


@caught_by("masks")
class MaskOfItsOwn(Clips):
    def masks(self):
        def scattered(signals, observations, generator):
            own = torch.Generator()
            own.seed()
            return super(MaskOfItsOwn, self).masks()[1].visible(signals, observations, own)

        return [Mask("scattered", "some samples are heard", scattered)]


@caught_by("weight-zero")
class MetricOfPadding(Clips):
    def metrics(self):
        def worst(predicted: torch.Tensor, observed: Observations) -> torch.Tensor:
            error = (predicted - observed.values.nan_to_num(9.0)).abs()[..., 0]
            return error.mean(dim=1)

        return [Metric("worst", "V", False, worst)]


@caught_by("weight-zero")
class FitsByValue(Clips):
    def fitted(self, observations):
        return ~(observations.values[..., 0] == 0)


@caught_by("chunks")
class CountsQueries(Clips):
    def forward(self, field, queries, generator=None):
        features = field(queries)
        return features + 0.01 * torch.arange(features.shape[1])[:, None]


@caught_by("batch")
class LoudestOfTheBatch(Clips):
    def observations(self, signals, generator=None):
        loudest = max(float(np.abs(clip).max()) for clip in signals)
        made = super().observations(signals, generator)
        return attrs.evolve(made, values=made.values / loudest)


@caught_by("loss")
class LeastElsewhere(Clips):
    def loss(self, predicted, values):
        return (predicted - values + 0.2).square().mean(dim=-1)


@caught_by("first-derivatives")
class HalfDetached(Clips):
    def forward(self, field, queries, generator=None):
        features = field(queries)
        return 0.5 * features + 0.5 * features.detach()


class _Bent(torch.autograd.Function):
    """x + x² / 4, with a first derivative that is right and a second one that is missing."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x + x * x / 4

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return gradients[0] * (1 + x.detach() / 2)


@caught_by("second-derivatives")
class FirstOrderOnly(Clips):
    def forward(self, field, queries, generator=None):
        return _Bent.apply(field(queries))


@caught_by("training")
class TrainsOnAConstant(Clips):
    def observations(self, signals, generator=None):
        made = super().observations(signals, generator)
        return (
            made if generator is None else attrs.evolve(made, values=torch.ones_like(made.values))
        )


@caught_by("metrics")
class WrongWay(Clips):
    def metrics(self):
        return [attrs.evolve(metric, higher_is_better=True) for metric in super().metrics()]


@caught_by("raw")
class RawAsLongAsTheLongest(Clips):
    def raw(self, signals):
        rows = torch.zeros(len(signals), 1, max(map(len, signals)))
        for row, clip in zip(rows, signals, strict=True):
            row[0, : len(clip)] = torch.from_numpy(clip)
        return rows


@caught_by("raw")
class RawBesideTheLoudest(Clips):
    def raw(self, signals):
        rows = super().raw(signals)
        return rows / rows.abs().max()


@caught_by("raw")
class RawWithGaps(Clips):
    def raw(self, signals):
        rows = super().raw(signals)
        rows[:, :, -1] = torch.nan
        return rows


@caught_by("codec")
class CodecOfTheBatch(Clips):
    def codec(self):
        known = super().codec()

        def code(signals, observations, setting):
            bits, predicted = known.code(signals, observations, setting)
            return bits.sum().expand(len(bits)), predicted

        return attrs.evolve(known, code=code)


@caught_by("codec")
class CodecFromFineToCoarse(Clips):
    def codec(self):
        known = super().codec()
        return attrs.evolve(known, settings=known.settings[::-1])


@caught_by("codec")
class CodecOfNothing(Clips):
    def codec(self):
        known = super().codec()

        def code(signals, observations, setting):
            return torch.zeros(len(signals)), observations.known_values

        return attrs.evolve(known, code=code)


@caught_by("features")
class FeaturesOfTheBatch(Clips):
    def features(self, decoded):
        rows = super().features(decoded)
        return rows - rows.mean(dim=0)


@caught_by("features")
class FeaturesOfSilence(Clips):
    def features(self, decoded):
        return (0 * super().features(decoded)).log()


@caught_by("save-load")
class Remembers(Clips):
    def observations(self, signals, generator=None):
        self.loudest = float(np.abs(signals[0]).max())
        return super().observations(signals, generator)

    def decode(self, field, resolution=None):
        return super().decode(field, resolution) * getattr(self, "loudest", 1.0)


@caught_by("render")
class OtherMediaType(Clips):
    def render(self, field, out, names, resolution=None):
        made = super().render(field, out, names, resolution)
        return [attrs.evolve(artefact, media_type="audio/wav") for artefact in made]


@caught_by("render")
class SaysMoreThanItWrites(Clips):
    def render(self, field, out, names, resolution=None):
        more = [Artefact(out / f"{name}.txt", "text/plain", "not there") for name in names]
        return [*super().render(field, out, names, resolution), *more]


@caught_by("render")
class WritesMoreThanItSays(Clips):
    def render(self, field, out, names, resolution=None):
        (out / "notes.txt").write_text("by the way")
        return super().render(field, out, names, resolution)


BODY = """
from functa_core import hookimpl

@hookimpl
def functa_modalities():
    from functa_clips import Clips

    class Mutant(Clips):
        name = "mutant"
    return [Mutant]
"""
TASK = """
@hookimpl
def functa_tasks():
    import attrs
    from functa_core import Task, option

    @attrs.frozen
    class Options:
        many: int = option(1, "{help}")

    class Mutated(Task):
        name, summary, api_version, Config = "{name}", "Mutate.", 1, Options

        def run(self, material, out): ...
    return [Mutated]
"""
MODULES: list[tuple[str, str]] = [
    ("entry-point", BODY + "\n@hookimpl\ndef functa_evnet(event): ...\n"),
    ("entry-point", BODY.replace('"mutant"', '"other"')),
    ("light-import", "import yaml\n" + BODY),
    ("tasks", BODY + TASK.format(name="report", help="a number")),
    ("tasks", BODY + TASK.format(name="mutated", help="")),
]
"""Plugins with a defect in the module of their entry point, and the check that finds it."""
