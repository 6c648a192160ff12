"""`functa import-deepmind` and `functa export-npz`."""

from __future__ import annotations

from pathlib import Path

import click

from functa_core.cli import options
from functa_core.errors import UserError


@click.command("import-deepmind")
@click.argument("file", type=click.Path(path_type=Path))
@options.out_option("Run directory to write; for modulations the run itself if left out.")
@options.modality_option
@click.option("--data", metavar="PATH", help="Your file or folder, for the new run to go on with.")
@click.option(
    "--run", metavar="DIR", type=click.Path(path_type=Path), help="The run modulations belong to."
)
def import_deepmind(
    file: Path, out: Path | None, modality: str | None, data: str | None, run: Path | None
) -> None:
    """Make a run of weights published by google-deepmind/functa, or functasets of modulations.

    Nothing in the file is run, and neither jax nor dill is needed.
    """
    from functa_core.runs.importing import import_published

    for path in import_published(file, out=out, run=run, modality=modality, data=data):
        click.echo(path)


@click.command("export-npz")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.out_option("The npz to write, FILE.npz.", required=True)
@click.option(
    "--run",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The imported run they belong to: latents as the authors count them.",
)
def export_npz(files: tuple[Path, ...], out: Path, run: Path | None) -> None:
    """Write functasets as one npz: SPLIT/modulation, SPLIT/psnr, SPLIT/ids, SPLIT/labels, about."""
    from functa_core.files import sha256
    from functa_core.functaset import Functaset
    from functa_core.published.modulations import is_export, write_npz
    from functa_core.runs.directory import RunDirectory, check_file
    from functa_core.runs.importing import latent_start

    check_file(out, ".npz", is_export)
    functasets = [Functaset.load(path) for path in files]
    splits = [functaset.split for functaset in functasets]
    if len(set(splits)) < len(splits):
        raise UserError(f"the files have splits {', '.join(splits)}; one npz takes each once.")
    start = None
    if run is not None:
        start = latent_start(RunDirectory(run))
        functasets[0].check_weights(sha256(RunDirectory(run).weights), files[0])
    for path, functaset in zip(files, functasets, strict=True):
        functaset.check_weights(functasets[0].weights_sha256, path)
    write_npz(functasets, out, start)
    click.echo(out)
