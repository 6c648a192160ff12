"""Pictures that a modality draws, without which a run is still whole."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from functa_core.blame import blame
from functa_core.console import warn
from functa_core.errors import UserError, summary
from functa_core.modality import Artefact, Modality


def drawn(modality: Modality[Any], member: str, *arguments: Any, out: Path) -> list[Artefact]:
    """What a member of a modality draws; where it fails, a note in its place.

    What was trained and measured before is not lost to a picture that cannot be drawn.

    Args:
        modality: prepared.
        member: "figures", "compare" or "preview".
        arguments: of that member, before the folder.
        out: an existing folder.

    Returns:
        The artefacts, each a file in `out`; or one text file that holds the traceback, whose
        caption says what failed.
    """
    note = out / f"{member}-failed.txt"
    note.unlink(missing_ok=True)
    try:
        artefacts = list(getattr(modality, member)(*arguments, out))
        _check(artefacts, out)
    except (Exception, SystemExit) as error:  # a plugin's bug, whatever it is
        reason = str(error) if isinstance(error, UserError) else blame(error)
        reason = reason or f"{member} of modality '{modality.name}' failed: {summary(error)}"
        note.write_text("".join(traceback.format_exception(error)))
        warn(f"pictures are left out: {reason}\nThe traceback is in {note}; all else goes on.")
        return [Artefact(note, "text/plain", f"pictures are left out: {reason}")]
    return artefacts


def _check(artefacts: Any, out: Path) -> None:
    """Raise unless these are artefacts whose files lie in `out`."""
    for artefact in artefacts:
        if not isinstance(artefact, Artefact):
            raise TypeError(f"it gave {artefact!r} instead of an Artefact")
        if not artefact.path.is_file():
            raise FileNotFoundError(f"it wrote no file {artefact.path}")
        if not artefact.path.is_relative_to(out):
            raise ValueError(f"it wrote {artefact.path}, outside the folder {out}")
