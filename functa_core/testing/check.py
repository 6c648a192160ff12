"""What a check is, and the three ways in which it can end other than well."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
from torch import Tensor

from functa_core.blame import WrongAnswer

if TYPE_CHECKING:
    from functa_core.testing.subject import Subject


class Nonconformity(AssertionError):
    """A modality breaks a promise: says what was asked, what was found and what to do."""


class Inapplicable(Exception):
    """The modality has nothing that this check could look at; says why."""


class NotReady(Exception):
    """Something that a check needs could not be made, which is another check's finding.

    Attributes:
        check: the name of the check whose finding it is.
    """

    def __init__(self, check: str, problem: str) -> None:
        super().__init__(problem)
        self.check = check


@attrs.frozen
class Check:
    """One promise.

    Attributes:
        name: what it is called in reports and in `expected_failures`.
        summary: the promise in a sentence or two.
        run: raises `Nonconformity` if the subject breaks it.
    """

    name: str
    summary: str
    run: Callable[[Subject], None]

    @classmethod
    def of(cls, function: Callable[[Subject], None]) -> Check:
        """A check that is called as its function is, and says what its docstring says first."""
        paragraph = (inspect.getdoc(function) or "").partition("\n\n")[0]
        return cls(function.__name__.replace("_", "-"), " ".join(paragraph.split()), function)


def require(holds: object, asked: str, found: object, remedy: str) -> None:
    """Raise a `Nonconformity` with these three parts unless `holds`."""
    if not holds:
        raise Nonconformity(f"Asked: {asked}. Found: {found}. {remedy}")


def require_tensor(what: str, found: object) -> Tensor:
    """The same object, if it is a tensor; else raise a `Nonconformity`."""
    kind = type(found).__name__
    require(isinstance(found, Tensor), f"{what} a torch.Tensor", kind, "Convert it.")
    assert isinstance(found, Tensor)
    return found


def located(error: BaseException) -> str:
    """An unexpected error in a line: its type, its message and the place that raised it."""
    if isinstance(error, WrongAnswer):  # which says all, and is raised by the core
        return f"{error}."
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})" if trace else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}{where}"
