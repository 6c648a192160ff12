"""`functa plugins`."""

from __future__ import annotations

import json

import click


@click.group()
def plugins() -> None:
    """See what is installed."""


@plugins.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(as_json: bool) -> None:
    """List installed plugins, each loaded in a process of its own to see whether it works."""
    from functa_core.discovery.probe import list_plugins

    rows = list_plugins()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("no plugins are installed")
    for row in rows:
        reason = f"  {row['reason']}" if row["reason"] else ""
        click.echo(
            f"{row['name']:<12} {row['distribution']} {row['version']}  {row['state']}{reason}"
        )
