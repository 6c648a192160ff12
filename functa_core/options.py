"""Options: attrs fields that say what they mean and what they may be."""

import math
import os
from collections.abc import Sequence
from typing import Any

import attrs


def option(
    default: Any,
    help: str,  # noqa: A002 - the word everyone knows for it
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[Any] | None = None,
    path: bool = False,
) -> Any:
    """An attrs field for a configuration class.

    Args:
        default: its value when nobody says otherwise.
        help: meaning, unit and reason; printed beside it by `functa config`.
        low, high: the least and greatest value allowed.
        above: a bound the value must exceed.
        choices: the values allowed.
        path: of a file or folder; made absolute, so that a run is resumed from anywhere.
    """

    def check(_: Any, attribute: Any, value: Any) -> None:
        if path and value is not None and not value.strip():
            raise ValueError(f"{attribute.name} is empty; name a file or folder, or null for none")
        for one in value if isinstance(value, tuple) else (value,):
            problem = _problem(one, low, high, above, choices)
            if problem:
                raise ValueError(f"{attribute.name} must be {problem}, got {value!r}")

    return attrs.field(
        default=default,
        validator=check,
        converter=_absolute if path else None,
        metadata={"help": help},
    )


def _absolute(path: str | None) -> str | None:
    """Where a path leads from here; an empty one, which is refused, nowhere."""
    return os.path.abspath(path) if path and path.strip() else path


def _problem(
    value: Any,
    low: float | None,
    high: float | None,
    above: float | None,
    choices: Sequence[Any] | None,
) -> str | None:
    """What `value` would have to be, or None if it is that. None itself means "off"."""
    if value is None:
        return None
    if choices is not None and value not in choices:
        return "one of " + ", ".join(map(str, choices))
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if low is not None and value < low:
        return f"at least {low}"
    if above is not None and not value > above:
        return f"greater than {above}"
    if high is not None and value > high:
        return f"at most {high}"
    return None
