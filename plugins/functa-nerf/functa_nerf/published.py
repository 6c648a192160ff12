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


def recognise(config: Mapping[str, Any]) -> Published | None:
    """How rays were sampled, and cameras to look at scenes with.

    Raises:
        UserError: views of no possible size.
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
    # Their evaluation fits to as many rays as a training step draws.
    options["fit_rays"] = options["rays"] * options["views"]
    side = dataset.get("resolution", SIDE)
    if type(side) is not int or side < 1:
        raise UserError("the configuration's dataset.resolution is not a number of pixels.")
    options["resolution"] = side
    notes.append(
        f"Depths ({NEAR} to {FAR}) and the white background are those of SRN cars; lens and orbit, "
        "which only pictures of one turn need, are made up to fit them."
    )
    return Published(options, _state(side), notes, batch_size=BATCH)


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
