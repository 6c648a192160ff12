"""Reading arrays of pictures from .npy and .npz files."""

from pathlib import Path

import attrs
import numpy as np

from functa_core import ArrayFile, Dataset, UserError, skip_notes
from functa_images.pixels import Pixels, centre_square
from functa_images.uniform import UNREADABLE, Wanted, same_channels, same_size


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
    cut = ((ids[i], _picture(images[i], wanted.resolution)) for i in kept)
    pictures, conversions = same_channels(same_size(cut, wanted), wanted)
    return attrs.evolve(
        signals.select(kept),
        load=list(pictures.values()).__getitem__,
        notes=[*skip_notes(skipped, UNREADABLE), *conversions],
    )


def _checked(path: Path, images: np.ndarray) -> np.ndarray:
    """The pictures as (n, h, w, c), uint8 or float32."""
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
    return images if images.dtype == np.uint8 else images.astype(np.float32, copy=False)


def _finite(path: Path, images: np.ndarray, skip_bad: bool) -> tuple[list[int], list[str]]:
    """Indices of the pictures to keep, and the ids of those left out.

    Raises:
        UserError: NaN or infinity and no `skip_bad`, values outside 0 to 1, or none left.
    """
    if images.dtype == np.uint8:
        return list(range(len(images))), []
    bad = np.count_nonzero(~np.isfinite(images), axis=(1, 2, 3))
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
    low, high = float(images[kept].min()), float(images[kept].max())
    if low < 0 or high > 1:
        raise UserError(
            f"{path} holds floats from {low:g} to {high:g}; they must lie between 0 and 1.\n"
            "Scale them (divide by 255 if they are bytes) or save them as uint8."
        )
    return kept.tolist(), [str(i) for i in skipped]


def _picture(array: np.ndarray, resolution: int | None) -> Pixels:
    """One picture at the size wanted."""
    return array if resolution is None else centre_square(array, resolution)
