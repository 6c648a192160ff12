"""`functa encode` and `functa decode`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from functa_core.cli import options
from functa_core.errors import UserError

if TYPE_CHECKING:
    from functa_core.dataset import Split


@click.command()
@options.run_option
@click.option("--data", metavar="PATH", help="Other data than the run's own.")
@click.option(
    "--split", default="all", show_default=True, metavar="train|test|all", help="Which signals."
)
@options.out_option("The functaset to write, FILE.safetensors.", required=True)
@options.shard_option
@options.device_option
@options.skip_bad_option
def encode(
    run: Path,
    data: str | None,
    split: str,
    out: Path,
    shard_size: int | None,
    device: str,
    skip_bad: bool,
) -> None:
    """Fit a latent to every signal and write them as a functaset.

    Stopped before its end, the same command goes on where it was.
    """
    from functa_core.console import say, warn
    from functa_core.distributed import first_ahead
    from functa_core.runs.api import load_run

    if split not in ("train", "test", "all"):
        raise UserError(f"--split must be train, test or all, got '{split}'.")
    with first_ahead():
        options.check_functaset_out(out, shard_size)
        opened = load_run(run, device)
        signals = opened.dataset(cast("Split", split), data, skip_bad=skip_bad)
        if len(signals) == 0:
            raise UserError(f"there are no {split} signals in {data or opened.config.data.path}.")
    for note in signals.notes:
        warn(note)
    made = opened.encode_to(out, signals, split, shard_size)
    say(f"{len(made)} latents, PSNR {float(made.psnr_db.nanmean()):.2f} dB: {out}")


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
    from functa_core.functaset import StoredFunctaset
    from functa_core.runs.api import load_run
    from functa_core.runs.directory import RunDirectory, check_folder, make_folder

    opened = load_run(run, device, _modality_options(assignments))
    functaset = StoredFunctaset.open(latents)
    functaset.about.check_weights(opened.weights_sha256, latents)
    check_folder(out)
    if RunDirectory(out).holds_run:
        raise UserError(f"--out {out} is a run; choose a folder for the signals.")
    names = [f"{i:06d}" for i in range(len(functaset))]
    _check_free(out, names)
    make_folder(out)
    done = 0
    with ticking("decode", len(names)) as tick, torch.no_grad():
        for batch in functaset.batches(opened.encoder.batch):
            few = names[done : done + len(batch)]
            opened.modality.render(opened.field(batch.latents), out, few, resolution)
            done += len(batch)
            tick(done)
    click.echo(out)


def _check_free(folder: Path, names: Sequence[str]) -> None:
    """Raise a `UserError` if something in a folder is called as a signal will be."""
    known = set(names)
    for inside in sorted(folder.iterdir()) if folder.is_dir() else ():
        if inside.name.partition(".")[0] in known:
            raise UserError(
                f"--out {folder} has a {inside.name} already. Choose another folder, or remove "
                "what was decoded before."
            )


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
