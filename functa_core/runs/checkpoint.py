"""Checkpoints: the last good states of training, each a whole file or none."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import torch
from safetensors import SafetensorError, safe_open

from functa_core.errors import UserError
from functa_core.files import save_tensors
from functa_core.meta.learner import Learner

KEPT = 2


@attrs.frozen
class Progress:
    """Where training stands.

    Attributes:
        step: outer updates done.
        lr_scale: what the rate is multiplied by after non-finite losses.
        failures: how many of those there were since the last good checkpoint.
        seconds: spent training, over all sessions.
    """

    step: int = 0
    lr_scale: float = 1.0
    failures: int = 0
    seconds: float = 0.0


def save_checkpoint(
    folder: Path, learner: Learner, optimiser: torch.optim.Adam, progress: Progress
) -> None:
    """Write one checkpoint atomically, then remove all but the last few."""
    tensors = {f"learner.{name}": value for name, value in learner.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": value for name, value in state.items()}
    path = folder / f"step-{progress.step:010d}.safetensors"
    save_tensors(path, tensors, {"progress": json.dumps(attrs.asdict(progress))})
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def load_checkpoint(folder: Path, learner: Learner, optimiser: torch.optim.Adam) -> Progress | None:
    """Put the newest readable checkpoint into learner and optimiser; None where there is none.

    Raises:
        UserError: there are checkpoints, but none fits or none can be read.
    """
    problem = ""
    for path in _newest_first(folder):
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                progress = Progress(**json.loads(file.metadata()["progress"]))
            _restore(learner, optimiser, tensors)
        except (SafetensorError, OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
            problem = f"{path.name}: {str(error).splitlines()[0]}"
            continue
        return progress
    if problem:
        raise UserError(f"no checkpoint in {folder} can be used ({problem}). Start a new run.")
    return None


def load_progress(folder: Path) -> Progress | None:
    """How far the newest readable checkpoint is, without its tensors; None where there is none."""
    for path in _newest_first(folder):
        try:
            with safe_open(path, "pt") as file:
                return Progress(**json.loads(file.metadata()["progress"]))
        except (SafetensorError, OSError, KeyError, ValueError, TypeError):
            continue
    return None


def _restore(
    learner: Learner, optimiser: torch.optim.Adam, tensors: dict[str, torch.Tensor]
) -> None:
    prefix = "learner."
    learner.load_state_dict(
        {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    )
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("adam."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"), reverse=True)
