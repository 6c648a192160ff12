"""The check of the tasks that a plugin announces."""

from __future__ import annotations

from functa_core.cli.main import COMMANDS
from functa_core.testing.check import require
from functa_core.testing.options import require_options
from functa_core.testing.subject import Subject


def tasks(subject: Subject) -> None:
    """Each task that the plugin announces has a name that no other and no command of functa has,
    and options that are a frozen attrs class, each explained.
    """
    names = [task.name for task in subject.tasks]
    for task in subject.tasks:
        taken = task.name in COMMANDS or names.count(task.name) > 1
        require(
            not taken,
            "a task has a name of its own",
            f"'{task.name}', which is a command of functa or another task's",
            "Choose another name: the core's comes first.",
        )
        require_options(task.Config())
