"""Run-time checks of shapes and types, for the first calls of each function in a test.

An int is a fine float, as everywhere in Python. After `ENOUGH` calls a function has shown what it
takes and gives: the thousands that follow in a loop would double the time of a test.
"""

import functools
import inspect
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

ENOUGH = 4
_strict = beartype(conf=BeartypeConf(is_pep484_tower=True))
_calls: Counter[tuple[str, str]] = Counter()
_trusted: list[Any] = []


def check(signature: Callable[..., Any]) -> Callable[..., Any]:
    """Check calls of an empty function that jaxtyping calls before, and after, the real one."""
    checked = _strict(signature)
    name = (signature.__module__, signature.__qualname__)

    @functools.wraps(checked)
    def counting(*args: Any, **kwargs: Any) -> Any:
        result = checked(*args, **kwargs)
        _calls[name] += 1
        if _calls[name] == 2 * ENOUGH:
            _trust(*name)
        return result

    return counting


def begin() -> None:
    """Check everything again, so that what a test finds does not depend on those before it."""
    _calls.clear()
    for function in _trusted:
        function.__no_type_check__ = False
    _trusted.clear()


def _trust(module: str, qualname: str) -> None:
    """Have jaxtyping call a function as it is; one made inside another is checked always."""
    found: Any = sys.modules[module]
    for part in qualname.split("."):
        found = inspect.getattr_static(found, part, None)
    if isinstance(found, classmethod | staticmethod):
        found = found.__func__
    elif isinstance(found, property):
        found = found.fget
    while inspect.isfunction(found):  # other decorators around jaxtyping's, and the function in it
        _trusted.append(found)
        _trusted[-1].__no_type_check__ = True
        found = getattr(found, "__wrapped__", None)
