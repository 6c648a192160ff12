"""What follows a layer's product in one sweep, on a processor, by compiled C (`sweep.c`).

PyTorch takes a sine and a cosine one after the other, each with its own way into the interval where
it can be had, and reads and writes memory for each operation. Taken together in one sweep they cost
a seventh, and the longest line of the equations a half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ctypes import CDLL

import attrs
import torch
from torch import Tensor

from functa_core.networks.buffers import Buffers
from functa_core.networks.compiled import FEW
from functa_core.networks.layers import Layers, PlainLayers, multiplied

ALONE = 2**14
"""Numbers up to which one thread is sooner done than several are told."""
NARROW = 16
"""Coordinates of a signal below which a row is too short to be worth a loop of its own."""


@attrs.frozen(eq=False)
class SweptLayers(Layers):
    """See `Layers`. Products with few terms are part of the sweep, and float32 whatever is kept.

    Attributes:
        plain: for what has many terms and is of another type than what is kept, and for signals
            with few coordinates.
        sweeps: the functions of `sweep.c` for the type that is kept.
        buffers: where memory comes from.
    """

    plain: PlainLayers
    sweeps: CDLL
    buffers: Buffers

    def wave(
        self, matrix: Tensor, x: Tensor, shift: Tensor, *, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See `Layers`."""
        if not self._suits(matrix, x):
            return self.plain.wave(matrix, x, shift, keep=keep)
        z, factors, terms = self._product(matrix, x)
        cosine = self.buffers.take(z.shape, z) if keep else None
        self._do(self.sweeps.wave, [z, shift.float(), cosine, *factors], terms, *z.shape)
        return z, cosine

    def back(self, matrix: Tensor, g: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Layers`."""
        if not self._suits(matrix, g):
            return self.plain.back(matrix, g, cosine)
        a, factors, terms = self._product(matrix, g)
        bent = self.buffers.take(a.shape, a)
        return a, bent, self._fold(a, cosine, bent, factors, terms)

    def along(
        self, matrix: Tensor, x: Tensor, direction: Tensor, cosine: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Layers`."""
        if not self._suits(matrix, x):
            return self.plain.along(matrix, x, direction, cosine)
        z = self._multiplied(matrix, x)
        assert x.shape == z.shape
        direction = direction.to(z.dtype)
        sizes = (*z.shape[:2], cosine.shape[1], direction.shape[2], z.shape[2])
        self._do(self.sweeps.along, [z, direction, cosine, x], *sizes)
        return z, x

    def fold(self, matrix: Tensor, q: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layers`."""
        if not self._suits(matrix, q):
            return self.plain.fold(matrix, q, cosine)
        p, factors, terms = self._product(matrix, q)
        return p, self._fold(p, cosine, p, factors, terms)

    def bend(
        self, matrix: Tensor, q: Tensor, sine: Tensor, cosine: Tensor, a: Tensor, z: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Layers`."""
        if not self._suits(matrix, q):
            return self.plain.bend(matrix, q, sine, cosine, a, z)
        p, factors, terms = self._product(matrix, q)
        x = self.buffers.take(a.shape, a)
        total = p.new_empty(p.shape[:2], dtype=torch.float32)
        sizes = (terms, *p.shape[:2], a.shape[1], z.shape[2], p.shape[2])
        self._do(self.sweeps.bend, [p, sine, cosine, a, z, x, total, *factors], *sizes)
        return p, total, x

    def mix(self, matrix: Tensor, x: Tensor) -> Tensor:
        """See `Layers`."""
        if len(matrix) > FEW:
            return self.plain.mix(matrix, x)
        result = matrix.new_empty((len(matrix), *x.shape[1:]))
        self._do(self.sweeps.mix, [matrix, x, result], *matrix.shape, x[0].numel())
        return result

    def share(self, few: Tensor, x: Tensor) -> Tensor:
        """See `Layers`."""
        if len(few) > FEW:
            return self.plain.share(few, x)
        result = few.new_empty((len(few), len(x)))
        self._do(self.sweeps.share, [few, x, result], *result.shape, x[0].numel())
        return result

    def _suits(self, matrix: Tensor, x: Tensor) -> bool:
        """Whether their product is made in the sweep or of the type that is kept, in long rows."""
        kept = matrix.shape[1] <= FEW or matrix.dtype == self.plain.dtype
        return kept and x.shape[-1] >= NARROW

    def _multiplied(self, matrix: Tensor, x: Tensor) -> Tensor:
        """Of the type that is kept whatever it is multiplied in: an operator may use autocast."""
        return multiplied(matrix, x).to(self.plain.dtype)

    def _product(self, matrix: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor | None], int]:
        """What a line works on: the product, or memory for it, its factors and how many terms."""
        if matrix.shape[1] > FEW:
            return self._multiplied(matrix, x), [None, None], 0
        like = matrix.new_empty(0, dtype=self.plain.dtype)
        memory = self.buffers.take((len(matrix), *x.shape[1:]), like)
        return memory, [matrix.float(), x.float()], matrix.shape[1]

    def _fold(
        self, a: Tensor, cosine: Tensor, into: Tensor, factors: list[Tensor | None], terms: int
    ) -> Tensor:
        """g = a c, and the sums that it gives."""
        total = a.new_empty(a.shape[:2], dtype=torch.float32)
        sizes = (terms, *a.shape[:2], cosine.shape[1], a.shape[2])
        self._do(self.sweeps.fold, [a, cosine, into, total, *factors], *sizes)
        return total

    def _do(self, line: Callable[..., None], arrays: Sequence[Tensor | None], *sizes: int) -> None:
        """One line of the equations.

        Args:
            line: one of the sweeps.
            arrays: in its order. What is written is in one piece; what is read may lie otherwise,
                and is copied.
            sizes: in its order.
        """
        # Held until the line is done: a copy would be gone otherwise.
        there = [None if each is None else each.contiguous() for each in arrays]
        most = max(each.numel() for each in there if each is not None)
        line(
            *(None if each is None else each.data_ptr() for each in there),
            *sizes,
            1 if most <= ALONE else torch.get_num_threads(),
        )
