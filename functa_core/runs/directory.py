"""The run directory: which files it has, and whether it may be written to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from functa_core.errors import UserError
from functa_core.files import locked, write_atomic
from functa_core.runs.config import Tree


@attrs.frozen
class RunDirectory:
    """Paths inside a run directory."""

    root: Path

    @property
    def config(self) -> Path:
        """Complete and re-runnable; its presence is what makes a directory a run."""
        return self.root / "config.yaml"

    @property
    def modality(self) -> Path:
        """The prepared state."""
        return self.root / "modality.json"

    @property
    def log(self) -> Path:
        """A line for every logged step."""
        return self.root / "metrics.jsonl"

    @property
    def metrics(self) -> Path:
        """The figures at the end."""
        return self.root / "metrics.json"

    @property
    def weights(self) -> Path:
        """The trained learner; its presence says that training has ended."""
        return self.root / "weights.safetensors"

    @property
    def published(self) -> Path:
        """Where imported weights came from, and what was assumed of them; others have none."""
        return self.root / "published.json"

    @property
    def checkpoints(self) -> Path:
        """The last good states of training."""
        return self.root / "checkpoints"

    @property
    def figures(self) -> Path:
        """Pictures for the report."""
        return self.root / "figures"

    @property
    def report(self) -> Path:
        """One self-contained page."""
        return self.root / "report.html"

    def functaset(self, split: str) -> Path:
        """Latents of the training or the test signals."""
        return self.root / "functaset" / f"{split}.safetensors"

    def task(self, name: str) -> Path:
        """What a task wrote."""
        return self.root / "tasks" / name

    @property
    def holds_run(self) -> bool:
        """Whether somebody's run is here."""
        return self.config.is_file()

    @contextmanager
    def owned(self) -> Iterator[None]:
        """A block in which no other process goes on with this run.

        Raises:
            UserError: another one does.
        """
        with locked(self.config, wait=False) as ours:
            if not ours:
                raise UserError(
                    f"another process is at work on the run in {self.root}. Wait until it has "
                    "ended, or stop it."
                )
            yield

    def read_metrics(self) -> Tree:
        """metrics.json, or nothing yet."""
        return read_json(self.metrics) if self.metrics.is_file() else {}

    def update_metrics(self, tasks: Tree | None = None, **values: Any) -> None:
        """Replace entries of metrics.json, keeping the others, those too that come meanwhile.

        Args:
            tasks: by name, figures or why there are none.
            values: other entries.
        """
        with locked(self.modality, wait=True):
            before = self.read_metrics()
            done = {**before.get("tasks", {}), **(tasks or {})}
            write_json(self.metrics, {**before, **values, "tasks": done})


def read_json(path: Path) -> Tree:
    """A JSON object.

    Raises:
        UserError: missing or malformed.
    """
    try:
        tree: Tree = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    return tree


def write_json(path: Path, tree: Tree) -> None:
    """Write indented JSON atomically; NaN and infinities, which JSON lacks, become null."""
    write_atomic(path, json.dumps(_finite(tree), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value


def check_fresh(directory: RunDirectory) -> None:
    """Raise a `UserError` unless a new run may be written here: absent, or empty."""
    root = directory.root
    _check_name(root)
    if directory.holds_run:
        raise already_a_run(root)
    check_folder(root)
    # A crash while the very first file was written leaves a draft, whose name starts with a dot.
    if root.is_dir() and any(not inside.name.startswith(".") for inside in root.iterdir()):
        raise UserError(f"--out {root} is not empty and holds no run. Choose another folder.")


def already_a_run(root: Path) -> UserError:
    """The refusal to write a run where one is."""
    return UserError(
        f"{root} holds a run already. Choose another --out, or go on with it by --resume."
    )


def check_folder(path: Path) -> None:
    """Raise a `UserError` unless `path` is a folder that can be written to, or can be made."""
    _check_name(path)
    if path.exists() and not path.is_dir():
        raise UserError(f"--out {path} is a file; a folder is needed.")
    there = next(folder for folder in [path, *path.absolute().parents] if folder.exists())
    if not there.is_dir():
        raise UserError(f"--out {path} cannot be made: {there} is a file.")
    if not os.access(there, os.W_OK):
        raise UserError(f"--out {path} cannot be made: {there} may not be written to.")


def _check_name(path: Path) -> None:
    """Raise a `UserError` if the system can have no such path, or it leads nowhere."""
    try:
        path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise UserError(f"--out {path} is a link to what is not there.") from None
    except NotADirectoryError:
        return  # which the caller has words for
    except OSError as error:
        raise UserError(f"--out {path} cannot be made: {error.strerror}.") from error


def make_folder(path: Path) -> None:
    """Make a folder that was asked for, and its parents; it may be there.

    Raises:
        UserError: the system does not let it be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out {path} cannot be made: {error.strerror}. Choose another."
        ) from error


def check_file(path: Path, suffix: str, is_ours: Callable[[Path], bool]) -> None:
    """Raise a `UserError` unless `path` can be written, ends in `suffix` and loses nobody's file.

    Args:
        path: to be written.
        suffix: that its name must have.
        is_ours: whether a file is of the kind that is written, so that it may be replaced.
    """
    _check_name(path)
    if path.is_dir():
        raise UserError(f"--out {path} is a folder; a file is needed, such as {path}/all{suffix}.")
    check_folder(path.parent)
    if path.suffix != suffix:
        raise UserError(f"--out must end in {suffix}, got '{path.name}'.")
    if path.exists() and path.stat().st_size > 0 and not is_ours(path):
        raise UserError(
            f"--out {path} is there already, and is not what this command writes. "
            "Choose another name, or remove it."
        )
