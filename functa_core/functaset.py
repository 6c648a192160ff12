"""Functasets: fitted latents on disk, with what is needed to turn them back into signals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from functa_core.errors import UserError
from functa_core.files import save_tensors

SCHEMA_VERSION = 1


@attrs.frozen(eq=False)
class Functaset:
    """n signals as latents, rows in file order.

    Attributes:
        latents: (n, *latent_shape) float32.
        psnr_db: (n) of each fit over all the signal's observations, in dB; NaN if it has none.
        labels: (n) index into the state's label names (-1: unknown), or None.
        ids: n, an index or a path each.
        modality: its name.
        spec: domain, channels, value range and output offset, as JSON.
        state: the modality's prepared state, as JSON.
        split: "train", "test" or "all".
        weights_sha256: digest of the `weights.safetensors` the latents belong to.
        inner_steps: of the fit.
        versions: of the core and of the plugin; of latents that somebody else has published also
            the digest of their file, as "published".
    """

    latents: Float[Tensor, "n *latent"]
    psnr_db: Float[Tensor, " n"]
    labels: Int[Tensor, " n"] | None
    ids: list[str]
    modality: str
    spec: Mapping[str, Any]
    state: Mapping[str, Any]
    split: str
    weights_sha256: str
    inner_steps: int
    versions: Mapping[str, str]

    def __len__(self) -> int:
        """The number of signals n."""
        return self.latents.shape[0]

    @property
    def published(self) -> bool:
        """Whether the latents are somebody else's fits, which nothing here can make again."""
        return "published" in self.versions

    def save(self, path: Path) -> None:
        """Write a safetensors file atomically; parent folders are made."""
        tensors = {"latents": self.latents, "psnr_db": self.psnr_db}
        if self.labels is not None:
            tensors["labels"] = self.labels
        about = {
            field.name: getattr(self, field.name)
            for field in attrs.fields(Functaset)
            if field.name not in _TENSORS
        }
        about["schema_version"] = SCHEMA_VERSION
        save_tensors(path, tensors, {"functa": json.dumps(about)})

    @classmethod
    def load(cls, path: Path) -> Functaset:
        """Read a file that `save` wrote.

        Raises:
            UserError: no such file, not a functaset, or one of another schema version.
        """
        if not path.is_file():
            raise UserError(f"there is no functaset at {path}.")
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {}).get("functa", "null"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, ValueError) as error:
            raise UserError(f"{path} is not a functaset: {error}.") from error
        if not isinstance(about, dict):
            raise UserError(f"{path} is a safetensors file, but not a functaset of functa.")
        version = about.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{path} has functaset schema version {version}; this functa reads "
                f"{SCHEMA_VERSION}. Encode it again, or use the functa that wrote it."
            )
        labels = tensors.pop("labels", None)
        try:
            return cls(labels=labels, **tensors, **about)
        except TypeError as error:
            raise UserError(f"{path} is not a whole functaset: {error}.") from error

    def check_weights(self, weights_sha256: str, where: Path) -> None:
        """Raise a `UserError` unless the latents belong to these weights."""
        if self.weights_sha256 != weights_sha256:
            raise UserError(
                f"the functaset {where} belongs to other weights ({self.weights_sha256[:12]}…) "
                f"than this run ({weights_sha256[:12]}…). Encode the data with this run."
            )


_TENSORS = ("latents", "psnr_db", "labels")


def latent_statistics(latents: Float[Tensor, "n *latent"]) -> dict[str, float]:
    """Mean, standard deviation and largest size of a latent's numbers, over all of them."""
    flat = latents.flatten()
    return {
        "mean": float(flat.mean()),
        "std": float(flat.std(correction=0)),
        "max_abs": float(torch.linalg.vector_norm(flat, ord=torch.inf)),
    }
