"""What follows a layer's product in one sweep, on a processor, by compiled C (`sweep.c`).

PyTorch takes a sine and a cosine one after the other, each with its own way into the interval where
it can be had, and reads and writes memory for each operation. Taken together in one sweep they cost
a seventh, and the longest line of the equations a half.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import CDLL, c_int, c_int64, c_void_p

import attrs
import torch
from torch import Tensor

from functa_core.networks.buffers import Buffers
from functa_core.networks.layers import Layers, PlainLayers, multiplied

ALONE = 2**14
"""Numbers up to which one thread is sooner done than several are told."""


@attrs.frozen(eq=False)
class SweptLayers(Layers):
    """See `Layers`; results of another type than what is kept are left to the plain ones.

    Attributes:
        plain: for these, which are those of the first and of the last layer in bfloat16.
        library: of `sweep.c` for the type that is kept.
        buffers: where memory comes from.
    """

    plain: PlainLayers
    library: CDLL
    buffers: Buffers

    def wave(
        self, matrix: Tensor, x: Tensor, shift: Tensor, *, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See `Layers`."""
        if not self._kept(matrix):
            return self.plain.wave(matrix, x, shift, keep=keep)
        z = multiplied(matrix, x)
        cosine = self.buffers.take(z.shape, z) if keep else None
        rows, n = z.shape[0] * z.shape[1], z.shape[2]
        self._do(self.library.wave, [z, shift.float(), cosine], rows, n)
        return z, cosine

    def back(self, matrix: Tensor, g: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Layers`."""
        if not self._kept(matrix):
            return self.plain.back(matrix, g, cosine)
        a = multiplied(matrix, g)
        bent = self.buffers.take(a.shape, a)
        return a, bent, self._fold(a, cosine, bent)

    def along(
        self, matrix: Tensor, x: Tensor, direction: Tensor, cosine: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Layers`."""
        if not self._kept(matrix):
            return self.plain.along(matrix, x, direction, cosine)
        z = multiplied(matrix, x)
        assert x.shape == z.shape
        direction = direction.to(z.dtype)
        sizes = (*z.shape[:2], cosine.shape[1], direction.shape[2], z.shape[2])
        self._do(self.library.along, [z, direction, cosine, x], *sizes)
        return z, x

    def fold(self, matrix: Tensor, q: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layers`."""
        if not self._kept(matrix):
            return self.plain.fold(matrix, q, cosine)
        p = multiplied(matrix, q)
        return p, self._fold(p, cosine, p)

    def bend(
        self, matrix: Tensor, q: Tensor, sine: Tensor, cosine: Tensor, a: Tensor, z: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Layers`."""
        if not self._kept(matrix):
            return self.plain.bend(matrix, q, sine, cosine, a, z)
        p = multiplied(matrix, q)
        total = p.new_empty(p.shape[:2], dtype=torch.float32)
        sizes = (*p.shape[:2], a.shape[1], z.shape[2], p.shape[2])
        self._do(self.library.bend, [p, sine, cosine, a, z, total], *sizes)
        return p, total

    def _kept(self, matrix: Tensor) -> bool:
        """Whether a product by this matrix is of the type that is kept."""
        return matrix.dtype == self.plain.dtype

    def _fold(self, a: Tensor, cosine: Tensor, into: Tensor) -> Tensor:
        """g = a c, and the sums that it gives."""
        total = a.new_empty(a.shape[:2], dtype=torch.float32)
        sizes = (*a.shape[:2], cosine.shape[1], a.shape[2])
        self._do(self.library.fold, [a, cosine, into, total], *sizes)
        return total

    def _do(self, line: Callable[..., None], arrays: list[Tensor | None], *sizes: int) -> None:
        """One line of the equations, on arrays of which only what is read may lie otherwise."""
        there = [each if each is None else each.contiguous() for each in arrays]
        first = there[0]
        threads = 1 if first is None or first.numel() <= ALONE else torch.get_num_threads()
        line(
            *(c_void_p(None if each is None else each.data_ptr()) for each in there),
            *map(c_int64, sizes),
            c_int(threads),
        )
