"""The `nerf` modality of functa."""

from collections.abc import Sequence
from typing import Any

from functa_core import Modality, hookimpl


@hookimpl
def functa_modalities() -> Sequence[type[Modality[Any]]]:
    """Announce `nerf`."""
    from functa_nerf.modality import Nerf

    return [Nerf]
