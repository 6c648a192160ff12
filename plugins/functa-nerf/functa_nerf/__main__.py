"""`python -m functa_nerf write-srn`: scenes of any layout, rewritten in SRN's."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import attrs
import click

from functa_core import UserError
from functa_nerf.scenes import Scene

EXIT_BUG, EXIT_USER, EXIT_INTERRUPTED = 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Tools for scenes, beside `functa --modality nerf`."""


@commands.command("write-srn")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--resolution", type=click.IntRange(1), help="Pixels of the shorter side of a view.")
@click.option("--views", type=click.IntRange(1), help="Views of each scene (meshes: 24).")
@click.option("--seed", type=int, default=0, help="Of a random split, where the data has none.")
@click.option("--mesh-up", type=click.Choice(["y", "z"]), help="The axis that is up in meshes.")
@click.option("--skip-bad", is_flag=True, help="Leave unreadable scenes out.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show where a bug is.")
def write(
    path: Path,
    out: Path,
    resolution: int | None,
    views: int | None,
    seed: int,
    mesh_up: str | None,
    skip_bad: bool,
) -> None:
    """Read the scenes in PATH (a folder or zip of any layout) and write them in SRN layout.

    Into OUT/NAME_train and OUT/NAME_test, NAME being PATH's; data of one scene goes to OUT/NAME.
    """
    from functa_core import DataSource
    from functa_nerf.config import NerfConfig
    from functa_nerf.modality import Nerf
    from functa_nerf.srn_writer import check_empty, write_srn

    check_empty(out)
    config = NerfConfig(
        resolution=resolution, max_views=views, mesh_views=views or 24, mesh_up=mesh_up
    )
    modality = Nerf(config, DataSource(path, seed=seed, skip_bad=skip_bad))
    parts = [modality.dataset("train"), modality.dataset("test")]
    name = path.absolute().stem
    scenes = {f"{name}_train": parts[0], f"{name}_test": parts[1]}
    if list(parts[0].ids) == list(parts[1].ids):  # data of one scene
        scenes = {name: modality.dataset("all")}
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    if not all(_splits_itself(scene, config.held_out_every) for scene in parts[1]):
        notes.append("SRN layout cannot say which views are for testing: they come last.")
    count = write_srn(scenes, out)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{out}: {count} scenes")


def _splits_itself(scene: Scene, held_out_every: int) -> bool:
    """Whether the views for testing are those that are chosen where nothing says so."""
    usual = attrs.evolve(scene, for_test=None).hidden(held_out_every)
    return bool((scene.hidden(held_out_every) == usual).all())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: 0 done, 2 the user's input, 1 a bug, 130 interrupted."""
    try:
        commands.main(args=arguments, prog_name="python -m functa_nerf", standalone_mode=False)
    except UserError as error:
        return _complain(str(error), EXIT_USER)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        return EXIT_USER
    except click.ClickException as error:
        return _complain(error.format_message(), EXIT_USER)
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted", EXIT_INTERRUPTED)
    except Exception as error:
        if "--debug" in (sys.argv[1:] if arguments is None else arguments):
            traceback.print_exc()
        said = " ".join(str(error).split()) or "no message"
        return _complain(
            f"unexpected {type(error).__name__}: {said} (--debug shows more)", EXIT_BUG
        )
    return 0


def _complain(text: str, code: int) -> int:
    click.echo(f"functa_nerf: {text}", err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
