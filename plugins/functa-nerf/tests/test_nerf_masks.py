"""What masks leave to be seen of a scene's views."""

import torch

from functa_core import Observations
from functa_nerf.cameras import Lens
from functa_nerf.masks import masks
from functa_nerf.scenes import Scene


def test_the_same_part_of_every_view_is_seen():
    lens = Lens(8.0, 3.0, 2.0, 4, 6)
    views, size = 3, 24
    observed = Observations(
        torch.zeros(views * size, 6), torch.zeros(2, views * size, 3), torch.ones(2, views * size)
    )
    images = torch.zeros(views, 4, 6, 3, dtype=torch.uint8)
    scene = Scene("a", images, torch.eye(4).repeat(views, 1, 1), lens)
    left, clear = (
        mask.visible([scene] * 2, observed, torch.Generator()).reshape(2, views, 4, 6)
        for mask in masks(lens)
    )
    assert left[..., :3].all()
    assert not left[..., 3:].any()
    assert not clear[..., 1:3, 1:5].any()
    assert int(clear[0, 0].sum()) == 24 - 8
