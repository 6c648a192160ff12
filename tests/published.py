"""The authors' parameter names, mapped to ours (independently of any importer), and their files."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from functa_core.meta.learner import Learner
from functa_core.published.unpickling import unpickle

PARITY = Path(__file__).parent / "data" / "parity"
ROOT = "latent_modulated_siren/"
LATENT_VECTOR = ROOT + "~/latent_vector/latent_vector"
START, _ = LATENT_VECTOR.rsplit("/", 1)
NUMPY, JAX = (PARITY / f"release_format_{kind}.npz" for kind in ("numpy", "jax"))


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


def released() -> dict[str, Any]:
    """What both files hold; to be edited."""
    tree: dict[str, Any] = copy.deepcopy(unpickle(NUMPY.read_bytes()))
    return tree


def written(tree: Any, path: Path) -> Path:
    """A file like the published ones."""
    path.write_bytes(pickle.dumps(tree, protocol=4))
    return path


def edit(*path: str, to: Any = None, remove: bool = False) -> Any:
    """An edit of what the file holds."""

    def apply(tree: Any) -> None:
        for key in path[:-1]:
            tree = tree[key]
        if remove:
            del tree[path[-1]]
        else:
            tree[path[-1]] = to

    return apply


def modulation_set(seed: int = 0) -> dict[str, Any]:
    """Random modulations of both splits, as the authors publish theirs."""
    rng = np.random.default_rng(seed)
    return {
        split: {
            "modulation": rng.normal(size=(n, 16)).astype(np.float32),
            "psnr": rng.uniform(20, 30, n).astype(np.float32),
        }
        for split, n in (("train", 5), ("test", 3))
    }
