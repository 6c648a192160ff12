"""The `sphere` modality of functa."""

from collections.abc import Sequence
from typing import Any

from functa_core import Modality, hookimpl


@hookimpl
def functa_modalities() -> Sequence[type[Modality[Any]]]:
    """Announce `sphere`."""
    from functa_sphere.modality import Sphere

    return [Sphere]
