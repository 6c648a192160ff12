"""Loading one plugin, without letting it spoil anything else.

pluggy's `load_setuptools_entrypoints` would let one bad import end every command, so each entry
point is loaded by itself here, and only the one that was asked for.
"""

from __future__ import annotations

import inspect
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs
import pluggy

from functa_core.discovery import hookspecs
from functa_core.discovery.catalogue import install_line, read_catalogue
from functa_core.errors import UserError, nearest
from functa_core.modality import API_VERSION, Modality

GROUP = "functa"


class PluginError(UserError):
    """A plugin could not be loaded: names the distribution, the stage and the fix."""

    def __init__(self, entry: EntryPoint, stage: str, problem: str, fix: str) -> None:
        super().__init__(f"plugin {owner(entry)} failed at {stage}: {problem}. {fix}")


@attrs.frozen(eq=False)
class Plugin:
    """A modality, and the plugin it came from.

    Attributes:
        modality: the class.
        version: of the distribution.
        manager: with the plugin registered, for its observers.
    """

    modality: type[Modality[Any]]
    version: str
    manager: pluggy.PluginManager

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


def installed() -> list[EntryPoint]:
    """Entry points of all installed plugins, by name; nothing is imported."""
    found = {(e.name, e.value, owner(e)): e for e in entry_points(group=GROUP)}
    return [found[key] for key in sorted(found)]


def owner(entry: EntryPoint) -> str:
    """Name and version of the distribution an entry point belongs to."""
    dist = entry.dist
    return f"{dist.name} {dist.version}" if dist else "?"


def find(name: str) -> EntryPoint:
    """The one entry point of that name.

    Raises:
        UserError: none or several.
    """
    entries = installed()
    matching = [entry for entry in entries if entry.name == name]
    if len(matching) == 1:
        return matching[0]
    if matching:
        owners = " and ".join(owner(entry) for entry in matching)
        raise UserError(
            f"modality '{name}' is announced by {owners}; neither is loaded. Uninstall one of them."
        )
    names = sorted({entry.name for entry in entries})
    known = {row.name: row for row in read_catalogue()}
    if name in known:
        raise UserError(
            f"modality '{name}' is known but not installed. Install it: {install_line(known[name])}"
        )
    raise UserError(
        f"there is no modality '{name}'; installed: {', '.join(names) or 'none'}."
        + nearest(name, [*names, *known])
    )


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
    reinstall = f"Report it to its author, or uninstall it: pip uninstall {_dist_name(entry)}"
    try:
        module = entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit: a plugin must not end the program
        raise PluginError(entry, "import", _summary(error), reinstall) from error
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module, name=entry.name)
        manager.check_pending()
        announced = [cls for found in manager.hook.functa_modalities() for cls in found]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(entry, "its hooks", _summary(error), reinstall) from error
    modality = _select(entry, announced, reinstall)
    _check_version(entry, modality)
    return Plugin(modality, entry.dist.version if entry.dist else "?", manager)


def _select(entry: EntryPoint, announced: list[Any], fix: str) -> type[Modality[Any]]:
    """The announced modality that has the entry point's name."""
    for cls in announced:
        if not (isinstance(cls, type) and issubclass(cls, Modality)):
            raise PluginError(entry, "its modalities", f"{cls!r} is not a Modality class", fix)
        if getattr(cls, "name", None) != entry.name:
            continue
        if inspect.isabstract(cls):
            missing = ", ".join(sorted(cls.__abstractmethods__))
            raise PluginError(entry, "its modalities", f"{cls.__name__} lacks {missing}", fix)
        return cls
    names = ", ".join(str(getattr(cls, "name", cls)) for cls in announced) or "nothing"
    problem = f"entry point '{entry.name}' announces {names}"
    raise PluginError(entry, "its modalities", problem, fix)


def _check_version(entry: EntryPoint, modality: type[Modality[Any]]) -> None:
    wanted = getattr(modality, "api_version", None)
    if wanted != API_VERSION:
        problem = f"modality '{entry.name}' is written for api_version {wanted}"
        fix = f"This functa-core has {API_VERSION}: install a core or a plugin of the same version."
        raise PluginError(entry, "its version", problem, fix)


def _dist_name(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


def _summary(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
