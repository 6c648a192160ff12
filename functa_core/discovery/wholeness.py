"""Whether what a plugin announces is whole, and of this core's version of the contract."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any

import attrs

from functa_core.benchmark import Benchmark
from functa_core.discovery.origin import Origin, PluginError
from functa_core.modality import API_VERSION, Modality
from functa_core.tasks.base import Task

RESERVED = ("name", "plugin")
"""What section `modality` of a configuration has beside the modality's own options."""


def check_named(
    origin: Origin, modalities: Sequence[Any], tasks: Sequence[Any] = ()
) -> tuple[Sequence[type[Modality[Any]]], Sequence[type[Task]]]:
    """The same classes, if that is what they are, each with a name.

    Raises:
        PluginError: they are something else.
    """
    for stage, base, announced in (
        ("its modalities", Modality, modalities),
        ("its tasks", Task, tasks),
    ):
        for cls in announced:
            if not (isinstance(cls, type) and issubclass(cls, base)):
                raise PluginError(origin, stage, f"{cls!r} is not a {base.__name__} class")
            if not isinstance(getattr(cls, "name", None), str):
                raise PluginError(origin, stage, f"{cls.__name__} has no name")
    return modalities, tasks


def check_class(modality: type[Modality[Any]]) -> type[Modality[Any]]:
    """The same class, if it is whole; of one that comes from no plugin.

    Raises:
        PluginError: it is not.
    """
    origin = Origin(modality.__qualname__, "", "Mend the class.")
    check_named(origin, [modality])
    check_modality(origin, modality)
    return modality


def check_modality(origin: Origin, modality: type[Modality[Any]]) -> None:
    """Raise a `PluginError` unless the class keeps this core's contract, as far as a class can."""
    stage, what = "its modalities", f"modality '{modality.name}'"
    _check_version(origin, stage, what, modality)
    _check_options(origin, stage, modality)
    for field in attrs.fields(modality.Config):
        if field.name in RESERVED:
            problem = f"option '{field.name}' of '{modality.name}' is a reserved name"
            raise PluginError(origin, stage, problem)
    wrong = _problem_of_members(modality, Modality) or _problem_of_attributes(modality)
    if wrong is not None:
        raise PluginError(origin, stage, wrong)


def _problem_of_attributes(modality: type[Modality[Any]]) -> str | None:
    """What is wrong with the class attributes that say something of the modality."""
    recipe: Any = modality.recipe
    if not isinstance(recipe, Mapping):
        return f"recipe of '{modality.name}' is {recipe!r} and no mapping of sections"
    tasks: Any = modality.tasks
    if isinstance(tasks, str) or not all(isinstance(name, str) for name in tasks):
        return f"tasks of '{modality.name}' are {tasks!r} and no sequence of names"
    sizes: Any = modality.benchmarks
    if not isinstance(sizes, Mapping) or not all(isinstance(s, Benchmark) for s in sizes.values()):
        return f"benchmarks of '{modality.name}' are {sizes!r} and no Benchmark objects by name"
    return None


def _problem_of_members(cls: type[Any], base: type[Any]) -> str | None:
    """What keeps the core from calling the members of a class as it calls those of its base."""
    for name, member in vars(base).items():
        here = inspect.getattr_static(cls, name)
        if here is member:
            continue
        if isinstance(member, property) and isinstance(here, FunctionType):
            return f"{name} of '{cls.name}' is a method; decorate it with @property"
        if isinstance(member, FunctionType | classmethod):
            wanted = _arguments(base, name)
            if not callable(getattr(cls, name)):
                return f"{name} of '{cls.name}' is {here!r} and no method"
            if not _takes(taken := _arguments(cls, name), wanted):
                return f"{name} of '{cls.name}' takes {taken}; it has to take {wanted}"
    return None


def _arguments(cls: type[Any], name: str) -> inspect.Signature:
    """What a member is called with, of an object or of the class, without types."""
    signature = inspect.signature(getattr(cls, name))
    known = list(signature.parameters.values())
    bound = isinstance(inspect.getattr_static(cls, name), FunctionType)
    if bound and known and known[0].kind is not known[0].VAR_POSITIONAL:
        del known[0]  # self
    return inspect.Signature([one.replace(annotation=one.empty) for one in known])


def _takes(own: inspect.Signature, wanted: inspect.Signature) -> bool:
    """Whether what takes some arguments can be given all of others, and the fewest of them."""
    known = list(wanted.parameters.values())
    try:
        own.bind(*known)
        own.bind(*[one for one in known if one.default is one.empty])
    except TypeError:
        return False
    return True


def check_task(origin: Origin, task: type[Task]) -> None:
    """Raise a `PluginError` unless the class keeps this core's contract, as far as a class can."""
    stage = "its tasks"
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", task.name):
        problem = (
            f"'{task.name}' cannot be a task's name, which is a command and a folder: small "
            "letters, digits, '_' and '-' are needed, beginning with a letter"
        )
        raise PluginError(origin, stage, problem)
    _check_version(origin, stage, f"task '{task.name}'", task)
    if not isinstance(getattr(task, "summary", None), str):
        raise PluginError(origin, stage, f"{task.__name__} lacks a summary")
    _check_options(origin, stage, task)
    wrong = _problem_of_members(task, Task)
    if wrong is not None:
        raise PluginError(origin, stage, wrong)


def _check_version(
    origin: Origin, stage: str, what: str, cls: type[Modality[Any]] | type[Task]
) -> None:
    """Raise unless the class is of this core's version of the contract, and complete."""
    wanted = getattr(cls, "api_version", None)
    if wanted not in (None, API_VERSION):
        problem = f"{what} is written for api_version {wanted}"
        fix = f"This functa-core has {API_VERSION}: install a core or a plugin of the same version."
        raise PluginError(origin, "its version", problem, fix)
    missing = sorted(cls.__abstractmethods__) + (["api_version"] if wanted is None else [])
    if missing:
        raise PluginError(origin, stage, f"{cls.__name__} lacks {', '.join(missing)}")


def _check_options(origin: Origin, stage: str, cls: type[Modality[Any]] | type[Task]) -> None:
    """Raise unless `Config` is an attrs class that can be made without arguments."""
    options = getattr(cls, "Config", None)
    if not (isinstance(options, type) and attrs.has(options)):
        raise PluginError(origin, stage, f"Config of '{cls.name}' is not an attrs class")
    for field in attrs.fields(options):
        if field.default is attrs.NOTHING:
            problem = f"option '{field.name}' of '{cls.name}' has no default"
            raise PluginError(origin, stage, problem)
