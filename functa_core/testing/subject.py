"""What is examined: a modality, made small, and what the checks need of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.dataset import Dataset
from functa_core.discovery.installed import find
from functa_core.discovery.loading import Announced, load_entry
from functa_core.discovery.wholeness import check_class
from functa_core.errors import UserError
from functa_core.meta.learner import Learner, MetaConfig, build_learner
from functa_core.meta.problem import Problem
from functa_core.modality import Modality, State, seeded
from functa_core.networks.siren import SirenConfig
from functa_core.observations import Observations
from functa_core.runs.answers import check_observations, check_spec, check_state
from functa_core.runs.config import RunConfig, build_config
from functa_core.runs.opening import read_signals
from functa_core.tasks.base import Task
from functa_core.testing.check import Inapplicable, NotReady, located

SIGNALS = 3
"""Signals B that most checks look at."""
MOST = 96
"""Observations of a signal that numbers are compared at."""
NETWORK = SirenConfig(latent_dim=4, width=8, depth=3, w0=8.0)
# At the default limit of 0.01 a modality that trains on a constant passed the check of training.
META = MetaConfig(inner_steps=2, lr=1e-2, clip=1.0)


@attrs.frozen(eq=False, slots=False)
class Subject:
    """A modality to be examined.

    Everything but the four attributes is made when it is first asked for, and kept. Where that
    fails, `NotReady` says which check's finding it is.

    Attributes:
        modality: its name, which is looked up as `--modality` is, or a class.
        options: of the modality, such as make it small.
        data: a file or folder, or None for the embedded set.
        own_tasks: tasks of the plugin that a class is of; one that is looked up announces its own.
    """

    modality: str | type[Modality[Any]]
    options: Mapping[str, Any] = attrs.Factory(dict)
    data: Path | None = None
    own_tasks: Sequence[type[Task]] = ()

    @classmethod
    def of(cls, name: str, *, data: Path | None = None, **options: Any) -> Subject:
        """The installed modality of that name, with some of its own options set."""
        return cls(name, options, data)

    @property
    def entry(self) -> EntryPoint:
        """The entry point of a modality that is given by name."""
        if not isinstance(self.modality, str):
            raise Inapplicable("the modality was given as a class, which has no entry point")
        try:
            return find(self.modality)
        except UserError as error:
            raise NotReady("entry-point", str(error)) from error

    @cached_property
    def cls(self) -> type[Modality[Any]]:
        """The modality's class."""
        if not isinstance(self.modality, str):
            with _finding_of("config"):
                return check_class(self.modality)
        announced = self.announced
        if not announced.modalities:
            raise Inapplicable(f"the plugin announces {announced.names}, and no modality")
        with _finding_of("entry-point"):
            return announced.plugin(self.modality).modality

    @cached_property
    def announced(self) -> Announced:
        """What the plugin of a modality that is given by name announces."""
        entry = self.entry
        with _finding_of("entry-point"):
            return load_entry(entry)

    @property
    def tasks(self) -> Sequence[type[Task]]:
        """The tasks of the plugin, or those that were given beside a class."""
        return self.announced.tasks if isinstance(self.modality, str) else self.own_tasks

    @cached_property
    def config(self) -> RunConfig:
        """The whole configuration: the recipe, and the options on top."""
        cls, tasks = self.cls, self.tasks
        layer = {
            "data": {"path": None if self.data is None else str(self.data)},
            "modality": dict(self.options),
        }
        with _finding_of("config"):
            return build_config(cls, [("the conformance kit", layer)], tasks)

    def make(self, state: State | None = None) -> Modality[Any]:
        """A new object of the modality."""
        return self.cls(self.config.modality, self.config.source(), state)

    @cached_property
    def splits(self) -> tuple[Dataset[Any], Dataset[Any]]:
        """Training and test signals."""
        config = self.config
        with _finding_of("data"):
            return read_signals(self.cls(config.modality, config.source()))

    @cached_property
    def state(self) -> State:
        """What the modality prepares from its training signals."""
        train = self.splits[0]
        with _finding_of("state"):
            modality = self.make()
            state = modality.prepare(train)
            check_state(modality, state)
            return state

    @cached_property
    def prepared(self) -> Modality[Any]:
        """The modality, ready for observations."""
        modality = self.make(self.state)
        with _finding_of("spec"):
            check_spec(modality)
        return modality

    @cached_property
    def signals(self) -> list[Any]:
        """The first few training signals."""
        train = self.splits[0]
        with _finding_of("data"):
            return list(train[:SIGNALS])

    @cached_property
    def whole(self) -> Observations:
        """All observations of `signals`."""
        modality, signals = self.prepared, self.signals
        with _finding_of("spec"):
            made = modality.observations(signals)
            check_observations(modality, made, len(signals))
            return made

    @cached_property
    def few(self) -> Observations:
        """At most `MOST` observations of each of `signals`, spread over all, in float64."""
        return as_float64(thinned(self.whole, MOST))

    def learner(self, dtype: torch.dtype = torch.float64) -> Learner:
        """A tiny untrained learner, the same at every call."""
        modality = self.prepared
        with _finding_of("spec"):
            return build_learner(modality.spec, NETWORK, META, seed=0).to(dtype)

    def problem(self, learner: Learner, observations: Observations) -> Problem:
        """The fit of observations by a learner, without noise."""
        return Problem(learner.network, self.prepared, observations)

    def latents(self, count: int, dtype: torch.dtype = torch.float64) -> Float[Tensor, "B Z"]:
        """Random latents, as far from 0 as fitted ones are."""
        shape = (count, NETWORK.latent_dim)
        return 0.3 * torch.randn(shape, generator=seeded(1), dtype=dtype)


@contextmanager
def _finding_of(check: str) -> Iterator[None]:
    """Whatever goes wrong inside is the finding of that check."""
    try:
        yield
    except (NotReady, Inapplicable):
        raise
    except UserError as error:
        raise NotReady(check, str(error)) from error
    except (Exception, SystemExit) as error:
        raise NotReady(check, located(error)) from error


def thinned(observations: Observations, most: int) -> Observations:
    """At most `most` observations of each signal, evenly spread over their order."""
    count = observations.count
    chosen = torch.linspace(0, count - 1, min(most, count)).round().long()
    groups = observations.groups
    return Observations(
        queries=observations.queries[..., chosen, :],
        values=observations.values[:, chosen],
        weights=observations.weights[:, chosen],
        groups=None if groups is None else groups[:, chosen],
    )


def as_float64(observations: Observations) -> Observations:
    """The same observations in double precision."""
    return attrs.evolve(
        observations,
        queries=observations.queries.double(),
        values=observations.values.double(),
        weights=observations.weights.double(),
    )


def row(observations: Observations, index: int) -> Observations:
    """One signal of a batch, as a batch of one."""
    place = slice(index, index + 1)
    return Observations(
        queries=observations.queries if observations.shared else observations.queries[place],
        values=observations.values[place],
        weights=observations.weights[place],
        groups=None if observations.groups is None else observations.groups[place],
    )
