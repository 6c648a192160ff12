"""Work that is recorded once on an NVIDIA GPU, and from then on played back as one piece.

An update is about two thousand small calls. A GPU does each in less time than Python takes to ask
for it, so it would wait most of the time. CUDA can record what was asked of it and do that again,
on other numbers in the same memory (a CUDA graph).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import torch
from torch import Tensor

from functa_core.console import warn
from functa_core.errors import summary
from functa_core.networks.base import ModulatedNetwork

if TYPE_CHECKING:
    from functa_core.meta.learner import Learner

Work = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]
"""From tensors to tensors; what it does besides is to the parameters' gradients alone."""


@attrs.frozen(eq=False)
class _Tape:
    """What was recorded, and the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    given: list[Tensor]
    results: tuple[Tensor, ...]
    gradients: list[Tensor | None]


class Recording:
    """Of one piece of work of one learner: the one that is done over and over.

    The second time in a row that the same is asked for, it is recorded. What waits for a value on
    the way cannot be recorded, and is simply done each time. That is found out before: a recording
    that fails leaves PyTorch's own random generator of the GPU unusable.
    """

    def __init__(self) -> None:
        self._last: Hashable = None
        self._tape: _Tape | None = None
        self._failed: set[Hashable] = set()

    def __deepcopy__(self, memo: object) -> Recording:
        return Recording()

    def do(
        self, work: Work, given: Sequence[Tensor], what: Hashable, learner: Learner
    ) -> tuple[Tensor, ...]:
        """The results of `work(given)`, which leaves gradients of a learner that has none yet.

        Args:
            work: reads no other tensors that change, and no random numbers.
            given: what it reads.
            what: the same for work that differs in these tensors' numbers alone.
            learner: whose parameters get gradients.
        """
        if given[0].device.type != "cuda":
            return work(given)
        what = (what, *((tuple(t.shape), t.stride(), t.dtype, t.device) for t in given))
        again, self._last = what == self._last, what
        if not again:
            self._tape = None
        elif self._tape is None and what not in self._failed:
            self._tape = _recorded(work, given, learner)
            if self._tape is None:
                self._failed.add(what)
        return work(given) if self._tape is None else _played(self._tape, given, learner)


def _recorded(work: Work, given: Sequence[Tensor], learner: Learner) -> _Tape | None:
    """The tape, which was not played yet; None if it cannot be had."""
    own = [tensor.clone() for tensor in given]
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    try:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), _refusing_to_wait():
            work(own)  # sets up what must not be on the tape
        torch.cuda.current_stream().wait_stream(stream)
        _cleared(learner)
        with torch.cuda.graph(graph):
            results = work(own)
        return _Tape(graph, own, results, [p.grad for p in learner.parameters()])
    except RuntimeError as error:
        warn(f"updates are not recorded for the GPU, which is slower: {summary(error)}.")
        return None
    finally:
        _cleared(learner)


@contextmanager
def _refusing_to_wait() -> Iterator[None]:
    """A `RuntimeError` wherever the processor would wait for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _cleared(learner: Learner) -> None:
    """Without gradients and buffers: a tape's memory is its own."""
    for parameter in learner.parameters():
        parameter.grad = None
    if isinstance(learner.network, ModulatedNetwork):
        learner.network.forget()
    gc.collect()
    torch.cuda.empty_cache()


def _played(tape: _Tape, given: Sequence[Tensor], learner: Learner) -> tuple[Tensor, ...]:
    for own, tensor in zip(tape.given, given, strict=True):
        own.copy_(tensor)
    tape.graph.replay()
    for parameter, gradient in zip(learner.parameters(), tape.gradients, strict=True):
        parameter.grad = gradient
    return tuple(result.clone() for result in tape.results)
