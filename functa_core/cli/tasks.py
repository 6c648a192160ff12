"""A command for each task, the core's and those of plugins."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path

import click

from functa_core.cli import options
from functa_core.errors import UserError, nearest


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
            others = [f"tasks.{other}" for other in tree.get("tasks", {}) if other != name]
            if foreign := [*sorted(set(tree) - {"tasks", "seed"}), *others]:
                raise UserError(
                    f"{origin} {foreign[0]}: a task takes options of its own only, "
                    f"such as --set tasks.{name}.KEY=VALUE.{nearest(foreign[0], [f'tasks.{name}'])}"
                )
        figures = run_task_of(run, name, layers, out, device)
        click.echo(json.dumps(figures, indent=2))

    return command


def plugin_task_command(
    name: str, arguments: Sequence[str], commands: Collection[str]
) -> click.Command:
    """The command of a task that the core does not have.

    Args:
        name: the word after `functa`: an installed plugin's, or a task of a run's own plugin.
        arguments: what follows it.
        commands: of the core, for whoever mistyped one.

    Raises:
        UserError: there is no such command; offers the nearest.
    """
    from functa_core.discovery.installed import installed, owner

    owners = {entry.name: owner(entry) for entry in installed()}
    if name in owners:
        return task_command(name, f"The task '{name}' of {owners[name]}.")
    run = _value_of("--run", arguments)
    known = [*commands]
    if run is not None:
        offered = _offered(run)
        if name in offered:
            return task_command(name, offered[name])
        known += [*offered, *owners]
    others = (
        ""
        if run is not None
        else f"\nIf it is a task of a run's own plugin: functa {name} --run DIR"
    )
    raise UserError(
        f"there is no command '{name}'; see: functa --help.{nearest(name, known)}{others}"
    )


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    """What follows an option, or stands in it behind "="."""
    for argument, following in pairwise([*arguments, None]):
        head, equals, value = (argument or "").partition("=")
        if head == option:
            return value if equals else following
    return None


def _offered(run: str) -> dict[str, str]:
    """Names and summaries of the tasks of a run's own plugin; none where no run is."""
    from functa_core.runs.directory import RunDirectory
    from functa_core.runs.opening import read_plugin

    directory = RunDirectory(Path(run))
    if not directory.holds_run:
        return {}
    return {task.name: task.summary for task in read_plugin(directory)[0].tasks}
