"""What masks leave to be seen of a picture, and the file of a way between pictures."""

import numpy as np
import torch
from PIL import Image

from functa_core import Observations
from functa_images.animations import write_gif
from functa_images.masks import masks
from functa_images.pictures import HIDDEN, masked_sheet


def seen(name, height, width, count=2, seed=0):
    mask = next(mask for mask in masks(height, width) if mask.name == name)
    size = height * width
    observed = Observations(
        torch.zeros(size, 2), torch.zeros(count, size, 1), torch.ones(count, size)
    )
    shown = mask.visible(
        [np.zeros((height, width, 1), np.float32)] * count,
        observed,
        torch.Generator().manual_seed(seed),
    )
    return shown.reshape(count, height, width).numpy()


def test_halves_and_the_box_are_where_they_say():
    left, top, around = (seen(n, 5, 8)[0] for n in ("left-half", "top-half", "centre-hidden"))
    assert left[:, :4].all()
    assert not left[:, 4:].any()
    assert top[:3].all()
    assert not top[3:].any()
    assert not around[1:4, 2:6].any()
    assert around.sum() == 40 - 12


def test_a_tenth_is_drawn_for_each_picture_by_the_generator():
    shown = seen("random-tenth", 10, 20)
    assert shown.sum(axis=(1, 2)).tolist() == [20, 20]
    assert (shown[0] != shown[1]).any()
    assert (shown == seen("random-tenth", 10, 20)).all()
    assert (shown != seen("random-tenth", 10, 20, seed=1)).any()
    assert seen("random-tenth", 1, 2).sum(axis=(1, 2)).tolist() == [1, 1]


def test_hidden_pixels_are_drawn_in_their_colour_and_scored_alone():
    original = np.full((4, 4, 3), 0.2, np.float32)
    shown = np.zeros((4, 4), bool)
    shown[:, :2] = True
    wrong_where_seen = original.copy()
    wrong_where_seen[:, :2] = 0.9
    sheet = masked_sheet([original], [shown], {"fit": wrong_where_seen[None]})
    colours = {colour for _, colour in sheet.getcolors(10**5)}
    assert tuple(round(255 * part) for part in HIDDEN) in colours
    assert (51, 51, 51) in colours


def test_a_way_is_played_there_and_back(tmp_path):
    frames = np.linspace(0, 1, 5, dtype=np.float32)[:, None, None, None] * np.ones((5, 4, 6, 1))
    write_gif(tmp_path / "a.gif", {"straight": frames.astype(np.float32)})
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames == 8  # type: ignore[attr-defined]
        levels = []
        for i in range(8):
            animation.seek(i)
            grey = np.asarray(animation.convert("L"))
            levels.append(int(grey[grey.shape[0] // 2, 40]))
    assert levels[:5] == sorted(levels[:5])
    assert levels[5:] == sorted(levels[5:], reverse=True)
