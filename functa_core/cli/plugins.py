"""`functa plugins`. None of these commands imports a plugin, or torch, into its own process."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from functa_core.cli import options


@click.group()
def plugins() -> None:
    """See, check, make, install and uninstall plugins."""


@plugins.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@options.timeout_option(60)
def list_(as_json: bool, timeout: float) -> None:
    """List installed plugins, each loaded in a process of its own to see whether it works."""
    from functa_core.discovery.probe import list_plugins

    rows = list_plugins(timeout)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("no plugins are installed; see: functa plugins available")
        return
    keys = ("name", "distribution", "version", "modalities", "tasks", "state", "reason")
    cells = [
        [", ".join(row[key]) if isinstance(row[key], list) else row[key] for key in keys]
        for row in rows
    ]
    _table([keys, *cells])


@plugins.command()
def available() -> None:
    """Print the catalogue of known plugins, and which of them are installed."""
    from functa_core.discovery.catalogue import catalogue_path, local_source, read_catalogue
    from functa_core.discovery.installed import installed

    here = {entry.name for entry in installed()}
    rows = [
        (
            row.name,
            row.distribution,
            str(row.api_version),
            "installed" if row.name in here else "available",
            str(local_source(row) or "by name, with pip"),
            row.description,
        )
        for row in read_catalogue()
    ]
    click.echo(f"catalogue: {catalogue_path()}")
    _table([("name", "distribution", "api", "state", "from", "description"), *rows])


@plugins.command()
@click.argument("name")
@options.data_option
@options.set_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@options.timeout_option(300)
def check(
    name: str, data: str | None, assignments: tuple[str, ...], as_json: bool, timeout: float
) -> None:
    """Check that an installed modality keeps the contract; exit code 1 if it does not."""
    from functa_core.discovery.checking import check_plugin

    given = [part for text in assignments for part in ("--set", text)]
    rows = check_plugin(name, timeout, [*given, *(("--data", data) if data else ())])
    failed = sum(row["state"] == "failed" for row in rows)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            click.echo(f"{row['state']:<8} {row['name']}: {row['summary']}")
            for line in row["message"].splitlines():
                click.echo(f"         {line}")
        click.echo(f"{name}: {failed} of {len(rows)} checks failed" if failed else f"{name}: ok")
    if failed:
        click.get_current_context().exit(1)


@plugins.command()
@click.argument("name")
def new(name: str) -> None:
    """Write ./functa-NAME: a small plugin that works, to begin your own with."""
    from functa_core.discovery.making import make_plugin_folder

    folder = make_plugin_folder(name)
    click.echo(f"Install it: pip install -e '{folder}[test]'")
    click.echo(f"Then: functa run --modality {name}; functa plugins check {name}")
    click.echo(folder)


@plugins.command()
@click.argument("name")
def install(name: str) -> None:
    """Install a plugin of the catalogue with the pip of this environment."""
    from functa_core.discovery import pip

    pip.install(name)


@plugins.command()
@click.argument("name")
def uninstall(name: str) -> None:
    """Uninstall a plugin, named by its modality or its distribution."""
    from functa_core.discovery import pip

    pip.uninstall(name)


def _table(rows: Sequence[Sequence[str]]) -> None:
    """Rows of text in columns, the first row being their heads."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
