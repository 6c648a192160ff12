"""Reading arrays of pictures from .npy and .npz files."""

from pathlib import Path

import attrs
import numpy as np

from functa_core import ArrayFile, Dataset, Kept, UserError, skip_notes
from functa_images.pixels import Pixels, centre_square, nbytes, to_channels
from functa_images.uniform import UNREADABLE, Wanted, same_channels, same_size

TYPES = (np.uint8, np.float32)
"""Of values that need no conversion."""


def read_arrays(path: Path, wanted: Wanted, skip_bad: bool) -> Dataset[Pixels]:
    """All pictures of an array file.

    Args:
        path: a .npy file of pictures, or an .npz file with `images` and perhaps `labels`,
            `label_names` and `is_test`.
        wanted: size and channels.
        skip_bad: leave pictures with NaN or infinity out instead of refusing the data.

    Raises:
        UserError: the file is damaged, or an array is not what it should be.
    """
    file = ArrayFile.read(path, lone="images")
    images = _checked(path, file.arrays[file.signals_key("images")])
    ids = [str(i) for i in range(len(images))]
    signals = file.annotated(Dataset(ids, images.__getitem__))
    kept, skipped = _finite(path, images, skip_bad)
    _, height, width, depth = images.shape
    shape = (wanted.resolution or height, wanted.resolution or width, depth)
    channels, conversions = same_channels(same_size([(ids[kept[0]], shape)], wanted), wanted)
    # What is neither cut nor converted is in the file already, which is in memory or mapped there.
    keep = wanted.keep if shape != images.shape[1:] or images.dtype not in TYPES else 0
    pictures: Kept[int, np.ndarray] = Kept(
        lambda i: _picture(images[i], wanted.resolution), nbytes, keep
    )
    return attrs.evolve(
        signals.select(kept),
        load=lambda i: to_channels(pictures(kept[i]), channels),
        notes=[*skip_notes(skipped, UNREADABLE), *conversions],
    )


def _checked(path: Path, images: np.ndarray) -> np.ndarray:
    """The pictures as (n, h, w, c), uint8 or floats."""
    rule = "Pictures are arrays (n, height, width) or (n, height, width, channels)"
    if images.ndim == 3 and images.shape[2] in (3, 4):
        raise UserError(
            f"{path} has shape {images.shape}, which looks like one picture.\n"
            f"{rule}: add a first axis with images[None]."
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3, 4):
        raise UserError(f"{path} has shape {images.shape}.\n{rule}, with 1, 3 or 4 channels last.")
    if images.size == 0:
        raise UserError(f"{path} is empty: its shape is {images.shape}.\n{rule}, at least one.")
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise UserError(
            f"{path} holds {images.dtype} values.\n"
            "Convert them to uint8 (0 to 255) or to floats from 0 to 1."
        )
    return images


def _finite(path: Path, images: np.ndarray, skip_bad: bool) -> tuple[list[int], list[str]]:
    """Indices of the pictures to keep, and the ids of those left out.

    Raises:
        UserError: NaN or infinity and no `skip_bad`, values outside 0 to 1, or none left.
    """
    if images.dtype == np.uint8:
        return list(range(len(images))), []
    bad = np.array([picture.size - np.count_nonzero(np.isfinite(picture)) for picture in images])
    skipped = np.flatnonzero(bad)
    if len(skipped) and not skip_bad:
        raise UserError(
            f"image {skipped[0]} of {path} has {bad[skipped[0]]} values that are NaN or infinite "
            f"({len(skipped)} of {len(images)} images have some).\n"
            "Fill or remove them, or leave those images out with --skip-bad."
        )
    kept = np.flatnonzero(bad == 0)
    if not len(kept):
        raise UserError(
            f"all {len(images)} images of {path} have NaN or infinite values.\nFill them first."
        )
    low = min(float(images[i].min()) for i in kept)
    high = max(float(images[i].max()) for i in kept)
    if low < 0 or high > 1:
        raise UserError(
            f"{path} holds floats from {low:g} to {high:g}; they must lie between 0 and 1.\n"
            "Scale them (divide by 255 if they are bytes) or save them as uint8."
        )
    return kept.tolist(), [str(i) for i in skipped]


def _picture(array: np.ndarray, resolution: int | None) -> Pixels:
    """One picture as uint8 or float32, at the size wanted."""
    array = array if array.dtype == np.uint8 else array.astype(np.float32, copy=False)
    return array if resolution is None else centre_square(array, resolution)
