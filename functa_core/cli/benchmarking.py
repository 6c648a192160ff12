"""`functa bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from functa_core.cli import options

if TYPE_CHECKING:
    from functa_core.bench.case import Asked

ALL = "all"


@click.command()
@click.option(
    "--config",
    "names",
    multiple=True,
    default=("small",),
    show_default=True,
    metavar="NAME",
    help="A size that an installed modality declares, or all; can be given again.",
)
@options.device_option
@options.out_option("File for everything as JSON: FILE.json.")
def bench(names: tuple[str, ...], device: str, out: Path | None) -> None:
    """Measure an update, encoding and decoding beside others' ways to do the same.

    Peers are plain PyTorch loops and, where jax is installed, the paper's mathematics in JAX. Each
    is checked to give the same numbers before it is timed. small takes two to four minutes on two
    cores, all of them more than an hour.
    """
    import json

    from functa_core.bench.measure import Effort
    from functa_core.bench.report import is_result, table
    from functa_core.bench.run import run
    from functa_core.files import write_atomic
    from functa_core.runs.directory import check_file
    from functa_core.runs.opening import find_device

    asked = _asked(names)
    if out is not None:
        check_file(out, ".json", is_result)
    found = run(asked, find_device(device), Effort())
    for line in table(found):
        click.echo(line)
    if out is not None:
        write_atomic(out, json.dumps(found, indent=1) + "\n")
        click.echo(str(out))


def _asked(names: tuple[str, ...]) -> list[Asked]:
    """What the names stand for, in their order.

    Raises:
        UserError: no installed modality declares one of them.
    """
    from functa_core.bench.case import Asked
    from functa_core.discovery.loading import load_working
    from functa_core.errors import UserError, nearest

    known = {
        name: Asked(plugin.modality, name)
        for plugin in load_working()[0]
        for name in plugin.modality.benchmarks
    }
    chosen = list(
        dict.fromkeys(each for name in names for each in (known if name == ALL else [name]))
    )
    for name in chosen:
        if name not in known:
            raise UserError(
                f"no installed modality declares a benchmark '{name}'; there are: "
                f"{', '.join([*known, ALL])}." + nearest(name, [*known, ALL])
            )
    return [known[name] for name in chosen]
