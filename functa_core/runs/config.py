"""Configuration: the core's defaults, a modality's recipe, a file and the command line, in one."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union

import attrs
import cattrs
import yaml

from functa_core.dataset import DataSource
from functa_core.errors import UserError, nearest
from functa_core.meta.learner import MetaConfig
from functa_core.modality import Modality
from functa_core.networks.siren import SirenConfig
from functa_core.options import option
from functa_core.runs.finding import find_task
from functa_core.tasks.base import Task

T = TypeVar("T")
MERGE = "tag:yaml.org,2002:merge"
"""Of YAML's `<<`, which may stand in a mapping several times."""
Tree = dict[str, Any]


@attrs.frozen
class DataConfig:
    """Where signals come from."""

    path: str | None = option(
        None, "file or folder; null for the modality's embedded set", path=True
    )
    test_fraction: float = option(
        0.1, "share of signals held out where the data names no split", above=0, high=0.9
    )
    skip_bad: bool = option(False, "leave unreadable signals out, counting them")
    keep_gb: float = option(
        1.0,
        "gigabytes (1e9 bytes) of signals that stay in memory; those beyond are read again when "
        "they are needed. For plugins that can",
        low=0,
    )


@attrs.frozen
class RunConfig:
    """Everything that determines a run.

    Attributes:
        seed: of the split, the weights and every random choice.
        modality_name: of the plugin's modality.
        modality: its own options.
        plugin: absolute path of the plugin, if it is a file; None if it is installed.
        tasks: options of the modality's tasks, and of others that were configured, by name.
    """

    seed: int
    data: DataConfig
    modality_name: str
    modality: Any
    model: SirenConfig
    meta: MetaConfig
    tasks: Mapping[str, Any]
    plugin: str | None = None

    def source(self) -> DataSource:
        """The data as the modality is told of it."""
        path = None if self.data.path is None else Path(self.data.path)
        data = self.data
        keep = int(data.keep_gb * 1e9)
        return DataSource(path, data.test_fraction, self.seed, data.skip_bad, keep)

    def tree(self) -> Tree:
        """As plain values, in the layout of config.yaml."""
        file = {} if self.plugin is None else {"plugin": self.plugin}
        return {
            "seed": self.seed,
            "data": _plain(self.data),
            "modality": {"name": self.modality_name, **file, **_plain(self.modality)},
            "model": _plain(self.model),
            "meta": _plain(self.meta),
            "tasks": {name: _plain(options) for name, options in self.tasks.items()},
        }


def build_config(
    modality: type[Modality[Any]],
    layers: Sequence[tuple[str, Mapping[str, Any]]] = (),
    announced: Sequence[type[Task]] = (),
) -> RunConfig:
    """The complete configuration of a modality.

    Args:
        modality: its class; its recipe comes before all layers.
        layers: (where from, nested values), later ones win.
        announced: tasks of the modality's plugin.

    Raises:
        UserError: a key that does not exist (the nearest is offered), a wrong type, a value out of
            range, or another modality's configuration.
    """
    sections: dict[str, type] = {
        "data": DataConfig,
        "modality": modality.Config,
        "model": SirenConfig,
        "meta": MetaConfig,
    }
    merged: dict[str, Tree] = {name: {} for name in sections}
    tasks = _TaskSections(announced)
    tasks.merge(dict.fromkeys(modality.tasks), f"declared by '{modality.name}'")
    seed = 0
    for origin, layer in (("the recipe", modality.recipe), *layers):
        for name, values in layer.items():
            values = {} if values is None else values
            if name == "seed":
                seed = _seed(values, origin)
            elif name == "tasks":
                tasks.merge(values, origin)
            elif name not in sections:
                raise _unknown(name, [*sections, "seed", "tasks"], origin)
            else:
                _check_keys(name, values, sections[name], origin)
                merged[name].update(values)
    named = merged["modality"].pop("name", modality.name)
    if named != modality.name:
        raise UserError(
            f"the configuration is for modality '{named}', but '{modality.name}' was asked for."
        )
    plugin = merged["modality"].pop("plugin", None)
    parts: dict[str, Any] = {
        name: _structure(name, merged[name], cls) for name, cls in sections.items()
    }
    file = None if plugin is None else os.path.abspath(plugin)
    return RunConfig(
        seed=seed,
        modality_name=modality.name,
        tasks=tasks.structured(),
        plugin=file,
        **parts,
    )


def read_yaml(path: Path) -> Tree:
    """A configuration file.

    Raises:
        UserError: missing, not YAML, or not a mapping.
    """
    try:
        tree = yaml.load(path.read_text(), _Once)
    except OSError as error:
        raise UserError(f"the configuration {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).replace("\n", " ")
        raise UserError(f"the configuration {path} is not valid YAML: {first}.") from error
    if not isinstance(tree, dict | None):
        raise UserError(f"the configuration {path} has to be a mapping of sections.")
    return {str(key): value for key, value in (tree or {}).items()}


class _Once(yaml.SafeLoader):
    """YAML in which a key may not stand twice; PyYAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping.

        Raises:
            yaml.YAMLError: a key stands in it twice.
        """
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"'{key.value}' stands there twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_assignments(assignments: Sequence[str]) -> Tree:
    """`section.key=value` strings as nested values; values are YAML.

    Raises:
        UserError: no "=", no section, or a value that is not YAML.
    """
    tree: Tree = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        *sections, last = key.strip().split(".")
        if not equals or not last or (not sections and last != "seed") or "" in sections:
            raise UserError(f"--set takes section.key=value (meta.steps=500), got '{assignment}'.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"--set {assignment}: the value is not valid YAML.") from error
        inner: Any = tree
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise UserError(f"--set {assignment}: '{section}' was given a value of its own.")
        inner[last] = value
    return tree


def to_yaml(config: RunConfig) -> str:
    """The complete configuration, each option with its meaning as a comment."""
    tree = config.tree()
    classes: dict[str, Any] = {
        "data": DataConfig,
        "modality": type(config.modality),
        "model": SirenConfig,
        "meta": MetaConfig,
    }
    lines = [f"seed: {tree['seed']}"]
    for name, cls in classes.items():
        lines += [f"{name}:", *_option_lines(tree[name], cls, "  ")]
    lines.append("tasks:" if config.tasks else "tasks: {}")
    for name, values in tree["tasks"].items():
        lines += [f"  {name}:", *_option_lines(values, type(config.tasks[name]), "    ")]
    return "\n".join(lines) + "\n"


def _option_lines(values: Tree, cls: type, indent: str) -> list[str]:
    """Options as YAML, one a line."""
    helps = {f.name: f.metadata.get("help") for f in attrs.fields(cls)}
    lines = []
    for key, value in values.items():
        pair = yaml.safe_dump({key: value}, default_flow_style=True, width=10**6).strip()[1:-1]
        comment = f"  # {helps[key]}" if helps.get(key) else ""
        lines.append(f"{indent}{pair}{comment}")
    return lines


def differing(layer: Mapping[str, Any], tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Keys of `layer` whose values `tree` has otherwise."""
    found = []
    for key, value in layer.items():
        there = tree.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            found += differing(value, there, f"{prefix}{key}.")
        elif value != there:
            found.append(f"{prefix}{key}")
    return found


def _plain(instance: Any) -> Tree:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in attrs.asdict(instance).items()}


def _seed(value: Any, origin: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise UserError(
            f"seed must be a whole number from 0 to 2147483647, got {value!r} ({origin})."
        )
    return value


class _TaskSections:
    """The options of tasks while they are collected, and the tasks they are of."""

    def __init__(self, announced: Sequence[type[Task]]) -> None:
        self.announced = announced
        self.classes: dict[str, type[Task]] = {}
        self.values: dict[str, Tree] = {}

    def merge(self, values: Any, origin: str) -> None:
        """Put the options of a layer's section `tasks` over those that are there."""
        if not isinstance(values, Mapping):
            raise UserError(f"section 'tasks' must be a mapping, got {values!r} ({origin}).")
        for key, options in values.items():
            name = str(key)
            if name not in self.classes:
                self.classes[name] = find_task(name, self.announced, origin)
            options = {} if options is None else options
            _check_keys(f"tasks.{name}", options, self.classes[name].Config, origin)
            self.values.setdefault(name, {}).update(options)

    def structured(self) -> dict[str, Any]:
        """The options of each task as its own class."""
        return {
            name: _structure(f"tasks.{name}", values, self.classes[name].Config)
            for name, values in self.values.items()
        }


def _check_keys(section: str, values: Any, cls: type, origin: str) -> None:
    if not isinstance(values, Mapping):
        raise UserError(f"section '{section}' must be a mapping, got {values!r} ({origin}).")
    known = [f.name for f in attrs.fields(cls)]
    if section == "modality":
        known += ["name", "plugin"]
    for key in values:
        if key not in known:
            raise _unknown(f"{section}.{key}", [f"{section}.{k}" for k in known], origin)


def _unknown(key: str, known: Sequence[str], origin: str) -> UserError:
    return UserError(f"there is no option '{key}' ({origin})." + nearest(str(key), known))


def _structure(section: str, values: Tree, cls: type[T]) -> T:
    """An options class from plain values, each checked against its declared type."""
    hints = typing.get_type_hints(cls)
    arguments = {}
    for key, value in values.items():
        try:
            arguments[key] = _CONVERTER.structure(value, hints[key])
        except (TypeError, ValueError, cattrs.BaseValidationError) as error:
            wanted = _describe(hints[key])
            raise UserError(f"{section}.{key} must be {wanted}, got {value!r}.") from error
    try:
        return cls(**arguments)
    except ValueError as error:
        raise UserError(f"{section}.{error}.") from error


def _describe(hint: Any) -> str:
    """A declared type in words."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    if hint in words:
        return words[hint]
    if hint is type(None):
        return "null"
    arguments = typing.get_args(hint)
    if _is_union(hint):
        return " or ".join(_describe(argument) for argument in arguments)
    if _is_tuple(hint):
        if arguments[-1] is Ellipsis:
            return f"a list, each {_describe(arguments[0])}"
        return f"a list of {len(arguments)}, each {_describe(arguments[0])}"
    return str(hint)


def _strict(value: Any, cls: type) -> Any:
    """`value` if it is of the declared type and no other that Python would let pass for it."""
    if cls is float and not isinstance(value, bool):
        # PyYAML reads 3e-4, without a point, as a text.
        return float(value)
    if type(value) is not cls:
        raise TypeError(f"{value!r} is not {cls.__name__}")
    return value


def _is_union(hint: Any) -> bool:
    origin: Any = typing.get_origin(hint)
    return origin is Union or origin is types.UnionType


def _is_tuple(hint: Any) -> bool:
    origin: Any = typing.get_origin(hint)
    return origin is tuple


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    for cls in (int, float, str, bool):
        converter.register_structure_hook(cls, _strict)
    converter.register_structure_hook_func(_is_union, _structure_union)
    converter.register_structure_hook_func(_is_tuple, _structure_tuple)
    return converter


def _structure_union(value: Any, hint: Any) -> Any:
    for argument in typing.get_args(hint):
        if argument is type(None):
            if value is None:
                return None
            continue
        try:
            return _CONVERTER.structure(value, argument)
        except (TypeError, ValueError, cattrs.BaseValidationError):
            continue
    raise TypeError(f"{value!r} is none of {hint}")


def _structure_tuple(value: Any, hint: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} is not a list")
    arguments = typing.get_args(hint)
    if arguments[-1] is not Ellipsis and len(value) != len(arguments):
        raise TypeError(f"{value!r} has not {len(arguments)} entries")
    return tuple(_CONVERTER.structure(one, arguments[0]) for one in value)


_CONVERTER = _make_converter()
