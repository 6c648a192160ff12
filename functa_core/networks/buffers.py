"""Memory that is used again.

A tensor of a few megabytes that is made anew in every pass costs several times what is computed
in it: the system hands out fresh pages, and each is cleared when it is first touched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

_Key = tuple[tuple[int, ...], torch.dtype, torch.device]


class Buffers:
    """Tensors that were given back, by shape. What is never given back is garbage, as usual."""

    def __init__(self) -> None:
        self._free: dict[_Key, list[Tensor]] = defaultdict(list)

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of this shape, of the type and on the device of another; it holds anything."""
        free = self._free[shape, like.dtype, like.device]
        return free.pop() if free else torch.empty(shape, dtype=like.dtype, device=like.device)

    def give(self, tensors: Iterable[Tensor]) -> None:
        """These are not read any more by whoever took them."""
        for tensor in tensors:
            self._free[tuple(tensor.shape), tensor.dtype, tensor.device].append(tensor)

    def clear(self) -> None:
        """Let the memory go."""
        self._free.clear()

    def __deepcopy__(self, memo: object) -> Buffers:
        return Buffers()
