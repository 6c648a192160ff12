"""Things the tests of this plugin share: fields without networks, and scenes in SRN layout."""

from pathlib import Path

import attrs
import numpy as np
import torch
from PIL import Image

from functa_nerf.cameras import Lens, look_at, rays
from functa_nerf.scenes import Scene

UP = torch.tensor([0.0, 0.0, 1.0])
OPAQUE, EMPTY = 20.0, -20.0


class Balls:
    """B scenes of one coloured ball each; grey elsewhere, where there is no density."""

    def __init__(self, centres, radius=0.15, colour=(0.9, 0.2, 0.1)):
        self.centres = torch.as_tensor(centres).reshape(-1, 1, 3)
        self.radius, self.colour = radius, torch.as_tensor(colour)
        self.asked = []

    def __len__(self):
        return len(self.centres)

    def __getitem__(self, chosen):
        few = Balls(self.centres[chosen], self.radius, self.colour)
        few.asked = self.asked
        return few

    def __call__(self, coords):
        self.asked.append(tuple(coords.shape))
        inside = (coords - self.centres).norm(dim=-1) < self.radius
        features = torch.empty(*inside.shape, 4)
        features[..., :3] = torch.where(inside[..., None], self.colour, 0.5)
        features[..., 3] = torch.where(inside, OPAQUE, EMPTY)
        return features


class SoftBall:
    """A scene of one ball whose density falls off through `level` at its radius.

    Its colour depends on the direction from its centre alone; density 0.1 or less is background.
    """

    def __init__(self, centre=(0.0, 0.0, 0.0), radius=0.45, level=5.0, slope=100.0, hole=0.0):
        self.centre, self.radius, self.hole = torch.tensor(centre), radius, hole
        self.level, self.slope = level, slope
        self.asked = []

    def __len__(self):
        return 1

    def __getitem__(self, chosen):
        assert chosen == slice(0, 1)
        return self

    def colour(self, points):
        return 0.5 + 0.4 * torch.nn.functional.normalize(points - self.centre, dim=-1)

    def __call__(self, coords):
        self.asked.append(tuple(coords.shape))
        distance = (coords - self.centre).norm(dim=-1)
        inside = torch.minimum(self.radius - distance, distance - self.hole)
        # elu(x, 0.1) + 0.1 is x + 0.1 above 0.
        raw = self.level + self.slope * inside - 0.1
        return torch.cat([self.colour(coords), raw[..., None]], dim=-1)[None]


class Waves:
    """B smooth scenes, for comparing two ways of computing the same."""

    def __init__(self, count=2):
        self.phases = torch.arange(count).reshape(-1, 1, 1).float()

    def __len__(self):
        return len(self.phases)

    def __getitem__(self, chosen):
        few = Waves()
        few.phases = self.phases[chosen]
        return few

    def __call__(self, coords):
        mix = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 2.0, 1.0], [2.0, 1.0, -1.0, 3.0]])
        return (3 * (coords @ mix) + self.phases).sin()


def cameras(count, seed=0, radius=1.3):
    """Camera-to-world poses (count, 4, 4), OpenGL, around the origin."""
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(count, 3))
    places[:, 2] = np.abs(places[:, 2]) * 0.5
    places *= radius / np.linalg.norm(places, axis=1, keepdims=True)
    return look_at(torch.tensor(places, dtype=torch.float32), torch.zeros(3), UP)


def write_scene(folder: Path, views=4, side=8, seed=0, one_line=True, colour=None, told=None):
    """A scene in SRN layout, with random pictures or of one colour."""
    rng = np.random.default_rng(seed)
    told = told or (side, side)
    for part in ("pose", "rgb"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    height, width = told
    (folder / "intrinsics.txt").write_text(
        f"{1.025 * width} {width / 2} {height / 2} 0.\n0. 0. 0.\n1.\n{height} {width}\n"
    )
    for i, pose in enumerate(cameras(views, seed).numpy()):
        srn = pose @ np.diag([1, -1, -1, 1])
        rows = [" ".join(f"{v:.8f}" for v in row) for row in srn]
        (folder / "pose" / f"{i:06d}.txt").write_text((" " if one_line else "\n").join(rows) + "\n")
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        if colour is not None:
            pixels[:] = colour
        Image.fromarray(pixels).save(folder / "rgb" / f"{i:06d}.png")
    return folder


LENS = Lens(focal=32.8125, cx=16.0, cy=16.0, height=32, width=32)


def ball_scene(poses, lens, balls, name="balls"):
    """A scene of red balls, (centre, radius) each, on white: exact silhouettes, no shading."""
    beams = rays(poses, lens).double()
    directions = torch.nn.functional.normalize(beams[..., 3:], dim=-1)
    hit = torch.zeros(beams.shape[:2], dtype=torch.bool)
    for centre, radius in balls:
        offsets = torch.as_tensor(centre).double() - beams[..., :3]
        hit |= torch.linalg.cross(offsets, directions).norm(dim=-1) < radius
    images = torch.full((*hit.shape, 3), 255, dtype=torch.uint8)
    images[hit] = torch.tensor([200, 30, 20], dtype=torch.uint8)
    return Scene(name, images.reshape(len(poses), lens.height, lens.width, 3), poses, lens)


def noise_scene(poses, lens, name="noise"):
    """A scene whose views show no silhouette."""
    shape = (len(poses), lens.height, lens.width, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return Scene(name, torch.from_numpy(noise), poses, lens)


def turned(scene, *signs):
    """The scene with its poses multiplied by a diagonal matrix on the right."""
    return attrs.evolve(scene, poses=scene.poses * torch.tensor([*signs, 1.0]))


def inverted(scene):
    """The scene with world-to-camera matrices for poses."""
    return attrs.evolve(scene, poses=torch.linalg.inv(scene.poses))
