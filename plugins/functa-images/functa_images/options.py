"""The options of the `images` modality."""

import attrs

from functa_core import option


@attrs.frozen
class ImagesConfig:
    """What can be chosen about how pictures are read and sampled."""

    resolution: int | None = option(
        None,
        "pixels; the shorter side is resized to it and the centre square kept. "
        "null: as in the files, which must then all have one size",
        low=2,
    )
    channels: int | None = option(
        None,
        "1 grey, 3 colour, 4 colour and alpha. null: the most that any of the pictures needs",
        choices=(1, 3, 4),
    )
    labels: bool = option(
        False,
        "whether the sub-folders of a folder or zip are class labels "
        "(an array file's labels are always read)",
        choices=(False, True),
    )
    points: int | None = option(
        256,
        "pixels of each training step, drawn at random and the same for the whole batch, so that "
        "a step costs the same at any size. null: all of them",
        low=1,
    )
