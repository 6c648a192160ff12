"""What is asked of the options of a modality and of a task alike."""

from __future__ import annotations

from typing import Any

import attrs

from functa_core.testing.check import require


def require_options(options: Any) -> None:
    """Raise a `Nonconformity` unless an object's fields are explained and never change."""
    cls = type(options)
    require(attrs.has(cls), "Config is an attrs class", cls, "Decorate it with attrs.frozen.")
    for field in attrs.fields(cls):
        explained = field.metadata.get("help")
        require(
            explained,
            f"option '{field.name}' is explained",
            "no help",
            "Make it with functa_core.option(default, help).",
        )
        try:
            setattr(options, field.name, getattr(options, field.name))
        except attrs.exceptions.FrozenInstanceError:
            continue
        require(False, "options never change", "they can be set", "Use attrs.frozen.")
