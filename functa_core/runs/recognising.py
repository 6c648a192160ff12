"""Which modality a published configuration is of: every installed one is asked."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from functa_core.console import warn
from functa_core.discovery.loading import Plugin, load_plugin, load_working
from functa_core.errors import UserError, summary
from functa_core.modality import Published


def recognise(
    config: Mapping[str, Any], where: str, modality: str | None
) -> tuple[Plugin, Published]:
    """The one modality that knows this configuration.

    Raises:
        UserError: none or several do, or the one that does cannot use it.
    """
    if modality is not None:
        asked, failures = [load_plugin(modality)], list[UserError]()
    else:
        asked, failures = load_working()
    for failure in failures:
        warn(f"left out: {failure}")
    found = []
    for plugin in asked:
        try:
            answer = _ask(plugin, config)
        except BrokenAnswer as error:
            if modality is not None:
                raise
            warn(f"left out: {error}")
            continue
        if answer is not None:
            found.append((plugin, answer))
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(plugin.modality.name for plugin, _ in found)
        raise UserError(f"{where} is recognised by {names}; choose one with --modality NAME.")
    names = ", ".join(plugin.modality.name for plugin in asked) or "none is installed"
    said = {key: config[key] for key in ("dataset", "model") if key in config} or list(config)
    raise UserError(
        f"no modality recognises the configuration of {where} (asked: {names}).\n"
        f"It says {ascii(said)[:400]}."
    )


class BrokenAnswer(UserError):
    """A plugin's `from_published` failed: its author's to mend."""


def _ask(plugin: Plugin, config: Mapping[str, Any]) -> Published | None:
    """What a modality makes of a copy of the configuration.

    Raises:
        UserError: it recognises the configuration, and refuses it.
        BrokenAnswer: it failed.
    """
    try:
        answer: Any = plugin.modality.from_published(copy.deepcopy(dict(config)))
        if not isinstance(answer, Published | None):
            raise TypeError(f"it gave {type(answer).__name__} instead of Published")
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise BrokenAnswer(
            f"plugin {plugin.origin.label} failed: from_published of modality "
            f"'{plugin.modality.name}' raised {summary(error)}. Report it to its author."
        ) from error
    return answer
