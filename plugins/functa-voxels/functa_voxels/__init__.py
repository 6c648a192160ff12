"""The `voxels` modality of functa."""

from collections.abc import Sequence
from typing import Any

from functa_core import Modality, hookimpl


@hookimpl
def functa_modalities() -> Sequence[type[Modality[Any]]]:
    """Announce `voxels`."""
    from functa_voxels.modality import Voxels

    return [Voxels]
