"""A command for each task."""

from __future__ import annotations

import json
from pathlib import Path

import click

from functa_core.cli import options
from functa_core.errors import UserError


def task_command(name: str, summary: str) -> click.Command:
    """The command of one task; all of them take the same options."""

    @click.command(name, help=summary)
    @options.run_option
    @options.out_option(f"Folder for what is drawn; DIR/tasks/{name} if left out.")
    @click.option("--seed", type=int, metavar="N", help="Of every random choice; the run's own.")
    @options.set_option
    @options.device_option
    def command(
        run: Path, out: Path | None, seed: int | None, assignments: tuple[str, ...], device: str
    ) -> None:
        from functa_core.runs.directory import check_folder
        from functa_core.runs.pipeline import run_task_of

        if out is not None:
            check_folder(out)
        layers = options.option_layers(file=None, assignments=assignments, data=None, seed=seed)
        for origin, tree in layers:
            if foreign := sorted(set(tree) - {"tasks", "seed"}):
                raise UserError(
                    f"{origin} {foreign[0]}: a task takes options of its own only, "
                    f"such as --set tasks.{name}.KEY=VALUE."
                )
        figures = run_task_of(run, name, layers, out, device)
        click.echo(json.dumps(figures, indent=2))

    return command
