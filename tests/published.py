"""The authors' parameter names, mapped to ours (independently of any importer)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from functa_core.meta.learner import Learner

PARITY = Path(__file__).parent / "data" / "parity"
ROOT = "latent_modulated_siren/"
LATENT_VECTOR = ROOT + "~/latent_vector/latent_vector"


def our_tensors(file: Any, prefix: str, depth: int, maps: int) -> dict[str, torch.Tensor]:
    """Arrays under `prefix`, by our parameter names; weights transposed to (out, in)."""
    found = {}

    def put(ours: str, theirs: str) -> None:
        found[f"{ours}.weight"] = torch.from_numpy(file[f"{prefix}{ROOT}{theirs}/w"].T.copy())
        found[f"{ours}.bias"] = torch.from_numpy(file[f"{prefix}{ROOT}{theirs}/b"])

    for i in range(depth):
        suffix = f"_{i}" if i else ""
        put(f"network.layers.{i}", f"modulated_siren_layer{suffix}/linear")
    for i in range(maps):
        put(f"network.to_modulations.{2 * i}", f"~/latent_to_modulation/~/mlp/~/linear_{i}")
    found["solver.rates"] = torch.from_numpy(file[prefix + ROOT + "~/meta_sgd_lrs/meta_sgd_lrs"])
    return found


def load_weights(learner: Learner, file: Any, depth: int, maps: int) -> None:
    learner.load_state_dict(our_tensors(file, "param:", depth, maps))


def relative(ours: Any, theirs: Any) -> float:
    """Largest error over largest value."""
    ours = np.asarray(ours.detach() if isinstance(ours, torch.Tensor) else ours)
    theirs = np.asarray(theirs)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
