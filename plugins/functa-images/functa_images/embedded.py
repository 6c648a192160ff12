"""The set used when no data is given: crops of photographs that other packages ship.

The photographs lie in the wheels of scikit-image and scikit-learn, so nothing is downloaded. What
they show and who took them is told in those packages' own documentation. A class is a photograph.
Training crops come from one part of each photograph and test crops from the rest of it, so no
pixel is in both.
"""

from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

import attrs
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from functa_core import UserError, cached
from functa_images.pixels import decode, to_channels

SIDE = 32
"""Pixels a side of a crop."""
TRAIN, TEST = 56, 10
"""Crops of each photograph."""
TEST_SHARE = 0.35
"""Share of a photograph's width or height that only test crops come from."""
SMALLEST, LARGEST = 48, 320
"""Pixels a side of the window in the photograph that a crop is made of."""
LEAST_CONTRAST = 0.08
"""Standard deviation, on a scale of 0 to 1, below which a crop is too dull to be used."""


@attrs.frozen
class Photograph:
    """A picture file inside an installed package.

    Attributes:
        name: its class.
        package: that ships it.
        path: inside the package.
        test_side: the side that test crops come from, chosen so that both parts show the subject.
    """

    name: str
    package: str
    path: str
    test_side: Literal["left", "bottom"]


PHOTOGRAPHS = (
    Photograph("astronaut", "skimage", "data/astronaut.png", "left"),
    Photograph("cat", "skimage", "data/chelsea.png", "left"),
    Photograph("coffee", "skimage", "data/coffee.png", "bottom"),
    Photograph("galaxies", "skimage", "data/hubble_deep_field.jpg", "left"),
    Photograph("motorcycle", "skimage", "data/motorcycle_left.png", "left"),
    Photograph("retina", "skimage", "data/retina.jpg", "bottom"),
    Photograph("rocket", "skimage", "data/rocket.jpg", "left"),
    Photograph("temple", "sklearn", "datasets/images/china.jpg", "left"),
    Photograph("flower", "sklearn", "datasets/images/flower.jpg", "bottom"),
    Photograph("tissue", "skimage", "data/ihc.png", "bottom"),
)


def embedded() -> Path:
    """The set as an .npz file, made when it is first asked for.

    Raises:
        UserError: an installed package lacks its photographs.
    """
    return cached("images-crops-v1", _make) / "crops.npz"


def _make(folder: Path) -> None:
    """Write the set into `folder`."""
    rng = np.random.default_rng(2201)
    images, labels, is_test = [], [], []
    for label, photograph in enumerate(PHOTOGRAPHS):
        train, test = _regions(_read(photograph), photograph.test_side)
        images += _crops(train, TRAIN, rng) + _crops(test, TEST, rng)
        labels += [label] * (TRAIN + TEST)
        is_test += [False] * TRAIN + [True] * TEST
    np.savez(
        folder / "crops.npz",
        images=np.stack(images),
        labels=np.array(labels),
        label_names=np.array([p.name for p in PHOTOGRAPHS]),
        is_test=np.array(is_test),
    )


def _read(photograph: Photograph) -> UInt8[np.ndarray, "h w 3"]:
    """The photograph in full."""
    try:
        with (
            as_file(files(photograph.package) / photograph.path) as path,
            path.open("rb") as stream,
        ):
            return to_channels(decode(stream), 3)
    except OSError as error:
        raise UserError(
            f"the embedded images are made from {photograph.path} of the package "
            f"{photograph.package}, which cannot be read: {error}.\n"
            "Reinstall that package with pip, or give images of your own with --data."
        ) from error


def _regions(
    photograph: UInt8[np.ndarray, "h w 3"], test_side: Literal["left", "bottom"]
) -> tuple[UInt8[np.ndarray, "..."], UInt8[np.ndarray, "..."]]:
    """The parts for training and for testing, which share no pixel."""
    height, width, _ = photograph.shape
    if test_side == "left":
        cut = round(width * TEST_SHARE)
        return photograph[:, cut:], photograph[:, :cut]
    cut = height - round(height * TEST_SHARE)
    return photograph[:cut], photograph[cut:]


def _crops(
    region: UInt8[np.ndarray, "h w 3"], count: int, rng: np.random.Generator
) -> list[UInt8[np.ndarray, "s s 3"]]:
    """`count` random windows of several sizes, area-averaged to one size; dull ones drawn again."""
    height, width, _ = region.shape
    largest = min(LARGEST, height, width)
    crops: list[UInt8[np.ndarray, "s s 3"]] = []
    while len(crops) < count:
        # As many of each octave of scale: the size is uniform in its logarithm.
        window = round(SMALLEST * (largest / SMALLEST) ** rng.random())
        top, left = rng.integers(height - window + 1), rng.integers(width - window + 1)
        image = Image.fromarray(region[top : top + window, left : left + window])
        crop = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
        if crop.mean(axis=2).std() >= LEAST_CONTRAST * 255:
            crops.append(crop)
    return crops
