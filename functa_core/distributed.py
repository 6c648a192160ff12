"""Several processes that work on one command, as `torchrun` starts them.

Every function here does the plain thing in a process that is alone. What a process may ask is few:
which one it is, what the others have to say, and the sum of what all have. Any of these ends with
`EndedElsewhere` when another process has ended. See docs/design/0010-scale.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from functa_core.errors import UserError, summary

if TYPE_CHECKING:  # torch takes a second to import, which --help shall not
    from torch import Tensor

T = TypeVar("T")

PATIENCE = timedelta(days=1)
"""That one process waits for another that is alive; one that has ended is noticed at once."""
CODE = "exit code"
"""Key of the first exit code other than 0, where all processes find it."""
LEFT = "left"
"""Key of how many processes need the store no longer."""
FAREWELL = 60.0
"""Seconds that the process that keeps the store waits for them."""


class EndedElsewhere(Exception):
    """Another process of this command has ended, so this one cannot go on."""


@attrs.define
class _Team:
    """This process among those of the command."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    store: Any = None
    deserted: bool = False  # by a process that ended without a word


_team = _Team()


def asked_for() -> bool:
    """Whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ


def started_first() -> bool:
    """Whether this process is the first of those that were started, joined or not."""
    return os.environ.get("RANK", "0") == "0"


def rank() -> int:
    """Which process this is, from 0."""
    return _team.rank


def count() -> int:
    """How many processes there are."""
    return _team.count


def local_rank() -> int:
    """Which of the processes on this machine this is, from 0."""
    return _team.local_rank


def is_first() -> bool:
    """Whether this process is the one that writes and speaks for all."""
    return _team.rank == 0


def together(work: Callable[[], int]) -> int:
    """Do the work as one of several processes.

    Args:
        work: returns an exit code; what it raises is its own affair.

    Returns:
        0 if that is what all have come to, else the code of the process that failed first.

    Raises:
        UserError: the processes do not find one another.
    """
    _join()
    code = 1
    try:
        code = _agreed(work())
    finally:
        _leave(code)
    return code


def _join() -> None:
    import torch
    import torch.distributed as dist

    # Its functions' defaults hold the connections for good if they are there when it is imported.
    import torch.distributed.nn.functional

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        met = dist.rendezvous("env://", timeout=PATIENCE)  # type: ignore[attr-defined]
        store, rank, count = next(met)
        own = dist.PrefixStore("functa", store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=own, rank=rank, world_size=count, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the processes that torchrun has started do not find one another: {summary(error)}.\n"
            "Start them with torchrun --standalone --nproc-per-node N -m functa_core …, or on "
            "several machines with one address and a free port for all."
        ) from error
    _team.rank, _team.count, _team.store = rank, count, own
    _team.local_rank = int(os.environ.get("LOCAL_RANK", "0"))


def _agreed(code: int) -> int:
    """The first code other than 0 of all processes that have ended."""
    if code == 0:
        return 0
    try:
        return int(_team.store.compare_set(CODE, "", str(code)))
    except (RuntimeError, ValueError):  # the process that keeps the store has ended
        return code


def code_elsewhere() -> int | None:
    """The exit code of the process that failed first, if one has."""
    try:
        said = _team.store is not None and _team.store.check([CODE])
        return int(_team.store.get(CODE)) if said else None
    except RuntimeError:  # the process that keeps the store has ended
        return None


def _leave(code: int) -> None:
    """Give up the connections while Python is whole, and the store when all have read it.

    A thread of theirs that lets go of its last tensor when Python has begun to end aborts the
    process. NCCL gives up together with the others, who are not there after a failure.
    """
    global _team
    import torch
    import torch.distributed as dist

    team, _team = _team, _Team()
    if code != 0 and torch.cuda.is_available():
        return
    dist.destroy_process_group()
    with suppress(RuntimeError):  # the process that keeps the store has ended
        left = team.store.add(LEFT, 1)
        keeps_store = team.rank == 0 and not team.deserted
        until = time.monotonic() + FAREWELL
        while keeps_store and left < team.count and time.monotonic() < until:
            time.sleep(0.01)
            left = team.store.add(LEFT, 0)


@contextmanager
def _with_others() -> Iterator[None]:
    """A block that needs all processes."""
    try:
        yield
    except RuntimeError as error:  # what the backends raise when a connection breaks
        _team.deserted = code_elsewhere() is None
        raise EndedElsewhere(summary(error)) from error


def from_first(value: T) -> T:
    """The value that the first process gives, in all of them; the others' are not looked at."""
    if count() == 1:
        return value
    import torch
    import torch.distributed as dist

    box = [value if is_first() else None]
    with _with_others():
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    told: Any = box[0]
    return told  # type: ignore[no-any-return]


def meet() -> None:
    """Wait until all processes are here."""
    any_of(False)


def any_of(flag: bool) -> bool:
    """Whether any process says so; the same answer in all. It waits for the others' hosts only."""
    if count() == 1:
        return flag
    import torch
    import torch.distributed as dist

    number = torch.tensor([float(flag)])
    with _with_others():
        dist.all_reduce(number)
    return bool(number > 0)


@contextmanager
def first_ahead() -> Iterator[None]:
    """A block that the first process goes through before the others do.

    What is wrong is found, said and cached once. If the first does not come through, nobody does.
    """
    if not is_first():
        from_first(None)
    yield
    if is_first():
        from_first(None)


def share(total: int) -> slice:
    """Which of `total` things in a row are this process's: as many as the others', within one."""
    first, last = (total * place // count() for place in (rank(), rank() + 1))
    return slice(first, last)


def largest_share(total: int) -> slice:
    """As many of them as any process has."""
    return slice(0, -(-total // count()))


def add_up(tensors: Sequence[Tensor]) -> None:
    """Sum over all processes, in place and by one exchange.

    Args:
        tensors: of one type and on one device, the same shapes in every process.
    """
    if count() == 1:
        return
    import torch
    import torch.distributed as dist

    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    with _with_others():
        dist.all_reduce(flat)
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))
