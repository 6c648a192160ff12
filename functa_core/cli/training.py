"""`functa run` and `functa train`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from functa_core.cli import options
from functa_core.errors import UserError

if TYPE_CHECKING:
    from functa_core.runs.directory import RunDirectory
    from functa_core.runs.opening import Session

F = TypeVar("F", bound=Callable[..., Any])


def _training_options(command: F) -> F:
    for decorate in reversed(
        [
            options.modality_option,
            options.plugin_option,
            options.data_option,
            options.out_option("Run directory; runs/<modality>-<time> if left out."),
            options.config_option,
            options.set_option,
            click.option("--seed", type=int, metavar="N", help="Of every random choice."),
            options.device_option,
            click.option("--resume", is_flag=True, help="Go on with the run in --out."),
            options.skip_bad_option,
        ]
    ):
        command = decorate(command)
    return command


@click.command()
@_training_options
def run(**given: Any) -> None:
    """Train, encode, evaluate and report: everything, from data to pictures.

    Prints the run directory last. Whatever stops it, --resume goes on from there.
    """
    from functa_core.runs.pipeline import is_finished, run_all

    session = _open(is_finished, **given)
    if session is not None:
        run_all(session)
        _summary(session)
    _say_where(session, given["out"])


@click.command()
@_training_options
@click.option("--estimate", is_flag=True, help="Print what it would take, and stop.")
def train(estimate: bool, **given: Any) -> None:
    """Meta-learn the shared weights and the inner rates; prints the run directory last.

    With several devices: torchrun --standalone --nproc-per-node N -m functa_core train …, a process
    for each. They share every batch of meta.batch_size signals, and the losses are those of one.

    --estimate measures a few small updates, prints the memory and the time that training would
    take in each process, and writes nothing; meta.max_memory holds updates to a limit.
    """
    if estimate:
        _estimate(**given)
        return
    session = _open(lambda directory: directory.weights.is_file(), **given)
    if session is not None:
        from functa_core.runs.pipeline import run_training

        run_training(session)
    _say_where(session, given["out"])


def _estimate(
    modality: str | None, out: Path | None, device: str, resume: bool, **given: Any
) -> None:
    """Print what training would take."""
    from functa_core.console import say
    from functa_core.distributed import is_first
    from functa_core.runs.estimate import estimate
    from functa_core.runs.starting import open_session

    if resume:
        raise UserError("--estimate is about a run that has not begun: leave --resume out.")
    if is_first():
        layers = options.option_layers(**given)
        session = open_session(modality, layers, out=out, resume=False, device=device)
        for line in estimate(session).lines():
            say(line)


def _say_where(session: Session | None, out: Path | None) -> None:
    from functa_core.console import say

    say(str(session.directory.root if session else out))


def _open(done: Callable[[RunDirectory], bool], device: str, **given: Any) -> Session | None:
    """The run that is asked for, in every process, or None if it is done already."""
    from functa_core.runs.opening import open_together

    return open_together(lambda: _open_first(done, device=device, **given), device)


def _open_first(
    done: Callable[[RunDirectory], bool],
    modality: str | None,
    out: Path | None,
    device: str,
    resume: bool,
    **given: Any,
) -> Session | None:
    """The run that is asked for, or None if it is done already."""
    layers = options.option_layers(**given)
    from functa_core.console import warn
    from functa_core.runs.directory import RunDirectory
    from functa_core.runs.starting import check_same_run, open_session

    if resume and out is not None and done(RunDirectory(out)):
        check_same_run(RunDirectory(out), modality, layers)
        return None
    session = open_session(modality, layers, out=out, resume=resume, device=device)
    for note in dict.fromkeys([*session.train.notes, *session.test.notes]):
        warn(note)
    return session


def _summary(session: Session) -> None:
    """The figures that matter, and what was not done."""
    from functa_core.console import say
    from functa_core.distributed import is_first

    if not is_first():
        return
    metrics = session.directory.read_metrics()
    ours = _decibels(metrics["reconstruction"]["test"]["psnr_db"])
    beside = ", ".join(
        f"{name} {_decibels(figures['psnr_db'])}" for name, figures in metrics["baselines"].items()
    )
    say(f"test PSNR {ours}; baselines: {beside or 'none'}")
    for name, figures in metrics["tasks"].items():
        if "skipped" in figures:
            say(f"{name} was skipped: {figures['skipped']}")
    say(f"report: {session.directory.report}")


def _decibels(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2f} dB"
