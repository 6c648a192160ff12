"""Encodings that have not come to their end: what is fitted already lies beside the output.

Parts lie in `OUT.parts/KEY/`, those of several processes beside one another. The key digests
everything that the latents depend on but the signals themselves; the name of each part has a digest
of its first signal. So the work of other weights, data or options is never taken for this one's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import attrs
import torch

from functa_core.console import warn
from functa_core.dataset import Dataset
from functa_core.encoding import Encoder
from functa_core.errors import UserError
from functa_core.files import remove_drafts, remove_drafts_of
from functa_core.functaset import About, Functaset, StoredFunctaset
from functa_core.observations import Observations


@attrs.frozen(eq=False)
class Unfinished:
    """The parts of one encoding.

    Attributes:
        folder: where they lie.
        encoder: that fits them.
        signals: all that are to be encoded.
    """

    folder: Path
    encoder: Encoder
    signals: Dataset[Any]

    @classmethod
    def of(cls, out: Path, about: About, encoder: Encoder, signals: Dataset[Any]) -> Unfinished:
        """The parts that lie beside `out`, if any; says so if there are another encoding's."""
        place = parts_folder(out)
        folder = place / _key(about, encoder, signals)
        if place.is_dir():
            remove_drafts(place)
            remove_drafts_of(out)
            if any(other != folder for other in place.iterdir()):
                warn(
                    f"{place} holds an unfinished encoding by other weights, data or options, "
                    "which is left alone. Delete it if nobody will go on with it."
                )
        return cls(folder, encoder, signals)

    def found(self) -> dict[int, StoredFunctaset]:
        """The parts that are there, by the place of their first signal, in order."""
        parts: dict[int, StoredFunctaset] = {}
        done = 0
        for path in sorted(self.folder.glob("part-*.safetensors")):
            start = int(path.name.split("-")[1])
            try:
                # Of other signals, or damaged: what it was for is encoded again.
                part = self._open(start) if start >= done else None
            except (UserError, IndexError):
                continue
            if part is not None:
                parts[start] = part
                done = start + len(part)
        return parts

    def kept(self, start: int) -> bool:
        """Whether there is a part that begins at a place, whatever its first signal was."""
        return any(self.folder.glob(f"part-{start:09d}-*.safetensors"))

    def save(self, start: int, part: Functaset, first: Observations) -> None:
        """Keep the latents of the signals from `start` on.

        Args:
            start: place of the first of them.
            part: the latents.
            first: the observations of the first of them, a batch of one.
        """
        part.save(self._path(start, first))

    def remove(self) -> None:
        """Remove the parts, which nobody needs any more."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # not there, or another encoding's parts are
            self.folder.parent.rmdir()

    def _open(self, start: int) -> StoredFunctaset:
        """The part that begins with the signal at `start` as it is now."""
        observations = self.encoder.modality.observations([self.signals[start]])
        return StoredFunctaset.open(self._path(start, observations))

    def _path(self, start: int, first: Observations) -> Path:
        used = first.compact()  # in a batch there is padding
        digest = hashlib.sha256()
        for tensor in (used.queries.flatten(0, -2), used.known_values, used.weights):
            digest.update(tensor.contiguous().cpu().numpy().tobytes())
        return self.folder / f"part-{start:09d}-{digest.hexdigest()[:16]}.safetensors"


def parts_folder(out: Path) -> Path:
    """Where unfinished encodings of an output lie."""
    place = out.absolute()  # the folder one stands in has no name of its own: "."
    return place.with_name(f"{place.name}.parts")


def remove_parts(out: Path) -> None:
    """Remove all unfinished encodings of an output, which is there and whole."""
    shutil.rmtree(parts_folder(out), ignore_errors=True)


def _key(about: About, encoder: Encoder, signals: Dataset[Any]) -> str:
    """Digest of what latents depend on beside the signals themselves."""
    everything = {
        **about.tree(),
        "ids": list(signals.ids),
        "labels": None if signals.labels is None else list(signals.labels),
        "options": repr(encoder.modality.config),
        "solver": type(encoder.learner.solver).__qualname__,
        "fit": [encoder.l2_weight, encoder.batch, encoder.chunk, str(encoder.precision)],
        "machine": [torch.__version__, encoder.device.type, torch.get_num_threads()],
    }
    text = json.dumps(everything, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
