"""Reading arrays of pictures from .npy and .npz files."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from functa_core import UserError
from functa_images.collection import Collection, Wanted, same_channels, same_size
from functa_images.files import skip_notes
from functa_images.pixels import Pixels, centre_square

BESIDE = ("labels", "label_names", "is_test")
"""Keys of an .npz file that are not the pictures."""


def read_arrays(path: Path, wanted: Wanted, skip_bad: bool) -> Collection:
    """All pictures of an array file.

    Args:
        path: a .npy file of pictures, or an .npz file with `images` and perhaps `labels`,
            `label_names` and `is_test`.
        wanted: size and channels.
        skip_bad: leave pictures with NaN or infinity out instead of refusing the data.

    Raises:
        UserError: the file is damaged, or an array is not what it should be.
    """
    arrays = _load(path)
    images = _checked(path, arrays[_images_key(path, arrays)])
    classes, class_names = _classes(path, arrays, len(images))
    is_test = _is_test(path, arrays, len(images))
    kept, skipped = _finite(path, images, skip_bad)
    pictures = {str(i): _picture(images[i], wanted.resolution) for i in kept}
    pictures, conversions = same_channels(same_size(pictures.items(), wanted), wanted)
    return Collection(
        ids=list(pictures),
        pictures=list(pictures.values()),
        classes=None if classes is None else [classes[i] for i in kept],
        class_names=class_names,
        is_test=None if is_test is None else [is_test[i] for i in kept],
        notes=[*skip_notes(skipped), *conversions],
    )


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the file by name; a lone one is called `images`."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"images": loaded}
        with loaded:
            return {key: loaded[key] for key in loaded.files}
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error):
            raise UserError(
                f"{path} holds Python objects, which are not loaded because they can run code.\n"
                "Save plain arrays: np.savez(file, images=np.stack(pictures))."
            ) from error
        raise UserError(
            f"{path} cannot be read as an array file: {error}.\nMake it with np.save or np.savez."
        ) from error


def _images_key(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """The key of the pictures: `images`, or the only array that is nothing else."""
    if "images" in arrays:
        return "images"
    candidates = [key for key in arrays if key not in BESIDE]
    if len(candidates) == 1:
        return candidates[0]
    raise UserError(
        f"{path} has no array 'images' (found: {', '.join(arrays) or 'nothing'}).\n"
        "Save the pictures under that name: np.savez(file, images=…)."
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


def _classes(
    path: Path, arrays: Mapping[str, np.ndarray], count: int
) -> tuple[list[str | None] | None, list[str]]:
    """The class name of each picture (None for -1), and all names in order."""
    if "labels" not in arrays:
        return None, []
    labels = arrays["labels"]
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise UserError(
            f"'labels' of {path} has shape {labels.shape} and type {labels.dtype}.\n"
            f"It must be {count} integers, one for each image (-1: unknown)."
        )
    values = [int(v) for v in labels]
    names = _label_names(path, arrays, values)
    return [names.get(v) for v in values], list(names.values())


def _label_names(
    path: Path, arrays: Mapping[str, np.ndarray], values: Sequence[int]
) -> dict[int, str]:
    """The name of each label; the number itself where the file has no names."""
    if "label_names" not in arrays:
        return {v: str(v) for v in sorted(set(values)) if v >= 0}
    stored = arrays["label_names"]
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in stored.ravel()]
    if len(set(names)) < len(names) or not -1 <= min(values) <= max(values) < len(names):
        raise UserError(
            f"'label_names' of {path} has {len(set(names))} different names, and 'labels' goes "
            f"from {min(values)} to {max(values)}.\n"
            "Labels count the names from 0, each name is there once, and -1 means unknown."
        )
    return dict(enumerate(names))


def _is_test(path: Path, arrays: Mapping[str, np.ndarray], count: int) -> list[bool] | None:
    """Which pictures the file holds out, if it says so."""
    if "is_test" not in arrays:
        return None
    is_test = arrays["is_test"]
    if is_test.shape != (count,) or is_test.dtype != np.bool_:
        raise UserError(
            f"'is_test' of {path} has shape {is_test.shape} and type {is_test.dtype}.\n"
            f"It must be {count} booleans, one for each image."
        )
    return [bool(t) for t in is_test]
