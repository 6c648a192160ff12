"""The steps of `functa run`. Training and encoding are skipped where their results are there."""

from __future__ import annotations

from typing import Any

import torch

from functa_core import __version__
from functa_core.dataset import Dataset
from functa_core.discovery.hookspecs import Event
from functa_core.files import sha256
from functa_core.functaset import Functaset
from functa_core.runs.checkpoint import load_progress
from functa_core.runs.console import warn
from functa_core.runs.encoding import Encoder, encode
from functa_core.runs.evaluation import evaluate
from functa_core.runs.opening import Session, describe_spec, make_encoder
from functa_core.runs.report import write_report
from functa_core.runs.training import Trainer


def run_all(session: Session) -> None:
    """Train, encode, evaluate and report."""
    run_training(session)
    run_evaluation(session)
    write_report(session, session_encoder(session))


def run_training(session: Session) -> None:
    """Train to the end, unless that was done."""
    directory = session.directory
    if directory.weights.is_file():
        return
    session.plugin.announce(Event("run started", str(directory.root)))
    Trainer(
        directory, session.plugin, session.modality, session.train, session.config, session.device
    ).run()


def run_evaluation(session: Session) -> None:
    """Encode what is not encoded yet, and write metrics.json; its tasks stay as they are."""
    encoder = session_encoder(session)
    functasets = {
        split: _functaset(session, encoder, split, signals)
        for split, signals in (("train", session.train), ("test", session.test))
    }
    found = evaluate(encoder, session.train, session.test, functasets)
    directory = session.directory
    before = directory.read_metrics()
    directory.update_metrics(**_facts(session, encoder), **found, tasks=before.get("tasks", {}))
    figures = {f"test_{name}": value for name, value in found["reconstruction"]["test"].items()}
    steps = session.config.meta.steps
    session.plugin.announce(Event("evaluated", str(directory.root), steps, figures))


def session_encoder(session: Session) -> Encoder:
    """The session's trained learner, ready to fit latents."""
    weights = session.directory.weights
    return make_encoder(session.config, session.modality, weights, session.device)


def make_functaset(
    encoder: Encoder,
    signals: Dataset[Any],
    split: str,
    *,
    weights_sha256: str,
    plugin_version: str,
) -> Functaset:
    """Encode signals and put everything that a functaset says beside them."""
    latents, psnr = encode(encoder, signals, f"encode {split}")
    labels = None if signals.labels is None else torch.tensor(list(signals.labels))
    return Functaset(
        latents=latents,
        psnr_db=psnr,
        labels=labels,
        ids=list(signals.ids),
        modality=encoder.modality.name,
        spec=describe_spec(encoder.modality),
        state=dict(encoder.modality.state),
        split=split,
        weights_sha256=weights_sha256,
        inner_steps=encoder.inner_steps,
        versions={"functa-core": __version__, "plugin": plugin_version},
    )


def _functaset(session: Session, encoder: Encoder, split: str, signals: Dataset[Any]) -> Functaset:
    path = session.directory.functaset(split)
    digest = sha256(session.directory.weights)
    keep = False
    if path.is_file():
        there = Functaset.load(path)
        if there.weights_sha256 == digest and there.ids == list(signals.ids):
            return there
        keep = there.published and there.weights_sha256 == digest
    made = make_functaset(
        encoder,
        signals,
        split,
        weights_sha256=digest,
        plugin_version=session.plugin.version,
    )
    if keep:
        warn(f"{path} holds published latents and is left as it is.")
    else:
        made.save(path)
    return made


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
    }
