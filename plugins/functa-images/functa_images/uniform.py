"""Pictures made equal in size and channels, whatever kind of file they came from."""

from collections.abc import Iterable, Sequence

import attrs

from functa_core import UserError
from functa_images.pixels import CHANNEL_WORDS, Pixels, to_channels

UNREADABLE = "unreadable image"
"""What is left out with --skip-bad."""


@attrs.frozen
class Wanted:
    """What the pictures have to become.

    Attributes:
        resolution: pixels a side of the square to cut out and resize, or None for the native size.
        channels: as asked for, which allows a conversion that loses something, or None.
        prepared: (height, width, channels) that a run was prepared for, or None before that.
    """

    resolution: int | None
    channels: int | None
    prepared: tuple[int, int, int] | None


def same_size(pictures: Iterable[tuple[str, Pixels]], wanted: Wanted) -> dict[str, Pixels]:
    """Collect (id, picture) pairs, stopping at the first that differs in size.

    Raises:
        UserError: two pictures differ in height or width, or one differs from the prepared state.
    """
    found: dict[str, Pixels] = {}
    expected = None if wanted.prepared is None else wanted.prepared[:2]
    for name, picture in pictures:
        size = picture.shape[:2]
        if expected is None:
            expected = (size[0], size[1])
        if size != expected:
            raise _size_error(name, picture, next(iter(found), None), expected, wanted)
        found[name] = picture
    return found


def _size_error(
    name: str, picture: Pixels, first: str | None, expected: tuple[int, int], wanted: Wanted
) -> UserError:
    """Why `picture` does not fit, and what to do about it."""
    found = f"image {name} is {_size(picture.shape)}"
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


def same_channels(
    found: dict[str, Pixels], wanted: Wanted
) -> tuple[dict[str, Pixels], Sequence[str]]:
    """The pictures with one number of channels, and notes on what that took.

    Raises:
        UserError: a picture would lose colour or alpha and nobody asked for that.
    """
    counts: dict[int, int] = {}
    for picture in found.values():
        counts[picture.shape[2]] = counts.get(picture.shape[2], 0) + 1
    channels = _channels(found, max(counts), wanted)
    notes = []
    if len(counts) > 1 and wanted.channels is None:
        parts = ", ".join(f"{n} {CHANNEL_WORDS[c]}" for c, n in sorted(counts.items()))
        notes = [
            f"the images are of several kinds ({parts}): all were read as "
            f"{CHANNEL_WORDS[channels]}; choose with modality.channels"
        ]
    return {name: to_channels(picture, channels) for name, picture in found.items()}, notes


def _channels(found: dict[str, Pixels], most: int, wanted: Wanted) -> int:
    """How many channels to read all pictures with; `most` is what the richest of them has."""
    if wanted.channels is not None:
        return wanted.channels
    if wanted.prepared is None:
        return most
    channels = wanted.prepared[2]
    if most > channels:
        name = next(n for n, picture in found.items() if picture.shape[2] == most)
        raise UserError(
            f"image {name} is {CHANNEL_WORDS[most]}, and this run was trained on "
            f"{CHANNEL_WORDS[channels]} images.\n"
            f"Convert the images, or train with --set modality.channels={channels}, "
            "which converts whatever it is given."
        )
    return channels
