"""The `terrain` modality of functa."""

from collections.abc import Sequence
from typing import Any

from functa_core import Modality, hookimpl


@hookimpl
def functa_modalities() -> Sequence[type[Modality[Any]]]:
    """Announce `terrain`. The import waits until it is asked for."""
    from functa_terrain.modality import Terrain

    return [Terrain]
