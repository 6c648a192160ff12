"""Models of latents on disk: safetensors, with their options and what they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from safetensors import SafetensorError, safe_open
from torch import Tensor

from functa_core.errors import UserError
from functa_core.files import save_tensors

SCHEMA_VERSION = 1


@attrs.frozen(eq=False)
class Stored:
    """What is in the file of a model.

    Attributes:
        options: that it was fitted with.
        about: what the caller said when saving it (the weights the latents belong to, say).
        tensors: its numbers.
    """

    options: Mapping[str, Any]
    about: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @classmethod
    def of(
        cls,
        options: Mapping[str, Any],
        about: Mapping[str, Any],
        parts: Mapping[str, Mapping[str, Tensor]],
    ) -> Stored:
        """From a model's parts by name, each with its tensors."""
        tensors = {f"{part}.{name}": t for part, own in parts.items() for name, t in own.items()}
        return cls(options, about, tensors)

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part."""
        start = f"{name}."
        return {n.removeprefix(start): t for n, t in self.tensors.items() if n.startswith(start)}

    def save(self, path: Path, kind: str) -> None:
        """Write a safetensors file atomically; parent folders are made."""
        said = {
            "kind": kind,
            "schema_version": SCHEMA_VERSION,
            "options": dict(self.options),
            "about": dict(self.about),
        }
        save_tensors(path, self.tensors, {"functa": json.dumps(said)})

    @classmethod
    def load(cls, path: Path, kind: str) -> Stored:
        """Read a file that `save` wrote.

        Raises:
            UserError: no such file, not of this kind, or of another schema version.
        """
        if not path.is_file():
            raise UserError(f"there is no {kind} at {path}.")
        try:
            with safe_open(path, "pt") as file:
                said = json.loads((file.metadata() or {}).get("functa", "null"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, ValueError) as error:
            raise UserError(f"{path} is not a {kind}: {error}.") from error
        found = said.get("kind") if isinstance(said, dict) else None
        if found != kind:
            raise UserError(f"{path} is a safetensors file, but not a {kind} of functa.")
        if (version := said.get("schema_version")) != SCHEMA_VERSION:
            raise UserError(
                f"{path} has schema version {version}; this functa reads {SCHEMA_VERSION}. "
                "Make it again: functa generate --run RUN"
            )
        return cls(said["options"], said["about"], tensors)
