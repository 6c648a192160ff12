"""Options of the `voxels` modality."""

from __future__ import annotations

import attrs

from functa_core import option


@attrs.frozen
class VoxelsConfig:
    """What can be chosen; `functa config --modality voxels` prints it."""

    resolution: int | None = option(
        None,
        "cells a side. Meshes are voxelised at it (null: at 64, as in the paper); finer grids are "
        "reduced to it by a whole factor (null: as they are)",
        low=4,
    )
    labels: bool = option(
        True,
        "whether the first folder of a mesh or .binvox file that names no split is its class "
        "(an array file's labels are always read)",
    )
    up: str = option(
        "z",
        "axis that is up in pictures and GLB files; y for ShapeNet. Nothing else depends on it",
        choices=("x", "y", "z"),
    )
    loss: str = option(
        "squared_error",
        "squared_error: of the field against 0 and 1, as in the paper; bernoulli: the field is a "
        "logit, its sigmoid the probability that a cell is filled, the loss its cross-entropy, and "
        "meta.solver=meta-sgd learns faster",
        choices=("squared_error", "bernoulli"),
    )
    points: int | None = option(
        1024,
        "cells of each training step, drawn at random and the same for the whole batch, so that a "
        "step costs the same at any resolution. Few beside the latent's numbers are learned by "
        "heart. null: all",
        low=2,
    )
    near_surface: float = option(
        0.0,
        "share of these drawn from cells at the surface of a shape of the batch; weights keep the "
        "loss unbiased. 0: all cells alike",
        low=0,
        high=0.9,
    )
    fit_points: int | None = option(
        4096,
        "cells that a fit after training uses, the same ones for all shapes; figures are of more. "
        "null: all",
        low=1,
    )
    scored_points: int | None = option(
        None,
        "cells that figures are of (and fits use), the same random ones for all shapes; null: all. "
        "64^3 are 262144, and scoring thousands of such shapes takes longer than training",
        low=1,
    )
