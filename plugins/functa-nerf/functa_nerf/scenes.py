"""One scene: posed views of the same thing."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from functa_nerf.cameras import Lens
from functa_nerf.resizing import resampling


@attrs.frozen(eq=False)
class Scene:
    """A signal of this modality.

    Attributes:
        id: its path in the data, or its name in the embedded set.
        images: V views, over white where they were transparent.
        poses: camera-to-world of each view, OpenGL convention (see `functa_nerf.cameras`).
        lens: what all views were taken with.
        for_test: the views that the data itself keeps for testing; None where it says nothing.
    """

    id: str
    images: UInt8[Tensor, "V H W 3"]
    poses: Float[Tensor, "V 4 4"]
    lens: Lens
    for_test: Bool[Tensor, " V"] | None = None

    @property
    def views(self) -> int:
        """The number of views V."""
        return len(self.images)

    def hidden(self, every: int) -> Bool[Tensor, " V"]:
        """The views that an evaluation hides from the fit and scores.

        Those that the data keeps for testing; where it says nothing every n-th: with `every` 4 the
        views 3, 7, 11, … counted from 0. Of fewer views the last one, of a single view none.
        """
        if self.for_test is not None:
            return self.for_test
        places = torch.arange(self.views)
        return (places % every == min(every, self.views) - 1) & (self.views > 1)

    def only(self, views: Sequence[int]) -> Scene:
        """The scene with some of its views."""
        kept = list(views)
        return attrs.evolve(
            self,
            images=self.images[kept],
            poses=self.poses[kept],
            for_test=None if self.for_test is None else self.for_test[kept],
        )

    def thinned(self, most: int | None) -> Scene:
        """The scene with at most so many of its views, evenly spread; None for all."""
        return self.only(spread(self.views, most))

    def resized(self, height: int, width: int) -> Scene:
        """The scene with its views resampled by area and its lens scaled with them.

        Raises `UserError` if the proportions differ, because pixels would no longer be square.
        """
        lens = self.lens
        if (lens.height, lens.width) == (height, width):
            return self
        to = resampling(lens.height, lens.width, (height, width), f"scene '{self.id}'")
        views = np.stack([to.view(view) for view in self.images.numpy()])
        return attrs.evolve(self, images=torch.from_numpy(views), lens=to.lens(lens))


def spread(count: int, most: int | None) -> list[int]:
    """At most `most` of `count` indices, in order, as even as whole numbers allow."""
    if most is None or most >= count:
        return list(range(count))
    return [i * count // most for i in range(most)]


def same_cameras(one: Scene, other: Scene) -> bool:
    """Whether two scenes were seen by exactly the same cameras, so that they share their rays."""
    return one.lens == other.lens and torch.equal(one.poses, other.poses)
