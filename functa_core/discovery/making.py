"""`functa plugins new`: a complete plugin that works, to begin one's own with."""

from __future__ import annotations

import importlib.util
import re
import shutil
import tempfile
from pathlib import Path

import jinja2

from functa_core.discovery.catalogue import read_catalogue
from functa_core.discovery.installed import installed
from functa_core.errors import UserError

TEMPLATES = Path(__file__).with_name("scaffold")
LONGEST = 24
"""Letters of a name; with more, lines of the templates would become too long."""

FILES = {
    "pyproject.toml": "pyproject.toml.j2",
    "README.md": "README.md.j2",
    ".gitignore": "gitignore.j2",
    ".github/workflows/ci.yml": "ci.yml.j2",
    "{module}/__init__.py": "init.py.j2",
    "{module}/modality.py": "modality.py.j2",
    "{module}/curves.py": "curves.py.j2",
    "{module}/drawing.py": "drawing.py.j2",
    "{module}/py.typed": "py.typed.j2",
    "tests/test_{module}.py": "test.py.j2",
}
"""Files of the plugin, and their templates."""


def make_plugin_folder(name: str) -> Path:
    """Write `./functa-NAME`, whole or not at all.

    Args:
        name: of the modality: small letters, digits and "_", beginning with a letter.

    Returns:
        The folder.

    Raises:
        UserError: the name cannot be used or is taken, or the folder exists or cannot be made.
    """
    if not re.fullmatch(rf"[a-z][a-z0-9_]{{0,{LONGEST - 1}}}", name) or name.endswith("_"):
        raise UserError(
            f"'{name}' cannot be a plugin's name: small letters, digits and '_' are needed, "
            f"beginning with a letter, at most {LONGEST}."
        )
    _check_free(name)
    distribution = f"functa-{name.replace('_', '-')}"
    folder = Path(distribution)
    if folder.exists() or folder.is_symlink():
        raise UserError(f"./{folder} exists already. Choose another name, or another folder.")
    names = {
        "name": name,
        "distribution": distribution,
        "module": f"functa_{name}",
        "class_name": "".join(part.capitalize() for part in name.split("_")),
    }
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{folder}-", dir=Path.cwd()))
    except OSError as error:
        raise UserError(f"./{folder} cannot be made: {error.strerror}.") from error
    try:
        _write(draft / "plugin", names)
        (draft / "plugin").rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _check_free(name: str) -> None:
    """Raise a `UserError` if a plugin of that name is installed or known."""
    for entry in installed():
        if entry.name == name:
            raise UserError(f"there is a plugin '{name}' here already. Choose another name.")
    for row in read_catalogue():
        if row.name == name:
            raise UserError(
                f"'{name}' is {row.distribution} of the plugin catalogue. Choose another name."
            )
    if importlib.util.find_spec(f"functa_{name}") is not None:
        raise UserError(f"there is a module functa_{name} here already. Choose another name.")


def _write(folder: Path, names: dict[str, str]) -> None:
    """Fill a folder that does not exist yet."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # Python and TOML, not HTML
    )
    for place, template in FILES.items():
        path = folder / place.format(**names)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(environment.get_template(template).render(names), encoding="utf-8")
