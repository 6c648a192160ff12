"""`functa functaset`: latents on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from functa_core.cli import options
from functa_core.errors import UserError

if TYPE_CHECKING:
    from functa_core.functaset import StoredFunctaset

files_argument = click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)


@click.group()
def functaset() -> None:
    """Look at functasets, put them together, export them.

    FILE is FILE.safetensors or a folder of shards.
    """


@functaset.command()
@files_argument
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object for each file.")
def info(files: tuple[Path, ...], as_json: bool) -> None:
    """Say what is in functasets."""
    from functa_core.functaset import StoredFunctaset

    for path in files:
        about = _about(StoredFunctaset.open(path))
        if as_json:
            click.echo(json.dumps({"file": str(path), **about}, allow_nan=False))
            continue
        click.echo(path)
        for name, value in about.items():
            click.echo(f"  {name}: {_short(value)}")


@functaset.command()
@files_argument
@options.out_option("The functaset to write, FILE.safetensors.", required=True)
@options.shard_option
def concat(files: tuple[Path, ...], out: Path, shard_size: int | None) -> None:
    """Put functasets of the same weights one after the other; needs memory for ids only.

    Ids are kept as they are, and labels where all files have them.
    """
    from functa_core.console import warn
    from functa_core.functaset import StoredFunctaset
    from functa_core.functaset.joining import unlabelled, write_joined

    options.check_functaset_out(out, shard_size)
    if out.resolve() in [path.resolve() for path in files]:
        raise UserError(f"--out {out} is one of the files to put together. Choose another name.")
    parts = [StoredFunctaset.open(path) for path in files]
    write_joined(parts, out, shard_size)
    if without := unlabelled(parts):
        warn(f"{out} has no labels, because {', '.join(map(str, without))} has none.")
    click.echo(f"{sum(map(len, parts))} latents: {out}")


@functaset.command()
@click.argument("file", type=click.Path(path_type=Path))
@options.out_option("The table to write, FILE.parquet.", required=True)
def export(file: Path, out: Path) -> None:
    """Write a functaset as Parquet: columns id, latent, psnr_db, label."""
    from functa_core.functaset import StoredFunctaset
    from functa_core.functaset.parquet import is_table, write_parquet
    from functa_core.runs.directory import check_file

    if out.suffix == ".npz":
        raise UserError(f"npz has a command of its own: functa export-npz {file} --out {out}")
    check_file(out, ".parquet", is_table)
    write_parquet(StoredFunctaset.open(file), out)
    click.echo(out)


def _about(stored: StoredFunctaset) -> dict[str, object]:
    from functa_core.functaset import SCHEMA_VERSION

    labels, about = stored.labels, stored.about
    return {
        "signals": len(stored),
        "modality": about.modality,
        "split": about.split,
        "latent_shape": list(stored.latent_shape),
        "latent_statistics": _statistics(stored),
        "psnr_db": _finite(float(stored.psnr_db.double().nanmean())),
        "labels": None if labels is None else len(set(labels.tolist())),
        "label_names": list(about.state.get("label_names", [])),
        "inner_steps": about.inner_steps,
        "schema_version": SCHEMA_VERSION,
        "shards": len(stored.shards),
        "weights_sha256": about.weights_sha256,
        "versions": dict(about.versions),
    }


def _statistics(stored: StoredFunctaset) -> dict[str, object]:
    """Lowest and highest of the latent's numbers' means and deviations, and the largest size."""
    sizes = [float(part.latents.abs().max()) for part in stored.batches() if len(part)]
    figures = {
        "mean": [float(stored.mean.min()), float(stored.mean.max())],
        "std": [float(stored.std.min()), float(stored.std.max())],
    }
    return {
        **{name: [_finite(value) for value in both] for name, both in figures.items()},
        "constant": int((stored.std == 0).sum()),
        "max_abs": _finite(max(sizes)) if sizes else None,
    }


def _finite(value: float) -> float | None:
    """JSON has neither NaN nor infinities."""
    return value if math.isfinite(value) else None


def _short(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        if len(value) == 2 and all(isinstance(number, float) for number in value):
            return f"{_short(value[0])} to {_short(value[1])}"
        return ", ".join(map(str, value)) or "none"
    return value
