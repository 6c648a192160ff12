"""Memory that is used again.

A tensor of a few megabytes that is made anew in every pass costs several times what is computed
in it: the system hands out fresh pages, and each is cleared when it is first touched.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import torch
from torch import Tensor

SHAPES = 10
"""Of so many shapes buffers are kept: an update has a few, of whole and last groups and pieces."""
_Key = tuple[tuple[int, ...], torch.dtype, torch.device]


@attrs.define(eq=False)
class _Shelf:
    """Of one shape: what lies ready, and how often nothing did."""

    free: list[Tensor] = attrs.field(factory=list)
    missing: int = 0


class Buffers:
    """Tensors that were given back, by shape. What is never given back is garbage, as usual.

    More may be given than was taken: no more is kept than was ever missing. The shapes that were
    asked for last are kept.
    """

    def __init__(self) -> None:
        self._shelves: dict[_Key, _Shelf] = {}

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of this shape, of the type and on the device of another; it holds anything."""
        key = tuple(shape), like.dtype, like.device
        shelf = self._shelves.pop(key, None) or _Shelf()
        self._shelves[key] = shelf  # the last in order
        if shelf.free:
            return shelf.free.pop()
        shelf.missing += 1
        while len(self._shelves) > SHAPES:
            del self._shelves[next(iter(self._shelves))]
        return torch.empty(shape, dtype=like.dtype, device=like.device)

    def give(self, tensors: Iterable[Tensor]) -> None:
        """These are not read any more by whoever took them."""
        for tensor in tensors:
            shelf = self._shelves.get((tuple(tensor.shape), tensor.dtype, tensor.device))
            if shelf is not None and len(shelf.free) < shelf.missing:
                shelf.free.append(tensor)

    def count(self) -> int:
        """How many lie ready."""
        return sum(len(shelf.free) for shelf in self._shelves.values())

    def __deepcopy__(self, memo: object) -> Buffers:
        return Buffers()
