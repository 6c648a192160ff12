"""Sets of fitted latents in the authors' shape: {split: {"modulation", "psnr"}}.

Their writer stores one PSNR for each signal, over all its values and with peak 1, as functasets do;
the one figure that it prints for a whole set is another thing, the PSNR of the mean error.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from functa_core.errors import UserError
from functa_core.files import write_atomic
from functa_core.functaset import SCHEMA_VERSION, Functaset
from functa_core.published.constructors import short, to_float32

SPLITS = ("train", "test")


@attrs.frozen(eq=False)
class Modulations:
    """Latents of one split.

    Attributes:
        latents: (n, Z) float32, finite.
        psnr_db: (n) float32, finite, of each signal.
    """

    latents: np.ndarray
    psnr_db: np.ndarray


def is_modulation_set(tree: Any) -> bool:
    """Whether a file's content looks like a modulation set."""
    return isinstance(tree, dict) and bool(tree) and all(split in SPLITS for split in tree)


def read_modulations(tree: Mapping[str, Any], where: str, numbers: int) -> dict[str, Modulations]:
    """From what the file holds.

    Args:
        tree: of which `is_modulation_set` is true.
        where: the file, for errors.
        numbers: Z of the network that they belong to.

    Raises:
        UserError: something is missing, of the wrong shape or not finite.
    """
    return {split: _read(content, f"{where}, {split}", numbers) for split, content in tree.items()}


def _read(content: Any, where: str, numbers: int) -> Modulations:
    if not isinstance(content, dict) or set(content) != {"modulation", "psnr"}:
        found = ", ".join(sorted(content)[:5]) if isinstance(content, dict) else short(content)
        raise UserError(f"{where}: 'modulation' and 'psnr' are needed, found {found}.")
    for name, array in content.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            raise UserError(f"{where}: '{name}' is no array of floating-point numbers.")
    latents, psnr = to_float32(content["modulation"]), to_float32(content["psnr"])
    if latents.ndim != 2 or latents.shape[1] != numbers or not len(latents):
        raise UserError(
            f"{where}: 'modulation' has shape {latents.shape}, but this run's latents need "
            f"(n, {numbers})."
        )
    if psnr.shape != latents.shape[:1]:
        raise UserError(
            f"{where}: 'psnr' has shape {psnr.shape}, but one number for each of "
            f"{len(latents)} signals is needed."
        )
    if not np.isfinite(latents).all() or not np.isfinite(psnr).all():
        raise UserError(f"{where} holds NaN or infinity as float32.")
    return Modulations(latents, psnr)


def to_functaset(
    modulations: Modulations, split: str, start: Sequence[float], about: Mapping[str, Any]
) -> Functaset:
    """As a functaset of the imported run.

    Args:
        modulations: as published.
        split: "train" or "test".
        start: Z numbers, where the published inner loop starts; ours starts at 0.
        about: the functaset's other attributes.
    """
    latents = modulations.latents.astype(np.float64) - np.asarray(start)
    return Functaset(
        latents=torch.tensor(latents, dtype=torch.float32),
        psnr_db=torch.tensor(modulations.psnr_db, dtype=torch.float32),
        labels=None,
        ids=[f"{split}/{i}" for i in range(len(latents))],
        split=split,
        **about,
    )


def is_export(path: Path) -> bool:
    """Whether a file is what `write_npz` writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
    return "about.npy" in names and any(name.endswith("/modulation.npy") for name in names)


def write_npz(functasets: Sequence[Functaset], path: Path, start: Sequence[float] | None) -> None:
    """One npz with keys SPLIT/modulation, SPLIT/psnr, SPLIT/ids, SPLIT/labels and about.

    Args:
        functasets: of different splits.
        path: written atomically.
        start: added to the latents, or None.
    """
    arrays: dict[str, np.ndarray] = {}
    for functaset in functasets:
        latents = functaset.latents.numpy()
        if start is not None:
            latents = (latents.astype(np.float64) + np.asarray(start)).astype(np.float32)
        arrays[f"{functaset.split}/modulation"] = latents
        arrays[f"{functaset.split}/psnr"] = functaset.psnr_db.numpy()
        arrays[f"{functaset.split}/ids"] = np.array(functaset.ids, dtype=np.str_)
        if functaset.labels is not None:
            arrays[f"{functaset.split}/labels"] = functaset.labels.numpy()
    first = functasets[0]
    about = {
        "schema_version": SCHEMA_VERSION,
        "modality": first.modality,
        "spec": first.spec,
        "state": first.state,
        "weights_sha256": first.weights_sha256,
        "inner_steps": first.inner_steps,
        "versions": first.versions,
        "latent_start": None if start is None else list(start),
    }
    arrays["about"] = np.array(json.dumps(about))
    content = io.BytesIO()
    # The keyword arguments are the keys; numpy's stub takes one of them for allow_pickle.
    np.savez(content, **arrays)  # type: ignore[arg-type]
    write_atomic(path, content.getvalue())
