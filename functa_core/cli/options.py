"""Options that several commands have."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

modality_option = click.option("--modality", metavar="NAME", help="Which plugin reads the data.")
plugin_option = click.option(
    "--plugin", metavar="FILE.py", help="A plugin that is one Python file, not installed."
)
data_option = click.option(
    "--data", metavar="PATH", help="Your file or folder; without it, an embedded set."
)
device_option = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N", help="Where."
)
run_option = click.option(
    "--run", "run", required=True, metavar="DIR", type=click.Path(path_type=Path), help="A run."
)
skip_bad_option = click.option(
    "--skip-bad", is_flag=True, help="Leave unreadable signals out, counting them."
)
config_option = click.option("--config", "file", metavar="FILE", help="Options as YAML.")
set_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="One option, such as meta.steps=500; can be given again.",
)

shard_option = click.option(
    "--shard-size",
    type=click.IntRange(1),
    metavar="N",
    help="Make --out a folder of files of N signals each.",
)


def out_option(help: str, required: bool = False) -> Callable[[F], F]:  # noqa: A002
    """`--out` with its meaning for one command."""
    return click.option(
        "--out", required=required, metavar="PATH", type=click.Path(path_type=Path), help=help
    )


def timeout_option(seconds: float) -> Callable[[F], F]:
    """`--timeout` with its default for one command."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=seconds,
        show_default=True,
        metavar="SECONDS",
        help="After which a plugin counts as hanging.",
    )


def check_functaset_out(out: Path, shard_size: int | None) -> None:
    """Raise a `UserError` unless a functaset can be written: a file, or a folder of shards."""
    from functa_core.functaset.onefile import is_functaset
    from functa_core.functaset.shards import check_shard_folder
    from functa_core.runs.directory import check_file, check_folder

    if shard_size is None:
        check_file(out, ".safetensors", is_functaset)
        return
    check_folder(out)
    check_shard_folder(out)


def option_layers(
    *,
    file: str | None,
    assignments: tuple[str, ...],
    data: str | None,
    seed: int | None = None,
    skip_bad: bool = False,
    plugin: str | None = None,
) -> list[tuple[str, Mapping[str, Any]]]:
    """What was asked for on the command line, weakest first.

    Raises:
        UserError: an unreadable file or a malformed assignment.
    """
    from functa_core.runs.config import parse_assignments, read_yaml

    layers: list[tuple[str, Mapping[str, Any]]] = []
    if file is not None:
        layers.append((file, read_yaml(Path(file))))
    layers.append(("--set", parse_assignments(assignments)))
    if data is not None:
        layers.append(("--data", {"data": {"path": data}}))
    if plugin is not None:
        layers.append(("--plugin", {"modality": {"plugin": os.path.abspath(plugin)}}))
    if seed is not None:
        layers.append(("--seed", {"seed": seed}))
    if skip_bad:
        layers.append(("--skip-bad", {"data": {"skip_bad": True}}))
    return layers
