"""A plugin that is one Python file, without packaging: `--plugin FILE.py`."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from functa_core.discovery.loading import Plugin, ask
from functa_core.discovery.origin import Origin, attempt
from functa_core.errors import UserError
from functa_core.modality import Modality
from functa_core.tasks.base import Task


def load_plugin_file(path: Path, name: str | None) -> Plugin:
    """Load a plugin from a file.

    Args:
        path: a Python file that defines a subclass of `Modality`, and maybe some of `Task`, or
            announces them with hooks. It is imported alone: its folder is not put on the path.
        name: of the modality asked for; may be None if the file has exactly one.

    Raises:
        UserError: there is no such file.
        PluginError: it cannot be imported, or has no such modality; names the file and the stage.
    """
    path = path.absolute()
    if path.suffix != ".py":
        raise UserError(f"--plugin takes a Python file, FILE.py; got {path}.")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UserError(f"the plugin file {path} cannot be read: {error.strerror}.") from error
    digest = hashlib.sha256(source).hexdigest()
    origin = Origin(
        label=str(path),
        version=f"sha256:{digest[:12]}",
        fix="Mend the file; docs/plugins.md says what has to be in it.",
        file=str(path),
        sha256=digest,
    )
    module = attempt(origin, "import", lambda: _import(path, source, digest))
    classes = _defined(module, Modality), _defined(module, Task)
    return ask(origin, module.__name__, module, *classes).plugin(name)


def _import(path: Path, source: bytes, digest: str) -> ModuleType:
    """Run the very bytes that were hashed, once for each path and content.

    Python's own loader would write its cache beside the user's file.
    """
    place = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"functa_file_{path.stem}_{place}_{digest[:8]}".replace(".", "_")
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # attrs and typing look up a class's module by its name
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _defined(module: ModuleType, base: type[Any]) -> list[type[Any]]:
    """Subclasses of `base` that the file itself defines and derives nothing else from."""
    classes = [thing for thing in vars(module).values() if isinstance(thing, type)]
    own = [
        cls
        for cls in dict.fromkeys(classes)  # a class may have two names
        if issubclass(cls, base) and cls.__module__ == module.__name__
    ]
    return [cls for cls in own if not any(cls in other.__mro__[1:] for other in own)]
