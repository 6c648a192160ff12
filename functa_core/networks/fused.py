"""A layer's product and what follows it in one kernel, on NVIDIA GPUs in bfloat16.

There a product of hidden layers takes about as long as reading and writing its result twice. So
what follows is done while the result is still in registers, in float32: one kernel instead of four
to seven, and no result rounded before its sine is taken. It needs Triton, which PyTorch brings on
Linux; where it is missing, and for float32, `PlainLayers` does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import attrs
import torch
from torch import Tensor

from functa_core.networks.buffers import Buffers
from functa_core.networks.layers import Layers, PlainLayers

try:
    import triton

    from functa_core.networks.kernels import line as kernel
except ImportError:
    triton = None

TILE = (128, 64, 64)
"""Rows and columns of a result that one program makes, and how much of the sum it takes at once."""
SUMMED = ("back", "fold", "bend")
"""Lines of which the sums over coordinates are needed."""
THIN = 16
"""Fewest terms of a sum for which the matrix units are used; coordinates and channels have less."""


@cache
def usable(device: torch.device) -> bool:
    """Whether there is Triton, and a GPU that multiplies bfloat16 (Ampere and later)."""
    if triton is None:
        return False
    if device.type == "cpu":
        return bool(triton.knobs.runtime.interpret)  # what tests have: kernels step by step
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


@attrs.frozen(eq=False)
class FusedLayers(Layers):
    """See `Layers`; what the kernel does not do is left to the plain ones.

    Attributes:
        plain: for what several signals share, and what the kernel is not for.
        buffers: where memory comes from.
    """

    plain: PlainLayers
    buffers: Buffers

    def wave(
        self, matrix: Tensor, x: Tensor, shift: Tensor, *, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See `Layers`."""
        sine = self._result(matrix, x)
        cosine = self._result(matrix, x) if keep else None
        self._launch("wave", matrix, x, [sine, cosine], shift=shift.unsqueeze(-1))
        return sine, cosine

    def back(self, matrix: Tensor, g: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Layers`."""
        if cosine.shape[1] != g.shape[1]:
            return self.plain.back(matrix, g, cosine)
        a, bent = self._result(matrix, g), self._result(matrix, g)
        total = self._launch("back", matrix, g, [a, bent], [cosine])
        return a, bent, total.sum(dim=-1)

    def along(
        self, matrix: Tensor, x: Tensor, direction: Tensor, cosine: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Layers`."""
        if cosine.shape[1] != x.shape[1]:
            return self.plain.along(matrix, x, direction, cosine)
        z, wave = self._result(matrix, x), self._result(matrix, x)
        self._launch("along", matrix, x, [z, wave], [cosine], shift=direction)
        self.buffers.give([x])
        return z, wave

    def fold(self, matrix: Tensor, q: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layers`."""
        folded = self._result(matrix, q)
        total = self._launch("fold", matrix, q, [folded, None], [cosine])
        return folded, total.sum(dim=-1)

    def bend(
        self, matrix: Tensor, q: Tensor, sine: Tensor, cosine: Tensor, a: Tensor, z: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Layers`."""
        if a.shape[1] != q.shape[1]:
            return self.plain.bend(matrix, q, sine, cosine, a, z)
        bent = self._result(matrix, q)
        total = self._launch("bend", matrix, q, [bent, a], [cosine, sine, a], shift=z)
        x = torch.mul(cosine, z, out=self.buffers.take(a.shape, a))
        return bent, total.sum(dim=-1), x

    def mix(self, matrix: Tensor, x: Tensor) -> Tensor:
        """See `Layers`."""
        return self.plain.mix(matrix, x)

    def share(self, few: Tensor, x: Tensor) -> Tensor:
        """See `Layers`."""
        return self.plain.share(few, x)

    def _result(self, matrix: Tensor, x: Tensor) -> Tensor:
        """Memory for a layer."""
        like = matrix.new_empty(0, dtype=torch.bfloat16)
        return self.buffers.take((len(matrix), *x.shape[1:]), like)

    def _launch(
        self,
        what: str,
        matrix: Tensor,
        x: Tensor,
        results: Sequence[Tensor | None],
        read: Sequence[Tensor] = (),
        shift: Tensor | None = None,
    ) -> Tensor:
        """Do one line of the equations.

        Args:
            what: which.
            matrix: (W, V).
            x: (V, G, n).
            results: (W, G, n) each, what the line gives.
            read: (W, G, n) each, what the line needs.
            shift: (W, G, #n), added to the product; of "bend" the tangents.

        Returns:
            Sums over the coordinates of each tile (W, G, tiles), if the line has any.
        """
        (rows, terms), (_, groups, count) = matrix.shape, x.shape
        tile = (
            min(TILE[0], _power(rows)),
            min(TILE[1], _power(count)),
            min(TILE[2], _power(terms)),
        )
        thin = terms < THIN
        whole = not (rows % tile[0] or count % tile[1] or (terms % tile[2] and not thin))
        across = triton.cdiv(count, tile[1])
        sums = across if what in SUMMED else 0
        partial = matrix.new_empty((rows, groups, sums), dtype=torch.float32)
        first, second = results
        there = [*read, *[read[0] if read else first] * (3 - len(read))]
        shift = matrix if shift is None else shift.contiguous()
        kernel[(triton.cdiv(rows, tile[0]) * across, groups)](
            matrix,
            x,
            *there,
            shift,
            first,
            first if second is None else second,
            partial,
            rows,
            terms,
            groups,
            groups * count,
            count,
            across,
            *matrix.stride(),
            *shift.stride()[:2],
            LINE=what,
            SECOND=second is not None,
            FLAT=shift.ndim < 3 or shift.shape[-1] == 1,
            THIN=thin,
            WHOLE=whole,
            WIDE=max(rows, terms) * groups * count >= 2**31,
            STEPPED=triton.knobs.runtime.interpret,
            ROWS=tile[0],
            COLUMNS=tile[1],
            TERMS=tile[2],
            num_warps=4,
            num_stages=4,
        )
        return partial


def _power(number: int) -> int:
    """The least power of two from it on, at least what a tile may measure."""
    return max(16, 1 << (number - 1).bit_length())
