"""The steps of `functa run`. What has left its result in the run already is not done again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import attrs

from functa_core.console import warn
from functa_core.dataset import Dataset
from functa_core.discovery.hookspecs import Event
from functa_core.distributed import count, from_first, is_first, meet
from functa_core.encoding import Encoder
from functa_core.files import sha256
from functa_core.functaset import Functaset
from functa_core.runs.batches import Batches
from functa_core.runs.checkpoint import load_progress
from functa_core.runs.config import build_config
from functa_core.runs.directory import RunDirectory
from functa_core.runs.encoding import Belonging, make_functaset, write_functaset
from functa_core.runs.evaluation import evaluate
from functa_core.runs.finding import find_task
from functa_core.runs.opening import (
    Session,
    make_encoder,
    read_plugin,
    require_trained,
    resume,
)
from functa_core.runs.report import write_report
from functa_core.runs.tasks import run_declared, run_task
from functa_core.runs.training import Trainer
from functa_core.runs.unfinished import remove_parts
from functa_core.tasks.base import Material


def is_finished(directory: RunDirectory) -> bool:
    """Whether `functa run` has nothing left to do in a directory."""
    metrics = directory.read_metrics()
    if not (directory.holds_run and directory.report.is_file() and "reconstruction" in metrics):
        return False
    declared = read_plugin(directory)[0].modality.tasks
    return set(declared) <= set(metrics.get("tasks", {}))


def run_all(session: Session) -> None:
    """Train, encode, evaluate, do the modality's tasks and report.

    Several processes train and encode together; the first does the rest.

    Raises:
        UserError: another process is at work on this run.
    """
    with _owned(session):
        _train(session)
        if count() > 1:
            _encode_together(session)
        if is_first():
            _finish(session)


def _finish(session: Session) -> None:
    """What comes when all is trained."""
    run_evaluation(session)
    declared = [
        find_task(name, session.plugin.tasks)(session.config.tasks[name])
        for name in session.modality.tasks
    ]
    run_declared(declared, session_material(session), session.directory)
    write_report(session, session_encoder(session))


def run_training(session: Session) -> None:
    """Train to the end, unless that was done.

    Raises:
        UserError: another process is at work on this run.
    """
    with _owned(session):
        _train(session)


def _owned(session: Session) -> AbstractContextManager[None]:
    """A block in which the run is this command's alone."""
    return session.directory.owned() if is_first() else nullcontext()


def _train(session: Session) -> None:
    directory = session.directory
    if from_first(is_first() and directory.weights.is_file()):
        return
    if is_first():
        session.plugin.announce(Event("run started", str(directory.root)))
    batches = Batches(session.modality, session.train, session.config)
    Trainer(directory, session.plugin, batches, session.device).run()
    meet()  # the weights are there for all when the first has written them


def _encode_together(session: Session) -> None:
    """Encode in all processes what is not encoded yet; evaluation finds it done."""
    encoder = session_encoder(session)
    run = Belonging(sha256(session.directory.weights), session.plugin.version)
    for split, signals in (("train", session.train), ("test", session.test)):
        path = session.directory.functaset(split)
        # Others do not look: a network's file system would remember that there was nothing.
        if not from_first(is_first() and _stored(path, run, signals) is not None):
            write_functaset(path, encoder, signals, split, run)


def run_evaluation(session: Session) -> None:
    """Encode what is not encoded yet, and write metrics.json; its tasks stay as they are."""
    material = session_material(session)
    encoder = material.encoder
    functasets = {split: material.functaset(split) for split in ("train", "test")}
    found = evaluate(encoder, session.train, session.test, functasets)
    directory = session.directory
    directory.update_metrics(**_facts(session, encoder), **found)
    figures = {f"test_{name}": value for name, value in found["reconstruction"]["test"].items()}
    steps = session.config.meta.steps
    session.plugin.announce(Event("evaluated", str(directory.root), steps, figures))


def session_encoder(session: Session) -> Encoder:
    """The session's trained learner, ready to fit latents."""
    weights = session.directory.weights
    return make_encoder(session.config, session.modality, weights, session.device)


def session_material(session: Session) -> Material:
    """What tasks work with."""
    encoder = session_encoder(session)
    splits = {"train": session.train, "test": session.test}

    def functaset(split: str) -> Functaset:
        return _functaset(session, encoder, split, splits[split])

    tasks = session.directory.task("any").parent
    return Material(encoder, session.train, session.test, functaset, session.config.seed, tasks)


def run_task_of(
    run: Path,
    name: str,
    layers: Sequence[tuple[str, Mapping[str, Any]]],
    out: Path | None,
    device: str,
) -> Mapping[str, Any]:
    """Do a task with the run in a directory: the task's command.

    Args:
        run: the run directory.
        name: of the task.
        layers: (where from, options) over those of the run's configuration.
        out: folder for what is drawn; in the run if None.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        UserError: no trained run there, wrong options, or the task is not applicable.
    """
    directory = RunDirectory(run)
    require_trained(directory)
    session = resume(directory, device)
    asked = [("config.yaml", session.config.tree()), (name, {"tasks": {name: {}}}), *layers]
    announced = session.plugin.tasks
    config = build_config(session.plugin.modality, asked, announced)
    task = find_task(name, announced)(config.tasks[name])
    material = attrs.evolve(session_material(session), seed=config.seed)
    return run_task(task, material, directory, out)


def _functaset(session: Session, encoder: Encoder, split: str, signals: Dataset[Any]) -> Functaset:
    path = session.directory.functaset(split)
    run = Belonging(sha256(session.directory.weights), session.plugin.version)
    there = _stored(path, run, signals)
    if there is None:
        return write_functaset(path, encoder, signals, split, run)[:]
    if there.ids == list(signals.ids):
        remove_parts(path)  # of a process that was killed just before it did
        return there
    warn(f"{path} holds published latents and is left as it is.")
    return make_functaset(encoder, signals, split, run)


def _stored(path: Path, run: Belonging, signals: Dataset[Any]) -> Functaset | None:
    """The run's functaset that is there, of these signals or of published ones."""
    there = Functaset.load(path) if path.is_file() else None
    if there is None or there.weights_sha256 != run.weights_sha256:
        return None
    return there if there.published or there.ids == list(signals.ids) else None


def _facts(session: Session, encoder: Encoder) -> dict[str, Any]:
    """What metrics.json says of the run itself."""
    config, network = session.config, encoder.learner.network
    progress = load_progress(session.directory.checkpoints)
    # How long published weights were trained is not known.
    steps = None if session.directory.published.is_file() else config.meta.steps
    return {
        "modality": config.modality_name,
        "data": config.data.path or "embedded",
        "n_train": len(session.train),
        "n_test": len(session.test),
        "seed": config.seed,
        "steps": progress.step if progress else steps,
        "seconds": round(progress.seconds, 3) if progress else None,
        "params": sum(parameter.numel() for parameter in encoder.learner.parameters()),
        "latent_numbers": network.latent_numbers,
        "inner_steps": config.meta.inner_steps,
        "precision": "float32" if encoder.precision is None else "bfloat16",
    }
