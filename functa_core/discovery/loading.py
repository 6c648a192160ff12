"""Loading one plugin, without letting it spoil anything else.

pluggy's `load_setuptools_entrypoints` would let one bad import end every command, so each entry
point is loaded by itself here, and only the one that was asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

import attrs
import pluggy

from functa_core.blame import remember
from functa_core.discovery import hookspecs
from functa_core.discovery.installed import find, installed, owner, owner_name, owner_version
from functa_core.errors import UserError, summary
from functa_core.modality import API_VERSION, Modality

T = TypeVar("T")

RESERVED = ("name", "plugin")
"""What section `modality` of a configuration has beside the modality's own options."""


@attrs.frozen
class Origin:
    """Where a plugin comes from.

    Attributes:
        label: its distribution and version, or its file, as messages name it.
        version: of the distribution, or of the file's content.
        fix: what to do when it fails.
        file: absolute path, for a plugin that is a file.
        sha256: of that file.
    """

    label: str
    version: str
    fix: str
    file: str | None = None
    sha256: str | None = None


class PluginError(UserError):
    """A plugin could not be loaded: names where it comes from, the stage and the fix.

    Attributes:
        stage: "import", "its hooks", "its modalities" or "its version".
    """

    def __init__(self, origin: Origin, stage: str, problem: str, fix: str | None = None) -> None:
        super().__init__(f"plugin {origin.label} failed at {stage}: {problem}. {fix or origin.fix}")
        self.stage = stage


@attrs.frozen(eq=False)
class Plugin:
    """A modality, and the plugin it came from.

    Attributes:
        modality: the class.
        origin: of the plugin.
        announced: names of all modalities that the plugin announces.
        manager: with the plugin registered, for its observers.
    """

    modality: type[Modality[Any]]
    origin: Origin
    announced: Sequence[str]
    manager: pluggy.PluginManager

    @property
    def version(self) -> str:
        """Of the distribution, or of the file's content."""
        return self.origin.version

    def announce(self, event: hookspecs.Event) -> None:
        """Tell the plugin's observers; what they raise is reported once and changes nothing."""
        for implementation in list(self.manager.hook.functa_event.get_hookimpls()):
            try:
                implementation.function(event)
            except (Exception, SystemExit) as error:  # whatever it does, the run goes on
                print(
                    f"functa: the observer of plugin '{implementation.plugin_name}' raised "
                    f"{type(error).__name__}: {error}; it is not asked again.",
                    file=sys.stderr,
                )
                self.manager.unregister(implementation.plugin)


def load_plugin(name: str) -> Plugin:
    """Load what announces the modality `name`, and nothing else.

    Raises:
        UserError: it is not installed, or its plugin failed; says at which stage.
    """
    return load_entry(find(name))


def load_working() -> tuple[list[Plugin], list[UserError]]:
    """Every installed plugin that can be loaded, and why the others cannot.

    For what no single plugin can be named for; a run loads only its own.
    """
    plugins, failures = [], []
    for name in sorted({entry.name for entry in installed()}):
        try:
            plugins.append(load_plugin(name))
        except UserError as error:
            failures.append(error)
    return plugins, failures


def load_entry(entry: EntryPoint) -> Plugin:
    """Import an entry point, check its hooks and take the modality that it announces.

    Raises:
        PluginError: any of that failed.
    """
    uninstall = f"pip uninstall {owner_name(entry)}"
    origin = Origin(
        owner(entry), owner_version(entry), f"Report it to its author, or uninstall it: {uninstall}"
    )
    module = attempt(origin, "import", entry.load)
    return make_plugin(origin, entry.module, module, entry.name)


def attempt(origin: Origin, stage: str, act: Callable[[], T]) -> T:
    """What `act` returns; whatever else it does is a failure of the plugin.

    Raises:
        PluginError: it raised, or tried to end the program.
    """
    try:
        return act()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit: a plugin must not end the program
        raise PluginError(origin, stage, summary(error)) from error


def make_plugin(
    origin: Origin,
    module_name: str,
    announcer: Any,
    name: str | None,
    classes: Sequence[type[Modality[Any]]] = (),
) -> Plugin:
    """The plugin that a loaded module makes.

    Args:
        origin: for messages.
        module_name: of what was imported.
        announcer: the module, or another object with hooks.
        name: of the modality asked for; None for the only one.
        classes: what it offers if it has no hook that announces modalities.

    Raises:
        PluginError: a hook is wrong, or there is no such modality, or it is not whole.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)

    def ask() -> list[Any]:
        manager.register(announcer, name=origin.label)
        manager.check_pending()
        if not manager.hook.functa_modalities.get_hookimpls():
            return list(classes)
        return [cls for found in manager.hook.functa_modalities() for cls in found]

    announced = attempt(origin, "its hooks", ask)
    modality = _select(origin, announced, name)
    _check_whole(origin, modality)
    remember(origin.label, modality, module_name)
    return Plugin(modality, origin, [cls.name for cls in announced], manager)


def _select(origin: Origin, announced: list[Any], name: str | None) -> type[Modality[Any]]:
    """The announced modality of that name, or the only one."""
    for cls in announced:
        if not (isinstance(cls, type) and issubclass(cls, Modality)):
            raise PluginError(origin, "its modalities", f"{cls!r} is not a Modality class")
        if not isinstance(getattr(cls, "name", None), str):
            raise PluginError(origin, "its modalities", f"{cls.__name__} has no name")
    chosen: list[type[Modality[Any]]] = [cls for cls in announced if name in (None, cls.name)]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(cls.name for cls in announced) or "nothing"
    if name is None and chosen:
        fix = "Choose one of them with --modality NAME."
        raise PluginError(origin, "its modalities", f"it announces {names}", fix)
    asked = f"; '{name}' was asked for" if name else ""
    raise PluginError(origin, "its modalities", f"it announces {names}{asked}")


def _check_whole(origin: Origin, modality: type[Modality[Any]]) -> None:
    """Raise unless the class is of this core's version of the contract, and complete."""
    wanted = getattr(modality, "api_version", None)
    if wanted not in (None, API_VERSION):
        problem = f"modality '{modality.name}' is written for api_version {wanted}"
        fix = f"This functa-core has {API_VERSION}: install a core or a plugin of the same version."
        raise PluginError(origin, "its version", problem, fix)
    missing = sorted(modality.__abstractmethods__) + (["api_version"] if wanted is None else [])
    if missing:
        problem = f"{modality.__name__} lacks {', '.join(missing)}"
        raise PluginError(origin, "its modalities", problem)
    options = getattr(modality, "Config", None)
    if not (isinstance(options, type) and attrs.has(options)):
        problem = f"Config of '{modality.name}' is not an attrs class"
        raise PluginError(origin, "its modalities", problem)
    for field in attrs.fields(options):
        if field.name in RESERVED or field.default is attrs.NOTHING:
            what = "is a reserved name" if field.name in RESERVED else "has no default"
            problem = f"option '{field.name}' of '{modality.name}' {what}"
            raise PluginError(origin, "its modalities", problem)
