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
from functa_core.networks.products import bfloat16_pays, is_nvidia

try:
    import triton

    from functa_core.networks import kernels
except ImportError:
    triton = None


@attrs.frozen
class Tile:
    """What one program makes of a result, and how.

    Attributes:
        rows, columns: of the result.
        terms: of the sum that are taken at once.
        warps: of 32 threads, which share it.
        stages: so many parts of the sum are on their way at once.
        parts: of the columns, in which what follows the product is done: 1, 2 or 4.
        registers: that a thread may have at most; 0 for no limit.
    """

    rows: int
    columns: int
    terms: int
    warps: int
    stages: int
    parts: int
    registers: int

    def within(self, rows: int, columns: int, terms: int) -> Tile:
        """No larger than such a result needs."""
        columns = min(self.columns, _power(columns))
        return attrs.evolve(
            self,
            rows=min(self.rows, _power(rows)),
            columns=columns,
            terms=min(self.terms, _power(terms)),
            parts=min(self.parts, columns // LEAST),
        )


LARGE = Tile(128, 128, 64, warps=8, stages=3, parts=2, registers=128)
"""A square one reads its factors least often, which is what limits large layers; so many registers
let two programs be at work on a multiprocessor, one with its product, one with what follows."""
SMALL = Tile(128, 64, 64, warps=4, stages=3, parts=2, registers=0)
"""Where there are too few large ones to keep a GPU busy."""
MANY = 1024
"""Large tiles from which on they are taken."""
LEAST = 16
"""Rows, columns and terms that a tile has at least."""
SUMMED = ("back", "fold", "bend")
"""Lines of which the sums over coordinates are needed."""
THIN = 16
"""Fewest terms of a sum for which the matrix units are used; coordinates and channels have less."""
MIXED = (16, 128, 32)
"""The few rows at most, columns, and terms at once, of a program of `mix`."""
SHARED = (16, 32, 128)
"""The few rows at most, the many, and columns at once, of a program of `share`."""
PROGRAMS = 256
"""That `share` has about, where there are columns enough: more than GPUs have multiprocessors."""


@cache
def usable(device: torch.device) -> bool:
    """Whether there is Triton, and an NVIDIA GPU that multiplies bfloat16."""
    if triton is None:
        return False
    if device.type == "cpu":
        return bool(triton.knobs.runtime.interpret)  # what tests have: kernels step by step
    return is_nvidia(device) and bfloat16_pays(device)


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
        self._launch(
            "wave", matrix, x, sine, [] if cosine is None else [cosine], shift=shift.unsqueeze(-1)
        )
        return sine, cosine

    def back(self, matrix: Tensor, g: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Layers`."""
        a, bent = self._result(matrix, g), self._result(matrix, g)
        total = self._launch("back", matrix, g, a, [bent], [cosine])
        return a, bent, total.sum(dim=-1)

    def along(
        self, matrix: Tensor, x: Tensor, direction: Tensor, cosine: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Layers`."""
        z, wave = self._result(matrix, x), self._result(matrix, x)
        self._launch("along", matrix, x, z, [wave], [cosine], shift=direction)
        self.buffers.give([x])
        return z, wave

    def fold(self, matrix: Tensor, q: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layers`."""
        folded = self._result(matrix, q)
        total = self._launch("fold", matrix, q, folded, [], [cosine])
        return folded, total.sum(dim=-1)

    def bend(
        self,
        matrix: Tensor,
        q: Tensor,
        sine: Tensor,
        cosine: Tensor,
        a: Tensor,
        z: Tensor,
        *,
        spent: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Layers`."""
        if a.shape[1] != q.shape[1]:
            return self.plain.bend(matrix, q, sine, cosine, a, z, spent=spent)
        bent, x = self._result(matrix, q), self._result(matrix, q)
        total = self._launch("bend", matrix, q, bent, [a, x], [cosine, sine, a], shift=z)
        return bent, total.sum(dim=-1), x

    def mix(self, matrix: Tensor, x: Tensor) -> Tensor:
        """See `Layers`."""
        few, columns, terms = MIXED
        if len(matrix) > few:
            return self.plain.mix(matrix, x)
        count = x[0].numel()
        result = matrix.new_empty((len(matrix), *x.shape[1:]))
        kernels.mix[(triton.cdiv(count, columns),)](
            matrix,
            x,
            result,
            *matrix.shape,
            count,
            *matrix.stride(),
            WIDE=x.numel() >= 2**31,
            STEPPED=triton.knobs.runtime.interpret,
            FEW=few,
            COLUMNS=columns,
            TERMS=terms,
        )
        return result

    def share(self, few: Tensor, x: Tensor) -> Tensor:
        """See `Layers`."""
        most, rows, columns = SHARED
        if len(few) > most:
            return self.plain.share(few, x)
        count = x[0].numel()
        chunk = chunk_for(len(x), count)
        chunks = triton.cdiv(count, chunk)
        partial = few.new_empty((chunks, len(few), len(x)))
        kernels.share[(triton.cdiv(len(x), rows), chunks)](
            few,
            x,
            partial,
            len(few),
            len(x),
            count,
            WIDE=x.numel() >= 2**31,
            STEPPED=triton.knobs.runtime.interpret,
            FEW=most,
            ROWS=rows,
            COLUMNS=columns,
            CHUNK=chunk,
        )
        return partial.sum(dim=0)

    def _result(self, matrix: Tensor, x: Tensor) -> Tensor:
        """Memory for a layer."""
        like = matrix.new_empty(0, dtype=torch.bfloat16)
        return self.buffers.take((len(matrix), *x.shape[1:]), like)

    def _launch(
        self,
        what: str,
        matrix: Tensor,
        x: Tensor,
        first: Tensor,
        others: Sequence[Tensor] = (),
        read: Sequence[Tensor] = (),
        shift: Tensor | None = None,
    ) -> Tensor:
        """Do one line of the equations.

        Args:
            what: which.
            matrix: (W, V).
            x: (V, G, n).
            first: (W, G, n), what the line gives.
            others: (W, G, n) each, what it gives besides; at most two.
            read: (W, G, n) each, what the line needs; the cosines may be of one signal.
            shift: (W, G, #n), added to the product; of "bend" the tangents.

        Returns:
            Sums over the coordinates of each tile (W, G, tiles), if the line has any.
        """
        (rows, terms), (_, groups, count) = matrix.shape, x.shape
        half = matrix.dtype == torch.bfloat16  # coordinates and channels are not, and few
        tile = tile_for(what, half, rows, terms, groups, count)
        thin = terms < THIN
        whole = not (rows % tile.rows or count % tile.columns or (terms % tile.terms and not thin))
        across = triton.cdiv(count, tile.columns)
        sums = across if what in SUMMED else 0
        partial = matrix.new_empty((rows, groups, sums), dtype=torch.float32)
        second, third = [*others, *[first] * (2 - len(others))]
        there = [*read, *[read[0] if read else first] * (3 - len(read))]
        _, signals, each = there[0].shape
        shift = matrix if shift is None else shift.contiguous()
        kernels.line[(triton.cdiv(rows, tile.rows) * across, groups)](
            matrix,
            x,
            *there,
            shift,
            first,
            second,
            third,
            partial,
            rows,
            terms,
            groups,
            groups * count,
            count,
            across,
            *matrix.stride(),
            *shift.stride()[:2],
            signals * each,
            0 if signals < groups else each,
            LINE=what,
            SECOND=bool(others),
            FLAT=shift.ndim < 3 or shift.shape[-1] == 1,
            THIN=thin,
            WHOLE=whole,
            WIDE=max(rows, terms) * groups * count >= 2**31,
            STEPPED=triton.knobs.runtime.interpret,
            ROWS=tile.rows,
            COLUMNS=tile.columns,
            TERMS=tile.terms,
            PARTS=tile.parts,
            **options(tile),
        )
        return partial


def tile_for(what: str, half: bool, rows: int, terms: int, groups: int, count: int) -> Tile:
    """The tile for a line of the equations, of (rows, terms) times (terms, groups, count).

    `half` is whether these are bfloat16; of float32, large ones would fill the shared memory.
    """
    large = triton.cdiv(rows, LARGE.rows) * triton.cdiv(count, LARGE.columns) * groups
    tile = LARGE if half and large >= MANY else SMALL
    if what == "bend":  # it reads most, and would need more registers than there are
        tile = attrs.evolve(tile, parts=4)
    return tile.within(rows, count, terms)


def chunk_for(rows: int, count: int) -> int:
    """Columns whose sum one program of `share` makes."""
    _, most, columns = SHARED
    chunks = max(1, PROGRAMS // triton.cdiv(rows, most))
    return max(columns, _power(triton.cdiv(count, chunks)))


def options(tile: Tile) -> dict[str, int]:
    """How a tile is compiled."""
    found = {"num_warps": tile.warps, "num_stages": tile.stages}
    return found | ({"maxnreg": tile.registers} if tile.registers else {})


def _power(number: int) -> int:
    """The least power of two from it on, at least what a tile measures."""
    return max(LEAST, 1 << (number - 1).bit_length())
