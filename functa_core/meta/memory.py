"""How much memory an update's tensors take, found by doing small ones.

A formula would be of one engine; this watches whatever engine there is. With as many signals in a
group, and in as many pieces, as the real update has, memory is linear in the number of signals and
in that of observations. So four small updates tell of any.
"""

from __future__ import annotations

import copy
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from functa_core.errors import UserError
from functa_core.meta.learner import Learner, MetaConfig
from functa_core.meta.outer import group_size, update
from functa_core.meta.problem import Problem

FEW = 512
"""Observations of a signal in the smallest update that is measured: below it the weights matter."""
SEVERAL = 8
"""Signals, and more than one group of them, that are like many: what they share pays for them."""
LEAST = 16
"""Observations that a piece has at least."""
GIGABYTE = 1e9


@attrs.frozen
class Plan:
    """How an update is cut to size.

    Its result is the same but for rounding, and for what noise a forward operator draws.

    Attributes:
        group: signals at a time.
        pieces: that the observations of a signal are cut into, one in memory at a time.
    """

    group: int
    pieces: int = 1

    def chunk(self, observations: int) -> int | None:
        """`Problem.chunk` for signals of so many observations."""
        return None if self.pieces == 1 else -(-observations // self.pieces)


@attrs.frozen
class Footprint:
    """What an update takes.

    Attributes:
        fixed: bytes of weights, gradients and the optimiser's moments.
        batch: bytes of a batch's observations.
        work: bytes of all else that is there at the peak.
        seconds: about; None if that was not measured.
        measured: signals and observations of each that the largest measured update had.
    """

    fixed: float
    batch: float
    work: float
    seconds: float | None
    measured: tuple[int, int]

    @property
    def peak(self) -> float:
        """Bytes of all tensors at the peak."""
        return self.fixed + self.batch + self.work


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that are made while it is on.

    Attributes:
        live: bytes that are there now.
        peak: most that ever were.
    """

    def __init__(self, there: Iterable[Tensor] = ()) -> None:
        """Count from here on; `there` are tensors that exist already."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: set[int] = set()
        for tensor in there:
            self._see(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Do what is asked, and count what it makes."""
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return made

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)  # PyTorch gives the same object for as long as there is the memory
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, key, size).atexit = False

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def footprint(
    learner: Learner, problem: Problem, config: MetaConfig, plan: Plan, patience: float = 0.0
) -> Footprint:
    """What an update of a problem takes.

    Args:
        learner: of the sizes that will be trained; it stays as it is.
        problem: a whole batch, or a process's part of one.
        config: of both loops.
        plan: how the update is cut.
        patience: seconds that a measured update may take before no larger one is tried. 0: the
            smallest ones tell, none is timed, and the same question gets the same answer.
    """
    signals, count = len(problem.observations), problem.observations.count
    few, many = _signals(signals, plan.group)

    def measure(size: int, part: Problem) -> tuple[float, float]:
        part = attrs.evolve(part.signals(0, size), whole=None)
        return _measured(learner, part, attrs.evolve(config, group=plan.group), patience > 0)

    parts = [_to_scale(problem, plan, max(FEW, 4 * LEAST * plan.pieces))]
    found = [measure(few, parts[0])]
    while _count(parts[-1]) < count and (len(parts) == 1 or found[-1][1] < patience):
        parts.append(_to_scale(problem, plan, 2 * _count(parts[-1])))
        found.append(measure(few, parts[-1]))
    parts, found = parts[-2:], found[-2:]
    if many > few:
        wider = [measure(many, part) for part in parts]
        found = [
            (_at(signals, few, many, p, q), _at(signals, few, many, s, t))
            for (p, s), (q, t) in zip(found, wider, strict=True)
        ]
    numbers = [_count(part) for part in parts]
    peak, seconds = found[-1]
    if len(found) == 2 and numbers[1] < count:
        peak, seconds = (_at(count, *numbers, *pair) for pair in zip(*found, strict=True))
    fixed = 4 * sum(_bytes(p) for p in learner.parameters())
    batch = sum(_bytes(t) for t in problem.observations.tensors())
    return Footprint(
        fixed,
        batch,
        max(0.0, peak - fixed - batch),
        seconds if patience else None,
        (many, numbers[-1]),
    )


def chosen(learner: Learner, problem: Problem, config: MetaConfig) -> Plan:
    """How to cut the updates of a problem so that their tensors take at most `max_memory`.

    Args:
        learner: of the sizes that will be trained; it stays as it is.
        problem: a whole batch, or a process's part of one.
        config: of both loops; `group` is not exceeded. Without a limit nothing is measured.

    Raises:
        UserError: not even the smallest pieces fit.
    """
    limit = None if config.max_memory is None else GIGABYTE * config.max_memory
    signals, count = len(problem.observations), problem.observations.count
    plan = Plan(min(config.group or group_size(problem), signals))
    while limit is not None:
        found = footprint(learner, problem, config, plan)
        alone, smallest = found.fixed + found.batch, count < 2 * plan.pieces * LEAST
        if found.peak <= limit:
            break
        if alone >= limit or (plan.group == 1 and smallest):
            least = alone if alone >= limit else found.peak
            raise UserError(
                f"meta.max_memory is {limit / GIGABYTE:g} GB, and an update takes at least "
                f"{least / GIGABYTE:.3g} GB.\nAllow more, or lower meta.batch_size, "
                "model.width, model.depth or the observations of a signal."
            )
        if plan.group > 1:
            room = (limit - alone) / found.work
            plan = Plan(max(1, min(plan.group // 2, int(plan.group * room))))
        else:
            plan = Plan(1, 2 * plan.pieces)
    return plan


def _signals(signals: int, group: int) -> tuple[int, int]:
    """How many to measure: twice, both with the last group that the whole has; or all."""
    few, last = group * -(-max(SEVERAL, 2 * group) // group), signals % group
    return (few + last, 2 * few + last) if 2 * few + last < signals else (signals, signals)


def _to_scale(problem: Problem, plan: Plan, number: int) -> Problem:
    """The problem with about so many observations, in pieces like those of the whole."""
    count = problem.observations.count
    chunk = plan.chunk(count)
    if number >= count or chunk is None:
        part = problem.observations.slice(0, min(number, count))
        return attrs.evolve(problem, observations=part, chunk=chunk)
    whole, last = divmod(count, chunk)
    small = -(-number * chunk // count)
    part = problem.observations.slice(0, whole * small + last * small // chunk)
    return attrs.evolve(problem, observations=part, chunk=small)


def _count(problem: Problem) -> int:
    return problem.observations.count


def _at(x: float, x0: float, x1: float, y0: float, y1: float) -> float:
    """A line through two points."""
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _measured(
    learner: Learner, problem: Problem, config: MetaConfig, timed: bool
) -> tuple[float, float]:
    """Peak bytes of an update, and its seconds."""
    learner = copy.deepcopy(learner)
    problem = attrs.evolve(problem, network=learner.network)
    optimiser = torch.optim.Adam(learner.parameters(), lr=config.lr)

    def step() -> None:
        update(learner, optimiser, problem, config, noise_seed=0)

    with Watch([*learner.parameters(), *problem.observations.tensors()]) as watch:
        step()  # makes the moments, and memory that is used again
        watch.peak = watch.live
        step()
    return watch.peak, _seconds(step, problem) if timed else 0.0


def _seconds(step: Callable[[], None], problem: Problem) -> float:
    device = problem.observations.values.device
    began = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
