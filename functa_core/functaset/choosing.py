"""Which rows of a functaset are meant: by slice, by indices, by a mask or by label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from functa_core.errors import UserError, nearest

Choice = slice | Sequence[int] | np.ndarray | Tensor
"""Rows: a slice, indices (negative ones count from the end), or a mask of as many as there are."""


def chosen(choice: Choice, count: int) -> np.ndarray:
    """Indices of the chosen among `count` rows: int64, each in [0, count).

    Raises:
        IndexError: there is no such row, or a mask has another length.
        TypeError: it is neither slice, indices nor mask.
    """
    if isinstance(choice, slice):
        return np.arange(*choice.indices(count))
    array = np.asarray(choice)
    if array.ndim != 1:
        raise TypeError(
            "a functaset takes a slice, indices or a mask: functaset[3:4] is one signal, "
            "functaset.latents[3] its latent."
        )
    if array.dtype == bool:
        if len(array) != count:
            raise IndexError(f"a mask of {len(array)} for {count} signals")
        return np.flatnonzero(array)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"signals are chosen by whole numbers, not by {array.dtype}.")
    indices = array.astype(np.int64)
    outside = indices[(indices < -count) | (indices >= count)]
    if outside.size:
        raise IndexError(f"signal {outside[0]} of {count}")
    return np.where(indices < 0, indices + count, indices)


def required(labels: Tensor | None, purpose: str) -> Tensor:
    """The labels.

    Raises:
        UserError: there are none.
    """
    if labels is None:
        raise UserError(
            f"{purpose} needs labels, but this functaset has none. Encode data with labels."
        )
    return labels


def with_label(labels: Tensor, state: Mapping[str, Any], label: int | str) -> np.ndarray:
    """Indices of the signals that have a label.

    Args:
        labels: (n) index into the state's `label_names`.
        state: of the modality.
        label: its index (−1: those whose label is not known), or its name.

    Raises:
        UserError: there is no such label.
    """
    names = [str(name) for name in state.get("label_names", [])]
    if isinstance(label, str):
        if label not in names:
            raise UserError(
                f"there is no label '{label}'; there are: {', '.join(names) or 'no names'}."
                f"{nearest(label, names)}"
            )
        label = names.index(label)
    return np.flatnonzero(labels.numpy() == label)
