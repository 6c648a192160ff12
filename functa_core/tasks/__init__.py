"""Tasks: what is done with functasets. A task of the core is one line in `TASKS`.

Its class is imported when it is first looked up, so that `functa --help` does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from functa_core.tasks.base import Task

TASKS: dict[str, tuple[str, str]] = {
    "generate": ("Generate", "Draw new signals from a flow and a diffusion model of the latents."),
    "views": ("Views", "Predict new views of test signals from 1, 2, 4, … of their views."),
    "impute": ("Impute", "Complete test signals of which a mask hides a part."),
    "interpolate": (
        "Interpolate",
        "Animations from one test signal to another, straight and along a flow's base space.",
    ),
    "classify": ("Classify", "Tell classes from latents; accuracy beside baselines."),
    "compress": (
        "Compress",
        "Store latents in few bits; PSNR against bits, beside the modality's codec.",
    ),
}
"""All tasks of the core: the class in the module of the task's name, and its summary."""


def core_task(name: str) -> type[Task]:
    """The class of one of the core's own tasks."""
    module = importlib.import_module(f"functa_core.tasks.{name}")
    found: type[Task] = getattr(module, TASKS[name][0])
    return found
