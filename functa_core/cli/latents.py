"""`functa encode`, `functa decode` and `functa functaset`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from functa_core.cli import options
from functa_core.errors import UserError

if TYPE_CHECKING:
    from functa_core.dataset import Split
    from functa_core.functaset import Functaset


@click.command()
@options.run_option
@click.option("--data", metavar="PATH", help="Other data than the run's own.")
@click.option(
    "--split", default="all", show_default=True, metavar="train|test|all", help="Which signals."
)
@options.out_option("The functaset to write, FILE.safetensors.", required=True)
@options.device_option
@options.skip_bad_option
def encode(run: Path, data: str | None, split: str, out: Path, device: str, skip_bad: bool) -> None:
    """Fit a latent to every signal and write them as a functaset."""
    from functa_core.console import warn
    from functa_core.runs.api import load_run
    from functa_core.runs.directory import check_file

    if split not in ("train", "test", "all"):
        raise UserError(f"--split must be train, test or all, got '{split}'.")
    check_file(out, ".safetensors")
    opened = load_run(run, device)
    signals = opened.dataset(cast("Split", split), data, skip_bad=skip_bad)
    if len(signals) == 0:
        raise UserError(f"there are no {split} signals in {data or opened.config.data.path}.")
    for note in signals.notes:
        warn(note)
    made = opened.encode_dataset(signals, split)
    made.save(out)
    click.echo(f"{len(made)} latents, PSNR {float(made.psnr_db.nanmean()):.2f} dB: {out}")


@click.command()
@options.run_option
@click.option(
    "--latents", required=True, metavar="FILE", type=click.Path(path_type=Path), help="A functaset."
)
@options.out_option("Folder for the signals.", required=True)
@click.option("--resolution", type=click.IntRange(1), metavar="N", help="Native if left out.")
@options.set_option
@options.device_option
def decode(
    run: Path,
    latents: Path,
    out: Path,
    resolution: int | None,
    assignments: tuple[str, ...],
    device: str,
) -> None:
    """Turn a functaset of this run back into signals, at any resolution."""
    import torch

    from functa_core.console import ticking
    from functa_core.functaset import Functaset
    from functa_core.runs.api import load_run
    from functa_core.runs.directory import RunDirectory, check_folder

    opened = load_run(run, device, _modality_options(assignments))
    functaset = Functaset.load(latents)
    functaset.check_weights(opened.weights_sha256, latents)
    check_folder(out)
    if RunDirectory(out).holds_run:
        raise UserError(f"--out {out} is a run; choose a folder for the signals.")
    out.mkdir(parents=True, exist_ok=True)
    names = [f"{i:06d}" for i in range(len(functaset))]
    size = opened.encoder.batch
    with ticking("decode", len(names)) as tick, torch.no_grad():
        for start in range(0, len(names), size):
            field = opened.field(functaset.latents[start : start + size])
            opened.modality.render(field, out, names[start : start + size], resolution)
            tick(min(start + size, len(names)))
    click.echo(out)


def _modality_options(assignments: tuple[str, ...]) -> dict[str, Any]:
    """The options of the modality among assignments; a decoder has no others."""
    from functa_core.runs.config import parse_assignments

    tree = parse_assignments(assignments)
    if foreign := sorted(set(tree) - {"modality"}):
        raise UserError(
            f"--set {foreign[0]}: a trained run is decoded as it is; only options of its modality "
            "can be set, such as --set modality.KEY=VALUE."
        )
    return dict(tree.get("modality", {}))


@click.group()
def functaset() -> None:
    """Look at functasets: latents on disk."""


@functaset.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object for each file.")
def info(files: tuple[Path, ...], as_json: bool) -> None:
    """Say what is in functaset files."""
    from functa_core.functaset import Functaset

    for path in files:
        about = _about(Functaset.load(path))
        if as_json:
            click.echo(json.dumps({"file": str(path), **about}))
            continue
        click.echo(path)
        for name, value in about.items():
            click.echo(f"  {name}: {_short(value)}")


def _about(functaset: Functaset) -> dict[str, object]:
    from functa_core.functaset import SCHEMA_VERSION, latent_statistics

    labels = functaset.labels
    return {
        "signals": len(functaset),
        "modality": functaset.modality,
        "split": functaset.split,
        "latent_shape": list(functaset.latents.shape[1:]),
        "latent_statistics": latent_statistics(functaset.latents),
        "psnr_db": float(functaset.psnr_db.nanmean()),
        "labels": None if labels is None else len(set(labels.tolist())),
        "label_names": list(functaset.state.get("label_names", [])),
        "inner_steps": functaset.inner_steps,
        "schema_version": SCHEMA_VERSION,
        "weights_sha256": functaset.weights_sha256,
        "versions": dict(functaset.versions),
    }


def _short(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return value
