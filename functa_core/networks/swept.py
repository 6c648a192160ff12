"""A layer's product and what follows it in one sweep, on a processor, by compiled C (`sweep.c`).

PyTorch takes a sine and a cosine one after the other, each with its own way into the interval where
it can be had, and reads and writes memory for each operation. In one sweep they cost a seventh of
that, and the longest line of the equations a half; when the sweep makes the product too, its result
is never read from memory again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ctypes import CDLL, byref

import attrs
import torch
from torch import Tensor

from functa_core.networks.buffers import Buffers
from functa_core.networks.compiled import FEW, Array, Layer, Work
from functa_core.networks.layers import Layers, PlainLayers, multiplied

ALONE = 2**14
"""Sums of `FEW` terms up to which one thread is sooner done than several are told."""
NARROW = 16
"""Coordinates of a signal below which a row is too short to be worth a loop of its own."""
SHORT = 48
"""Coordinates of a signal below which a library multiplies faster: to it all signals are one."""
WIDE = 512
"""Terms up to which a block of columns stays near enough to be multiplied here."""
WRITTEN = ("a", "x")
"""Arrays that lines change: a copy would be changed in their place."""


@attrs.frozen(eq=False)
class SweptLayers(Layers):
    """See `Layers`. A sweep calculates in float32, whatever is kept.

    Attributes:
        plain: for signals with few coordinates, and for an output of many channels.
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
        if x.shape[2] < NARROW:
            return self.plain.wave(matrix, x, shift, keep=keep)
        cosine = self._memory(matrix, x) if keep else None
        return self._sweep("wave", matrix, x, shift=shift.float(), cosine=cosine), cosine

    def back(self, matrix: Tensor, g: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Layers`."""
        if g.shape[2] < NARROW:
            return self.plain.back(matrix, g, cosine)
        bent, total = self._memory(matrix, g), self._totals(matrix, g)
        a = self._sweep("fold", matrix, g, total=total, cosine=cosine, x=bent)
        return a, bent, total[0]

    def along(
        self, matrix: Tensor, x: Tensor, direction: Tensor, cosine: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Layers`."""
        if x.shape[2] < NARROW:
            return self.plain.along(matrix, x, direction, cosine)
        assert len(matrix) == len(x)
        along = direction.to(self.plain.dtype)
        return self._sweep("along", matrix, x, along=along, cosine=cosine, x=x), x

    def fold(self, matrix: Tensor, q: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layers`."""
        if q.shape[2] < NARROW:
            return self.plain.fold(matrix, q, cosine)
        total = self._totals(matrix, q)
        found = self._sweep("fold", matrix, q, total=total, over=cosine, cosine=cosine)
        return found, total[0]

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
        if q.shape[2] < NARROW:
            return self.plain.bend(matrix, q, sine, cosine, a, z, spent=spent)
        x, total = z if spent else self.buffers.take(a.shape, a), self._totals(matrix, q)
        arrays = {"sine": sine, "cosine": cosine, "a": a, "along": z, "x": x}
        return self._sweep("bend", matrix, q, total=total, over=cosine, **arrays), total[0], x

    def mix(self, matrix: Tensor, x: Tensor) -> Tensor:
        """See `Layers`."""
        if len(matrix) > FEW:
            return self.plain.mix(matrix, x)
        result = matrix.new_empty((len(matrix), *x.shape[1:]))
        self._few(self.sweeps.mix, [matrix, x, result], *matrix.shape, x[0].numel())
        return result

    def share(self, few: Tensor, x: Tensor) -> Tensor:
        """See `Layers`."""
        if len(few) > FEW:
            return self.plain.share(few, x)
        result = few.new_empty((len(few), len(x)))
        self._few(self.sweeps.share, [few, x, result], *result.shape, x[0].numel())
        return result

    def _memory(self, matrix: Tensor, x: Tensor) -> Tensor:
        """For something as long as their product, of the type that is kept."""
        like = x.new_empty(0, dtype=self.plain.dtype)
        return self.buffers.take((len(matrix), *x.shape[1:]), like)

    def _sweep(
        self,
        line: str,
        matrix: Tensor,
        factor: Tensor,
        *,
        shift: Tensor | None = None,
        total: Tensor | None = None,
        over: Tensor | None = None,
        **arrays: Tensor | None,
    ) -> Tensor:
        """One line of the equations.

        Args:
            line: a function of `sweep.c`.
            matrix, factor: what is multiplied.
            shift, total, arrays: what its `layer` has, by its names. What is written is in one
                piece; what is read may lie otherwise, and is copied.
            over: of the arrays, where the result may be written if it is made here.

        Returns:
            The `result`.
        """
        threads = torch.get_num_threads()
        own = _is_made_here(matrix, factor)
        if own:
            factor = factor.float().contiguous()
            result = self._memory(matrix, factor) if over is None else over
        else:
            # Of the type that is kept whatever it is multiplied in: an operator may use autocast.
            result = multiplied(matrix, factor).to(self.plain.dtype)
        given = {k: each for k, each in arrays.items() if each is not None}
        assert all(each.dtype == self.plain.dtype for each in given.values())
        assert result.is_contiguous()
        assert all(given[k].is_contiguous() for k in WRITTEN if k in given)
        # Held until the line is done: a copy would be gone otherwise.
        there = {k: each.contiguous() for k, each in given.items()}
        shift = None if shift is None else shift.contiguous()
        layer = Layer(
            result=_array(result),
            shift=_address(shift),
            total=_address(total),
            units=len(matrix),
            signals=factor.shape[1],
            given=not own,
            **{name: _array(each) for name, each in there.items()},
        )
        room = self._room(matrix, threads) if own else None
        work = _work(matrix, factor, room, threads)
        getattr(self.sweeps, line)(byref(work), byref(layer))
        self.buffers.give([] if room is None else [room])
        return result

    def _room(self, matrix: Tensor, threads: int) -> Tensor:
        """For what a product copies: alike for all layers of a network, whatever goes into them."""
        most = max(matrix.shape)
        return self.buffers.take((self.sweeps.sweep_room(most, min(most, WIDE), threads),), matrix)

    def _totals(self, matrix: Tensor, x: Tensor) -> Tensor:
        """Memory for sums over coordinates: the first (W, G) takes them, the others help."""
        sums = self.sweeps.sweep_sums(x.shape[2])
        return x.new_empty((sums, len(matrix), x.shape[1]), dtype=torch.float32)

    def _few(self, line: Callable[..., None], arrays: Sequence[Tensor], *sizes: int) -> None:
        """One of the two products with few rows."""
        there = [each.contiguous() for each in arrays]
        most = max(each.numel() for each in there)
        line(
            *(each.data_ptr() for each in there),
            *sizes,
            1 if _alone(most) else torch.get_num_threads(),
        )


def _is_made_here(matrix: Tensor, factor: Tensor) -> bool:
    """Whether the sweep makes their product, which is sooner done or of another type."""
    terms = matrix.shape[1]
    return matrix.dtype == torch.float32 and (
        terms <= FEW or (terms <= WIDE and factor.shape[2] >= SHORT)
    )


def _work(matrix: Tensor, factor: Tensor, room: Tensor | None, threads: int) -> Work:
    """A product to be made in a room, or without one there already."""
    (units, terms), (signals, n) = matrix.shape, factor.shape[1:]
    down, right = matrix.stride()
    return Work(
        matrix=matrix.data_ptr(),
        down=down,
        right=right,
        x=factor.data_ptr(),
        terms=terms,
        units=units,
        signals=signals,
        n=n,
        room=_address(room),
        threads=1 if _alone(units * signals * n * (terms // FEW + 1)) else threads,
    )


def _array(tensor: Tensor) -> Array:
    return Array(tensor.data_ptr(), *tensor.shape[1:])


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _alone(numbers: int) -> bool:
    return numbers <= ALONE
