"""Which task a name means: the core's own, the modality's plugin's, or an installed one's."""

from __future__ import annotations

from collections.abc import Sequence

from functa_core.discovery.installed import find, installed
from functa_core.discovery.loading import load_entry
from functa_core.errors import UserError, nearest
from functa_core.tasks import TASKS, core_task
from functa_core.tasks.base import Task


def find_task(name: str, announced: Sequence[type[Task]] = (), asked: str = "") -> type[Task]:
    """The task of that name, looked for in that order.

    Args:
        name: of the task.
        announced: what the plugin of the run's modality announces.
        asked: where the name stands, for the message.

    Raises:
        UserError: there is none, or the plugin of that name cannot be loaded.
    """
    if name in TASKS:
        return core_task(name)
    own = {task.name: task for task in announced}
    if name in own:
        return own[name]
    where = f" ({asked})" if asked else ""
    names = {entry.name for entry in installed()}
    if name not in names:
        near = nearest(name, [*TASKS, *own, *sorted(names)])
        raise UserError(f"there is no task '{name}' here{where}.{near}")
    found = load_entry(find(name))
    task = found.task(name)
    if task is None:
        raise UserError(
            f"there is no task '{name}'{where}: plugin {found.origin.label} announces "
            f"{found.names}."
        )
    return task
