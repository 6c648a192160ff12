"""The catalogue of known plugins: `registry.yaml`."""

import os
from pathlib import Path

import attrs
import yaml

from functa_core.errors import UserError


@attrs.frozen
class Known:
    """A plugin that can be had.

    Attributes:
        name: of the modality, and of its entry point.
        distribution: what pip installs.
        source: folder to install from where it exists, relative to the catalogue.
        entry_point: module that the entry point names.
        api_version: of the contract it was written for.
        description: one line.
    """

    name: str
    distribution: str
    source: str
    entry_point: str
    api_version: int
    description: str


def catalogue_path() -> Path:
    """`$FUNCTA_REGISTRY`, or the catalogue that came with functa."""
    override = os.environ.get("FUNCTA_REGISTRY")
    return Path(override) if override else Path(__file__).with_name("registry.yaml")


def read_catalogue() -> list[Known]:
    """All known plugins.

    Raises:
        UserError: the catalogue is missing or malformed.
    """
    path = catalogue_path()
    try:
        rows = yaml.safe_load(path.read_text())
        return [Known(**row) for row in rows or []]
    except (OSError, yaml.YAMLError, TypeError) as error:
        raise UserError(f"the plugin catalogue {path} cannot be read: {error}.") from error


def local_source(known: Known) -> Path | None:
    """The folder that a known plugin can be installed from, if it is here."""
    folder = catalogue_path().resolve().parent / known.source
    return folder if folder.is_dir() else None


def install_line(known: Known) -> str:
    """The command that installs a known plugin from where it lies, else by its name."""
    return f"pip install {local_source(known) or known.distribution}"
