"""Loading one plugin, without letting it spoil anything else.

pluggy's `load_setuptools_entrypoints` would let one bad import end every command, so each entry
point is loaded by itself here, and only the one that was asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Any

import attrs
import pluggy

from functa_core.blame import remember
from functa_core.discovery import hookspecs
from functa_core.discovery.installed import find, installed, owner, owner_name, owner_version
from functa_core.discovery.origin import Origin, PluginError, attempt
from functa_core.discovery.wholeness import check_modality, check_named, check_task
from functa_core.errors import UserError
from functa_core.modality import Modality
from functa_core.tasks.base import Task


@attrs.frozen(eq=False)
class Plugin:
    """A modality, and the plugin it came from.

    Attributes:
        modality: the class.
        origin: of the plugin.
        tasks: all tasks that the plugin announces.
        manager: with the plugin registered, for its observers.
    """

    modality: type[Modality[Any]]
    origin: Origin
    tasks: Sequence[type[Task]]
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


@attrs.frozen(eq=False)
class Announced:
    """All that a loaded plugin announces: classes that have names; its tasks are whole.

    Attributes:
        origin: of the plugin.
        module: dotted name of what was imported.
        modalities, tasks: the classes.
        manager: with the plugin registered.
    """

    origin: Origin
    module: str
    modalities: Sequence[type[Modality[Any]]]
    tasks: Sequence[type[Task]]
    manager: pluggy.PluginManager

    @property
    def names(self) -> str:
        """In words, for messages."""
        words = [cls.name for cls in self.modalities]
        return ", ".join(words + [f"task {cls.name}" for cls in self.tasks]) or "nothing"

    def plugin(self, name: str | None) -> Plugin:
        """The modality of that name, or the only one if `name` is None.

        Raises:
            PluginError: there is no such modality, or it is not whole.
        """
        chosen = [cls for cls in self.modalities if name in (None, cls.name)]
        if len(chosen) != 1:
            choose = "Choose one of them with --modality NAME." if name is None and chosen else None
            asked = f"; '{name}' was asked for" if name else ""
            problem = f"it announces {self.names}{asked}"
            raise PluginError(self.origin, "its modalities", problem, choose)
        [modality] = chosen
        check_modality(self.origin, modality)
        remember(self.origin.label, "modality", modality, self.module)
        return Plugin(modality, self.origin, self.tasks, self.manager)

    def task(self, name: str) -> type[Task] | None:
        """The task of that name, if it is announced."""
        return next((cls for cls in self.tasks if cls.name == name), None)


def load_plugin(name: str) -> Plugin:
    """Load what announces the modality `name`, and nothing else.

    Raises:
        UserError: it is not installed, or its plugin failed; says at which stage.
    """
    return load_entry(find(name)).plugin(name)


def load_working() -> tuple[list[Plugin], list[UserError]]:
    """Every installed modality that can be loaded, and why others cannot.

    For what no single plugin can be named for; a run loads only its own.
    """
    plugins, failures = [], []
    for name in sorted({entry.name for entry in installed()}):
        try:
            announced = load_entry(find(name))
            if name in [cls.name for cls in announced.modalities]:  # it may be a task's name
                plugins.append(announced.plugin(name))
        except UserError as error:
            failures.append(error)
    return plugins, failures


def load_entry(entry: EntryPoint) -> Announced:
    """Import an entry point and check its hooks.

    Raises:
        PluginError: any of that failed, or it announces neither a modality nor a task of its own
            name, or that modality is not whole.
    """
    uninstall = f"pip uninstall {owner_name(entry)}"
    origin = Origin(
        owner(entry), owner_version(entry), f"Report it to its author, or uninstall it: {uninstall}"
    )
    module = attempt(origin, "import", entry.load)
    announced = ask(origin, entry.module, module)
    modalities = [cls.name for cls in announced.modalities]
    if entry.name in modalities or announced.task(entry.name) is None:
        announced.plugin(entry.name)
    return announced


def ask(
    origin: Origin,
    module_name: str,
    announcer: Any,
    modalities: Sequence[type[Modality[Any]]] = (),
    tasks: Sequence[type[Task]] = (),
) -> Announced:
    """What a loaded module announces.

    Args:
        origin: for messages.
        module_name: of what was imported.
        announcer: the module, or another object with hooks.
        modalities, tasks: what it offers if it has no hook that announces such.

    Raises:
        PluginError: a hook is wrong, or announces what is no named class, or a task is not whole.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)

    def register() -> tuple[list[Any], list[Any]]:
        manager.register(announcer, name=origin.label)
        manager.check_pending()
        hooks = manager.hook
        return _answer(hooks.functa_modalities, modalities), _answer(hooks.functa_tasks, tasks)

    found = check_named(origin, *attempt(origin, "its hooks", register))
    for task in found[1]:
        check_task(origin, task)
        remember(origin.label, "task", task, module_name)
    return Announced(origin, module_name, *found, manager)


def _answer(hook: pluggy.HookCaller, otherwise: Sequence[Any]) -> list[Any]:
    """Everything that the implementations of a hook announce, or else what is offered."""
    if not hook.get_hookimpls():
        return list(otherwise)
    return [cls for found in hook() for cls in found]
