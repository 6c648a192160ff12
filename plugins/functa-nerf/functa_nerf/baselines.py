"""What a functaset of scenes has to beat: the mean view, and the nearest training scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from functa_core import Baseline, Dataset, Observations
from functa_nerf.scenes import Scene, spread

COMPARED_VIEWS = 24
"""Visible views, evenly spread, that the nearest scene is chosen by: all of them in most sets, and
a bound on the time where a scene has hundreds."""


class _Context(NamedTuple):
    """v visible views of n pixels: poses (v, 4, 4), colours (v, n, 3), and where they are seen."""

    poses: Tensor
    target: np.ndarray
    shown: np.ndarray


def mean_view(train: Dataset[Scene]) -> Baseline:
    """Predicts, in every view, the mean over all training views of the same pixel."""
    total = sum(scene.images.numpy().sum(axis=0, dtype=np.float64) for scene in train)
    views = sum(scene.views for scene in train)
    mean = torch.from_numpy(total / (255 * views)).float().reshape(-1, 3)

    def predict(
        scenes: Sequence[Scene], observations: Observations, _: Tensor
    ) -> Float[Tensor, "B N 3"]:
        return mean.repeat(observations.count // len(mean), 1).expand(len(scenes), -1, -1)

    return predict


def nearest_scene(train: Dataset[Scene]) -> Baseline:
    """Predicts the training scene that fits the visible views best, seen from the nearest pose.

    The fit is the mean squared error between visible pixels and the training scene's view whose
    pose is nearest; each view is then predicted by that scene's view of nearest pose.
    """
    # Scales differ between sets, so positions count in units of the mean camera distance.
    unit = float(torch.cat([scene.poses[:, :3, 3] for scene in train]).norm(dim=-1).mean())

    def predict(
        scenes: Sequence[Scene], observations: Observations, visible: Tensor
    ) -> Float[Tensor, "B N 3"]:
        predicted = torch.zeros_like(observations.values)
        for b, scene in enumerate(scenes):
            seen = visible[b] & (observations.weights[b] > 0)
            context = _context(scene, observations.values[b], seen)
            misfits = [_misfit(context, other, unit) for other in train]
            best = train[misfits.index(min(misfits))]
            views = best.images[nearest_pose(scene.poses, best.poses, unit)].reshape(-1, 3)
            predicted[b, : len(views)] = views.float() / 255
        return predicted

    return predict


def nearest_pose(
    poses: Float[Tensor, "V 4 4"], others: Float[Tensor, "U 4 4"], unit: float
) -> Int[Tensor, " V"]:
    """For each pose the index of the nearest other one, in orientation and in position.

    Args:
        unit: the distance that counts as much as a difference of 1 in a rotation matrix.
    """
    scale = torch.tensor([1.0, 1.0, 1.0, 1.0 / unit])
    distances = torch.cdist(
        (poses[:, :3] * scale).flatten(1),
        (others[:, :3] * scale).flatten(1),
        compute_mode="donot_use_mm_for_euclid_dist",  # exact, so that an equal pose is at 0
    )
    return distances.argmin(dim=1)


def _context(scene: Scene, values: Float[Tensor, "N 3"], seen: Bool[Tensor, " N"]) -> _Context:
    """What is visible of a scene, in at most `COMPARED_VIEWS` of its views."""
    size = scene.lens.height * scene.lens.width
    shown = seen[: scene.views * size].reshape(scene.views, size, 1)
    views = shown.any(dim=1)[:, 0].nonzero()[:, 0]
    views = views[spread(len(views), COMPARED_VIEWS)]
    target = values[: scene.views * size].reshape(scene.views, size, 3)[views]
    shown = shown[views]
    return _Context(scene.poses[views], torch.where(shown, target, 0.0).numpy(), shown.numpy())


def _misfit(context: _Context, other: Scene, unit: float) -> float:
    """Squared error over what is visible, if `other` stood in for the scene.

    In numpy: these are many small arrays, for which torch's threads cost more than they gain.
    """
    views = nearest_pose(context.poses, other.poses, unit).numpy()
    guess = other.images.numpy()[views].reshape(context.target.shape)
    errors = guess * np.float32(1 / 255) - context.target
    return float(np.square(errors * context.shown).sum())
