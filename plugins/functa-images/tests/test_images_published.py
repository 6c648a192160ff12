"""Configurations of published weights, as far as they are of pictures."""

import pytest

from functa_core import UserError
from functa_images.modality import Images
from functa_images.options import ImagesConfig

CELEBA = {"name": "celeb_a_hq_custom", "num_channels": 3, "resolution": 64, "type": "image"}


@pytest.mark.parametrize(
    ("dataset", "side", "channels", "notes"),
    [
        (CELEBA, 64, 3, 0),
        ({**CELEBA, "resolution": 32, "num_channels": 1}, 32, 1, 0),
        ({"name": "celeb_a_hq"}, 64, 3, 3),
        ({"type": "image"}, 64, 3, 2),
    ],
)
def test_pictures(dataset, side, channels, notes):
    found = Images.from_published({"dataset": dataset})
    assert found is not None
    assert ImagesConfig(**found.options) == ImagesConfig(
        resolution=side, channels=channels, points=None
    )
    assert found.state == {
        "label_names": [],
        "height": side,
        "width": side,
        "channels": channels,
    }
    assert len(found.notes) == notes


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"dataset": None},
        {"dataset": {}},
        {"dataset": {"type": "scene", "name": "celeb_a_hq"}},
        {"dataset": {"name": "srn_cars"}},
        {"dataset": {"type": ["image"]}},
    ],
)
def test_what_is_not_of_pictures(config):
    assert Images.from_published(config) is None


@pytest.mark.parametrize("key", ["resolution", "num_channels"])
@pytest.mark.parametrize("value", [0, -1, "64", 6.4, None, True])
def test_impossible_sizes(key, value):
    with pytest.raises(UserError, match=key):
        Images.from_published({"dataset": {**CELEBA, key: value}})
