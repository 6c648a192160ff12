"""attrs and jaxtyping, as far as `gpu.py` and `kernels.py` need them, from the standard library.

Machines with a GPU often have PyTorch, and no way to fetch anything. `functa_core` needs the two to
write classes and shapes down; where they are missing, importing this puts these in their place.
What users run always has the real ones.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

MISSING = dataclasses.MISSING
Check = Callable[[Any, Any, Any], None]


class Described:
    """What `attrs.field` gives: a field, with what it checks and converts."""

    def __init__(
        self,
        default: Any = MISSING,
        *,
        factory: Any = MISSING,
        init: bool = True,
        validator: Check | None = None,
        converter: Callable[[Any], Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.checks = [] if validator is None else [validator]
        self.converter = converter
        self.field: Any = dataclasses.field(
            default=default, default_factory=factory, init=init, metadata=metadata
        )

    def validator(self, check: Check) -> Check:
        """Another check: a decorator of methods."""
        self.checks.append(check)
        return check


def _made(frozen: bool) -> Callable[..., Any]:
    """A decorator of classes, with or without arguments in brackets."""

    def decorate(cls: Any = None, *, eq: bool = True) -> Any:
        if cls is None:
            return lambda given: decorate(given, eq=eq)
        for name in vars(cls).get("__annotations__", {}):
            given = vars(cls).get(name)
            if type(given).__hash__ is None:  # attrs shares such a default, dataclasses refuse it
                setattr(cls, name, dataclasses.field(default_factory=partial(_same, given)))
        own = {name: each for name, each in vars(cls).items() if isinstance(each, Described)}
        for name, each in own.items():
            setattr(cls, name, each.field)
        after: Callable[[Any], None] | None = getattr(cls, "__post_init__", None)

        def checked(self: Any) -> None:
            if after is not None:
                after(self)
            for name, each in own.items():
                if each.converter is not None:
                    object.__setattr__(self, name, each.converter(getattr(self, name)))
                attribute = types.SimpleNamespace(name=name)
                for check in each.checks:
                    check(self, attribute, getattr(self, name))

        cls.__post_init__ = checked
        return dataclasses.dataclass(frozen=frozen, eq=eq)(cls)

    return decorate


def _same(default: Any) -> Any:
    return default


def _asdict(instance: Any, *, recurse: bool = True) -> dict[str, Any]:
    if recurse:
        return dataclasses.asdict(instance)
    return {field.name: getattr(instance, field.name) for field in dataclasses.fields(instance)}


def _attrs() -> types.ModuleType:
    module: Any = types.ModuleType("attrs")
    module.field = Described
    module.frozen, module.define = _made(frozen=True), _made(frozen=False)
    module.evolve, module.fields = dataclasses.replace, dataclasses.fields
    module.asdict = _asdict
    module.astuple = lambda instance, *, recurse: tuple(_asdict(instance, recurse=recurse).values())
    found: types.ModuleType = module
    return found


class Shaped:
    """`Float[Tensor, "n m"]` is a tensor, and says no more."""

    def __class_getitem__(cls, given: tuple[Any, str]) -> Any:
        return given[0]


def _jaxtyping() -> types.ModuleType:
    module: Any = types.ModuleType("jaxtyping")
    module.Float = module.Int = module.Bool = Shaped
    found: types.ModuleType = module
    return found


for name, make in (("attrs", _attrs), ("jaxtyping", _jaxtyping)):
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        sys.modules[name] = make()
