"""Configurations of google-deepmind/functa that are of scenes.

Depths and background are not in a configuration there, but in a table by data set; cameras are in
the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from functa_core import Published, UserError
from functa_nerf.cameras import Lens, Orbit

KIND = "scene"
NAMES = "srn"
"""How the names of the authors' sets of scenes begin."""
NEAR, FAR, SIDE = 0.8, 1.8, 128
"""Of SRN cars, in units of the poses, and pixels."""
BATCH = 1
"""Scenes of an update in the authors' experiment, on each device."""
ELEVATION = 20.0
"""Of the cameras in pictures, in degrees."""
DEFAULTS = {
    "points_per_ray": ("dataset", "num_points_per_ray", 32),
    "views": ("training", "subsample_num_views", 8),
    "rays": ("training", "subsample_num_points", 1024),
    "coord_noise": ("training", "coord_noise", False),
}
"""Our option: their section and key, and its value in the authors' experiment."""
MOST_RAYS = 10**7
"""Of one scene, and points of a ray: far above what any experiment draws."""


def recognise(config: Mapping[str, Any]) -> Published | None:
    """How rays were sampled, and cameras to look at scenes with.

    Raises:
        UserError: views of no possible size, or rays of no possible number.
    """
    dataset = config.get("dataset")
    if not isinstance(dataset, Mapping):
        return None
    notes = []
    kind, name = dataset.get("type"), str(dataset.get("name"))
    if kind is None:
        if not name.startswith(NAMES):
            return None
        notes.append(f"dataset.type is not in the file; taken as '{KIND}' from its name.")
    elif kind != KIND:
        return None
    options: dict[str, Any] = {"near": NEAR, "far": FAR, "white_background": True}
    for option, (section, key, default) in DEFAULTS.items():
        values = config.get(section)
        if isinstance(values, Mapping) and key in values:
            options[option] = values[key]
        else:
            options[option] = default
            notes.append(f"{section}.{key} is not in the file; taken as {default}, the authors'.")
    options["fit_rays"] = _fit_rays(options)
    side = dataset.get("resolution", SIDE)
    if type(side) is not int or side < 1:
        raise UserError("the configuration's dataset.resolution is not a number of pixels.")
    options["resolution"] = side
    notes.append(
        f"Depths ({NEAR} to {FAR}) and the white background are those of SRN cars; lens and orbit, "
        "which only pictures of one turn need, are made up to fit them."
    )
    return Published(options, _state(side), notes, batch_size=BATCH)


def _fit_rays(options: Mapping[str, Any]) -> int:
    """Rays of a fit after training: as many as a training step draws.

    The authors' evaluation takes 1,024 rays from each view that the fit sees; our `fit_rays` is a
    total, spread over those views. The two are equal where the fit sees 8 views.

    Raises:
        UserError: a number of rays, views or points that is none, or too large to be meant.
    """
    for option in ("points_per_ray", "views", "rays"):
        value = options[option]
        if type(value) is not int or not 1 <= value <= MOST_RAYS:
            section, key, _ = DEFAULTS[option]
            raise UserError(
                f"the configuration's {section}.{key} is not a whole number from 1 to "
                f"{MOST_RAYS:,}."
            )
    total: int = options["rays"] * options["views"]
    if total > MOST_RAYS:
        raise UserError(
            f"the configuration asks for {total:,} rays of a scene at once; at most "
            f"{MOST_RAYS:,} can be imported."
        )
    return total


def _state(side: int) -> dict[str, Any]:
    """What `Nerf.prepare` would have found: cameras that show all between near and far.

    The ball that fits between the two is centred at the origin and just fills the view. z is up, as
    in SRN's scenes.
    """
    radius = (NEAR + FAR) / 2
    half_angle = math.asin((FAR - NEAR) / 2 / radius)
    lens = Lens(side / 2 / math.tan(half_angle), side / 2, side / 2, side, side)
    orbit = Orbit((0.0, 0.0, 0.0), (0.0, 0.0, 1.0), radius, ELEVATION)
    return {
        "label_names": [],
        "lens": attrs.asdict(lens),
        "near": NEAR,
        "far": FAR,
        # No point lies further out than the far end of a ray from a camera that looks inwards.
        "bound": FAR,
        "orbit": attrs.asdict(orbit),
    }
