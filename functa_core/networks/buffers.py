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
    """Tensors that were given back, by shape. What is never given back is garbage, as usual.

    More may be given than was taken: no more is kept than was ever missing.
    """

    def __init__(self) -> None:
        self._free: dict[_Key, list[Tensor]] = defaultdict(list)
        self._missing: dict[_Key, int] = defaultdict(int)

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of this shape, of the type and on the device of another; it holds anything."""
        key = tuple(shape), like.dtype, like.device
        if self._free[key]:
            return self._free[key].pop()
        self._missing[key] += 1
        return torch.empty(shape, dtype=like.dtype, device=like.device)

    def give(self, tensors: Iterable[Tensor]) -> None:
        """These are not read any more by whoever took them."""
        for tensor in tensors:
            key = tuple(tensor.shape), tensor.dtype, tensor.device
            if len(self._free[key]) < self._missing[key]:
                self._free[key].append(tensor)

    def clear(self) -> None:
        """Let the memory go."""
        self._free.clear()

    def __deepcopy__(self, memo: object) -> Buffers:
        return Buffers()
