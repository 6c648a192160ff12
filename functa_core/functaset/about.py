"""What is true of all latents of a functaset: what they belong to, and how to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from functa_core.errors import UserError

SCHEMA_VERSION = 1
"""Raised when something that was written before would now be misread; additions do not raise it."""


@attrs.frozen
class About:
    """What is true of all latents of a functaset.

    Attributes:
        modality: its name.
        spec: domain, channels, value range and output offset, as JSON.
        state: the modality's prepared state, as JSON.
        split: "train", "test" or "all".
        weights_sha256: digest of the `weights.safetensors` the latents belong to.
        inner_steps: of the fit.
        versions: of the core and of the plugin; of latents that somebody else has published also
            the digest of their file, as "published".
    """

    modality: str
    spec: Mapping[str, Any]
    state: Mapping[str, Any]
    split: str
    weights_sha256: str
    inner_steps: int
    versions: Mapping[str, str]

    def tree(self) -> dict[str, Any]:
        """As JSON, with the schema version."""
        own = {field.name: getattr(self, field.name) for field in attrs.fields(About)}
        return {"schema_version": SCHEMA_VERSION, **own}

    @classmethod
    def of(cls, tree: Any, where: Path) -> About:
        """From JSON; keys that are not known are ignored.

        Args:
            tree: what `tree` made, among other keys.
            where: the file, for errors.

        Raises:
            UserError: of another schema version, or something is missing or of the wrong type.
        """
        if not isinstance(tree, dict):
            raise UserError(f"{where} is not a functaset: its description is missing.")
        version = tree.get("schema_version")
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{where} has functaset schema version {version}; this functa reads "
                f"{SCHEMA_VERSION}. Encode it again, or use the functa that wrote it."
            )
        for name, kind in _KINDS.items():
            if not isinstance(tree.get(name), kind):
                raise UserError(f"{where} is not a whole functaset: '{name}' is missing or wrong.")
        return cls(**{name: tree[name] for name in _KINDS})

    def check_weights(self, weights_sha256: str, where: Path) -> None:
        """Raise a `UserError` unless the latents belong to these weights."""
        if self.weights_sha256 != weights_sha256:
            raise UserError(
                f"the functaset {where} belongs to other weights ({self.weights_sha256[:12]}…) "
                f"than this run ({weights_sha256[:12]}…). Encode the data with this run."
            )


_KINDS: Mapping[str, type] = {
    "modality": str,
    "spec": dict,
    "state": dict,
    "split": str,
    "weights_sha256": str,
    "inner_steps": int,
    "versions": dict,
}


def joined(abouts: Sequence[About], names: Sequence[str]) -> About:
    """What is true of several functasets put together.

    Weights, inner steps, modality, spec and state are the same in all. The split is "all" unless
    they have it in common too; differing versions are listed.

    Args:
        abouts: of each, at least one.
        names: of each, for errors.

    Raises:
        UserError: two differ; names both and what differs.
    """
    first = abouts[0]
    for other, name in zip(abouts[1:], names[1:], strict=True):
        for key in ("modality", "weights_sha256", "inner_steps", "spec", "state"):
            ours, theirs = getattr(first, key), getattr(other, key)
            if ours != theirs:
                raise UserError(
                    f"{names[0]} and {name} cannot be put together: they differ in "
                    f"{_difference(key, ours, theirs)}."
                )
    splits = {about.split for about in abouts}
    keys = dict.fromkeys(key for about in abouts for key in about.versions)
    found = {k: {v for a in abouts for v in a.versions.get(k, "").split(", ")} for k in keys}
    return attrs.evolve(
        first,
        split=first.split if len(splits) == 1 else "all",
        versions={key: ", ".join(sorted(values - {""})) for key, values in found.items()},
    )


def _difference(key: str, ours: Any, theirs: Any) -> str:
    """Which entry of two differs, with both values where they are short."""
    if isinstance(ours, Mapping):
        inner = next(k for k in [*ours, *theirs] if ours.get(k, ...) != theirs.get(k, ...))
        key, ours, theirs = f"{key}.{inner}", ours.get(inner), theirs.get(inner)
    return f"{key} ({_short(ours)} and {_short(theirs)})"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
