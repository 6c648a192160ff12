"""Tasks: what is done with functasets."""

from functa_core.tasks.base import Task
from functa_core.tasks.views import Views

TASKS: dict[str, type[Task]] = {task.name: task for task in (Views,)}
"""All tasks, by name."""
