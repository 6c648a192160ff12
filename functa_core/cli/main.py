"""`functa`: the commands, and what becomes of their errors."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence

import click

from functa_core import __version__, distributed
from functa_core.cache import cache_folder
from functa_core.errors import UserError, lacks_memory, summary
from functa_core.tasks import TASKS

COMMANDS = {
    "run": ("training", "Train, encode, evaluate and report: everything, resumable."),
    "train": ("training", "Meta-learn the shared weights only."),
    "encode": ("latents", "Fit a latent to every signal: a functaset."),
    "decode": ("latents", "Turn a functaset back into signals, at any resolution."),
    "functaset": ("functasets", "Look at functasets, put them together, export them."),
    **{name: ("tasks", summary) for name, (_, summary) in TASKS.items()},
    "export-npz": ("published", "Write functasets as one npz."),
    "import-deepmind": ("published", "Published weights or modulations of the paper's authors."),
    "evaluate": ("evaluation", "Figures of a run, beside its baselines."),
    "report": ("evaluation", "Draw the pictures of a run and write report.html."),
    "config": ("inspection", "Print a modality's complete default configuration as YAML."),
    "inspect": ("inspection", "Show what would be read from data."),
    "bench": ("benchmarking", "Measure speed and memory, beside others' ways to do the same."),
    "plugins": ("plugins", "See, check, make, install and uninstall plugins."),
}

SHARED = ("run", "train", "encode")
"""Commands that several processes work on together; the first does the others alone."""

KILLED = (
    "another process of this command has ended without a word. It was killed, or its connection "
    "was cut;\nif memory was short, give each less: --set meta.batch_size, or more devices."
)

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What the system says where nothing more can be written."""

EXIT_BUG = 1
EXIT_USER = 2
EXIT_INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group that imports a command's module when it is called, so that --help is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of their use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command, imported."""
        if name not in COMMANDS:
            return None
        home, text = COMMANDS[name]
        module = importlib.import_module(f"functa_core.cli.{home}")
        if home == "tasks":
            made: click.Command = module.task_command(name, text)
            return made
        command: click.Command = getattr(module, name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A command of the core, or a plugin's task; an unknown one is refused with the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from functa_core.cli.tasks import plugin_task_command

            name, *rest = args
            return name, plugin_task_command(name, rest, COMMANDS), rest
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="functa")
@click.option("--debug", is_flag=True, help="Show a traceback with an error; works anywhere.")
def functa(debug: bool) -> None:
    """Deep learning on functions: images, shapes, scenes and maps as one small latent each.

    Start with: functa run --modality NAME; functa plugins list shows the names, and those of tasks
    that plugins add: functa TASK --run DIR.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 the user's input, 1 a bug, 130 interrupted."""
    # matplotlib's list of fonts is a cache too; it must be told before it is imported.
    os.environ.setdefault("MPLCONFIGDIR", str(cache_folder() / "matplotlib"))
    if threading.current_thread() is threading.main_thread():
        # What batch systems send; a command that it kills would leave drafts behind.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    rest = [argument for argument in given if argument != "--debug"]
    if distributed.asked_for():
        sys.exit(_run_as_one_of_several(rest, debug))
    sys.exit(_run(rest, debug))


def _run_as_one_of_several(arguments: list[str], debug: bool) -> int:
    """The same for a process that `torchrun` has started beside others."""
    if arguments[:1] and arguments[0] in SHARED:
        try:
            return distributed.together(lambda: _run(arguments, debug))
        except UserError as error:
            return _complain(f"error: {error}", EXIT_USER, debug)
        except KeyboardInterrupt:  # before they have found one another
            return EXIT_INTERRUPTED
    return _run(arguments, debug) if distributed.started_first() else 0


def _run(arguments: list[str], debug: bool) -> int:
    try:
        code = functa.main(args=arguments, prog_name="functa", standalone_mode=False)
    except UserError as error:
        return _complain(f"error: {error}", EXIT_USER, debug)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        return EXIT_USER
    except click.ClickException as error:  # which all of several processes find
        said = f"error: {error.format_message()}"
        return _complain(said, EXIT_USER, debug) if distributed.is_first() else EXIT_USER
    except (KeyboardInterrupt, click.Abort):
        return _ended(distributed.code_elsewhere() or EXIT_INTERRUPTED, debug)
    except distributed.EndedElsewhere as error:
        return _ended(distributed.code_elsewhere(), debug, str(error))
    except OSError as error:
        if error.errno not in NO_ROOM:
            return _complain(_bug(error), EXIT_BUG, debug)
        return _complain(f"error: {_no_room(error)}", EXIT_USER, debug)
    # The last place where a bug can still be told to the user; a plugin may raise SystemExit.
    except (Exception, SystemExit) as error:
        if lacks_memory(error):
            return _complain(f"error: {_no_memory(error)}", EXIT_USER, debug)
        return _complain(_bug(error), EXIT_BUG, debug)
    return code if isinstance(code, int) else 0


def _ended(code: int | None, debug: bool, seen: str = "") -> int:
    """The exit code that all processes end with, None if the one that failed did not say.

    That one says why, but for an interrupt, which is of all: the first says so.

    Args:
        code: or None.
        debug: whether tracebacks are wanted.
        seen: of it here, where it did not say.
    """
    if code is None:
        return _complain(f"{KILLED}\nSeen here: {seen}", EXIT_BUG, debug)
    if code == EXIT_INTERRUPTED and distributed.is_first():
        return _complain("interrupted", EXIT_INTERRUPTED, debug)
    return code


def _no_room(error: OSError) -> str:
    where = f"{error.filename} cannot be written" if error.filename else "a file cannot be written"
    return (
        f"{where}: {error.strerror}.\n"
        "Make room or choose another place; run, train and encode go on from where they were."
    )


def _no_memory(error: BaseException) -> str:
    return (
        f"there is not enough memory ({summary(error)}).\n"
        "Ask for less at once: a lower resolution, a smaller meta.batch_size or meta.encode_batch, "
        "or meta.max_memory."
    )


def _bug(error: BaseException) -> str:
    """What to say of an error that is not the user's: whose it is, and what to do."""
    from functa_core.blame import blame

    plugin = blame(error)
    if plugin is not None:
        return f"{plugin}\nReport it to its author; --debug shows the traceback."
    return f"bug: {summary(error)}\nRun it again with --debug for the traceback."


def _complain(text: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    click.echo(f"functa: {text}", err=True)
    return code
