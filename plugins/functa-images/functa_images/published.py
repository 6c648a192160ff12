"""Configurations of google-deepmind/functa that are of pictures."""

from collections.abc import Mapping
from typing import Any

from functa_core import Published, UserError

KIND = "image"
NAMES = "celeb_a_hq"
"""How the names of the authors' sets of pictures begin."""
RESOLUTION, CHANNELS = 64, 3
"""Of the authors' one set of pictures, CelebA-HQ; they resize and cut it to a square."""


def recognise(config: Mapping[str, Any]) -> Published | None:
    """Size and channels of the pictures that published weights were trained on.

    The authors' training uses every pixel, so `points` is None.

    Raises:
        UserError: pictures of no possible size.
    """
    dataset = config.get("dataset")
    if not isinstance(dataset, Mapping):
        return None
    notes = []
    kind = dataset.get("type")
    if kind is None:
        if not str(dataset.get("name")).startswith(NAMES):
            return None
        notes.append(f"dataset.type is not in the file; taken as '{KIND}' from its name.")
    elif kind != KIND:
        return None
    known = {"resolution": RESOLUTION, "num_channels": CHANNELS}
    for key, value in known.items():
        if key in dataset:
            known[key] = dataset[key]
        else:
            notes.append(f"dataset.{key} is not in the file; taken as {value}, CelebA-HQ's.")
    for key, value in known.items():
        if type(value) is not int or value < 1:
            raise UserError(f"the configuration's dataset.{key} is not a whole number above 0.")
    side, channels = known["resolution"], known["num_channels"]
    return Published(
        options={"resolution": side, "channels": channels, "points": None},
        state={"label_names": [], "height": side, "width": side, "channels": channels},
        notes=notes,
    )
