"""`functa evaluate` and `functa report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from functa_core.cli import options

if TYPE_CHECKING:
    from functa_core.runs.opening import Session


@click.command()
@options.run_option
@options.device_option
def evaluate(run: Path, device: str) -> None:
    """Write the figures of a trained run to its metrics.json, and print them."""
    from functa_core.runs.pipeline import run_evaluation

    session = _session(run, device)
    run_evaluation(session)
    click.echo(json.dumps(session.directory.read_metrics(), indent=2))


@click.command()
@options.run_option
@options.device_option
def report(run: Path, device: str) -> None:
    """Draw the pictures of a trained run and write its report.html."""
    from functa_core.runs.pipeline import session_encoder
    from functa_core.runs.report import write_report

    session = _session(run, device)
    write_report(session, session_encoder(session))
    click.echo(session.directory.report)


def _session(run: Path, device: str) -> Session:
    from functa_core.console import warn
    from functa_core.runs.directory import RunDirectory
    from functa_core.runs.opening import require_trained, resume

    directory = RunDirectory(run)
    require_trained(directory)
    session = resume(directory, device)
    if directory.published.is_file() and session.config.data.path is None:
        warn(
            "this run was imported without data, so figures are of the modality's embedded set, "
            "which its weights were not trained on. Import it with --data PATH for others."
        )
    return session
