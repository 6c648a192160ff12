"""The `images` modality of functa."""

from collections.abc import Sequence
from typing import Any

from functa_core import Modality, hookimpl


@hookimpl
def functa_modalities() -> Sequence[type[Modality[Any]]]:
    """Announce `images`."""
    from functa_images.modality import Images

    return [Images]
