"""Pictures made equal in size and channels, whatever kind of file they came from."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import attrs

from functa_core import UserError
from functa_images.pixels import CHANNEL_WORDS

Shape = tuple[int, int, int]
"""Height, width and channels of a picture."""

UNREADABLE = "unreadable image"
"""What is left out with --skip-bad."""


@attrs.frozen
class Wanted:
    """What the pictures have to become.

    Attributes:
        resolution: pixels a side of the square to cut out and resize, or None for the native size.
        channels: as asked for, which allows a conversion that loses something, or None.
        prepared: (height, width, channels) that a run was prepared for, or None before that.
        keep: bytes of pictures that may stay in memory.
    """

    resolution: int | None
    channels: int | None
    prepared: Shape | None
    keep: int = 0


def same_size(shapes: Iterable[tuple[str, Shape]], wanted: Wanted) -> dict[str, Shape]:
    """Collect (id, shape) pairs, stopping at the first that differs in size.

    Raises:
        UserError: two pictures differ in height or width, or one differs from the prepared state.
    """
    found: dict[str, Shape] = {}
    expected = None if wanted.prepared is None else wanted.prepared[:2]
    for name, shape in shapes:
        size = shape[:2]
        if expected is None:
            expected = size
        if size != expected:
            raise _size_error(name, shape, next(iter(found), None), expected, wanted)
        found[name] = shape
    return found


def _size_error(
    name: str, shape: Shape, first: str | None, expected: tuple[int, int], wanted: Wanted
) -> UserError:
    """Why a picture does not fit, and what to do about it."""
    found = f"image {name} is {_size(shape)}"
    if wanted.prepared is not None:
        return UserError(
            f"{found}, and this run was trained on {_size(expected)}.\n"
            "Resize the images to that, or train with --set modality.resolution=N, "
            "which resizes whatever it is given."
        )
    return UserError(
        f"images differ in size: {first} is {_size(expected)}, {found}.\n"
        "Choose one size for all with --set modality.resolution=64."
    )


def _size(shape: Sequence[int]) -> str:
    """A size in words, width first as people say it."""
    return f"{shape[1]}x{shape[0]} pixels (width x height)"


def same_channels(found: Mapping[str, Shape], wanted: Wanted) -> tuple[int, Sequence[str]]:
    """How many channels to read all pictures with, and notes on what that takes.

    Raises:
        UserError: a picture would lose colour or alpha and nobody asked for that.
    """
    counts = Counter(channels for _, _, channels in found.values())
    channels = _channels(found, max(counts), wanted)
    notes = []
    if len(counts) > 1 and wanted.channels is None:
        parts = ", ".join(f"{n} {CHANNEL_WORDS[c]}" for c, n in sorted(counts.items()))
        notes = [
            f"the images are of several kinds ({parts}): all were read as "
            f"{CHANNEL_WORDS[channels]}; choose with modality.channels"
        ]
    return channels, notes


def _channels(found: Mapping[str, Shape], most: int, wanted: Wanted) -> int:
    """How many channels to read all pictures with; `most` is what the richest of them has."""
    if wanted.channels is not None:
        return wanted.channels
    if wanted.prepared is None:
        return most
    channels = wanted.prepared[2]
    if most > channels:
        name = next(n for n, shape in found.items() if shape[2] == most)
        raise UserError(
            f"image {name} is {CHANNEL_WORDS[most]}, and this run was trained on "
            f"{CHANNEL_WORDS[channels]} images.\n"
            f"Convert the images, or train with --set modality.channels={channels}, "
            "which converts whatever it is given."
        )
    return channels
