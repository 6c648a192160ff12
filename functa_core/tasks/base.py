"""What a task is: a name, options, and one method from a trained run to figures and pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs

from functa_core.dataset import Dataset
from functa_core.encoding import Encoder
from functa_core.errors import UserError
from functa_core.functaset import Functaset
from functa_core.modality import Artefact, Modality


class NotApplicable(UserError):
    """The task cannot be done with the data at hand; says why."""


@attrs.frozen(eq=False)
class Material:
    """What a trained run gives a task to work with.

    Attributes:
        encoder: its learner, ready to fit latents.
        train, test: its signals.
        functaset: the latents of a split ("train" or "test"); fits them if that was not done.
        seed: of everything random.
        tasks: folder in which each task of the run has one of its own name; None if there is none.
    """

    encoder: Encoder
    train: Dataset[Any]
    test: Dataset[Any]
    functaset: Callable[[str], Functaset]
    seed: int
    tasks: Path | None = None

    @property
    def modality(self) -> Modality[Any]:
        """Prepared."""
        return self.encoder.modality


@attrs.frozen
class Outcome:
    """What a task found.

    Attributes:
        figures: its entry in metrics.json; numbers of its own beside those of a `baseline`.
        artefacts: what it drew.
    """

    figures: Mapping[str, Any]
    artefacts: Sequence[Artefact] = ()


class Task(ABC):
    """Something done with a trained run's functasets."""

    name: ClassVar[str]
    """The command, the section below `tasks` in a configuration and the key in metrics.json."""
    summary: ClassVar[str]
    """One line for `functa --help`."""
    api_version: ClassVar[int]
    """The `API_VERSION` this task was written for; the core's own tasks need not say it."""
    Config: ClassVar[type]
    """A frozen attrs class of options, made with `functa_core.options.option`."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def check_options(self, modality: Modality[Any], signal: Any) -> None:
        """Find out whether the options suit the data, before anything is trained.

        Args:
            modality: prepared.
            signal: a test signal.

        Raises:
            UserError: an option names something that is not there. Default: all are right.
        """
        return

    def check(self, material: Material) -> None:
        """Find out whether the task can be done, before anything is written.

        Raises:
            NotApplicable: it cannot, with this run or these options. Default: it can.
        """
        return

    @abstractmethod
    def run(self, material: Material, out: Path) -> Outcome:
        """Do it.

        Args:
            material: of a trained run.
            out: an existing folder for what the task writes.
        """
