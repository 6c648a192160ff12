"""Checks of how a plugin is found and loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from functa_core.discovery.loading import load_entry
from functa_core.discovery.probe import TIME_LIMIT
from functa_core.errors import UserError
from functa_core.testing.check import Nonconformity, require
from functa_core.testing.subject import Subject

CHILD = """
import importlib, json, sys
from pathlib import Path
import functa_core.modality, functa_core.cache, functa_core.discovery.hookspecs
import functa_core.tasks.base
before = set(sys.modules)
importlib.import_module(sys.argv[1])
new = {name.partition(".")[0] for name in set(sys.modules) - before}
Path(sys.argv[2]).write_text(json.dumps(sorted(new - set(sys.stdlib_module_names))))
"""


def entry_point(subject: Subject) -> None:
    """The entry point resolves, implements only hooks that exist, with their arguments, and
    announces a whole modality, or task, of its own name and of this `api_version`.
    """
    try:
        load_entry(subject.entry)
    except UserError as error:
        raise Nonconformity(str(error)) from error


def light_import(subject: Subject) -> None:
    """Importing the entry point's module loads no package but the plugin's own, the standard
    library and what `functa_core` itself needs: every command waits for it.
    """
    module = subject.entry.module
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        path = os.pathsep.join(filter(None, sys.path))
        command = [sys.executable, "-c", CHILD, module, str(answer)]
        child = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
            env={**os.environ, "PYTHONPATH": path},
        )
        last = child.stderr.strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
        require(answer.is_file(), f"{module} can be imported", last[0], "Mend its imports.")
        loaded = set(json.loads(answer.read_text()))
    own = {module.partition(".")[0], "functa_core"}
    heavy = sorted(name for name in loaded - own if not name.startswith("__editable__"))
    require(
        not heavy,
        f"importing {module} loads no other package",
        ", ".join(heavy),
        "Keep the hooks in a module of their own and import the modality inside "
        "functa_modalities().",
    )
