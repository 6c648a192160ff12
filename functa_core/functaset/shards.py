"""Writing a functaset that need not fit into memory, as a folder of shards with an index."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import attrs

from functa_core.errors import UserError
from functa_core.files import remove_drafts
from functa_core.functaset.about import About, joined
from functa_core.functaset.index import INDEX, Index, Shard
from functa_core.functaset.onefile import is_functaset
from functa_core.functaset.statistics import Statistics
from functa_core.functaset.whole import Functaset

SHARD_SIZE = 65_536
"""Signals in a shard, unless asked otherwise."""


@attrs.define
class _Common:
    """What all batches so far have in common, and their statistics."""

    about: About
    latent_shape: tuple[int, ...]
    labelled: bool
    statistics: Statistics

    @classmethod
    def of(cls, batch: Functaset) -> _Common:
        shape = tuple(batch.latents.shape[1:])
        return cls(batch.about, shape, batch.labels is not None, Statistics(shape))

    def take(self, batch: Functaset) -> None:
        """Check a batch; raises a `UserError` if it does not go with the others."""
        self.about = joined([self.about, batch.about], ["what was added before", "this batch"])
        if (batch.labels is not None) != self.labelled:
            raise UserError("some batches have labels and others have none; give all or none.")


class ShardWriter:
    """Writes batches of signals as shards of a functaset.

    Each shard is a whole functaset file and appears whole or not at all. The index comes last, so a
    folder without one was not finished; a writer for that folder begins again.

        with ShardWriter(folder) as writer:
            for batch in batches:  # Functaset, of any number of signals
                writer.add(batch)

    Args:
        folder: absent, empty, or left unfinished by another writer.
        shard_size: signals in a shard (the last one has the rest); so many are held in memory.

    Raises:
        UserError: the folder holds something else.
    """

    def __init__(self, folder: str | Path, shard_size: int = SHARD_SIZE) -> None:
        if shard_size < 1:
            raise UserError(f"a shard holds at least 1 signal, not {shard_size}.")
        self.folder, self.shard_size = Path(folder), shard_size
        check_shard_folder(self.folder)
        self._waiting: list[Functaset] = []
        self._count = 0
        self._shards: list[Shard] = []
        self._common: _Common | None = None

    def __enter__(self) -> ShardWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clear()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._common is not None:
            self._finish(self._common)
            return
        self._clear()
        with contextlib.suppress(OSError):  # not empty: it was not this writer's alone
            self.folder.rmdir()
        if kind is None:
            raise UserError(f"there are no signals to write to {self.folder}.")

    def add(self, batch: Functaset) -> None:
        """Add signals, in order.

        Raises:
            UserError: they do not go with those before, or one has labels and the other not.
        """
        if len(batch) == 0:
            return
        if self._common is None:
            self._common = _Common.of(batch)
        self._common.take(batch)
        self._waiting.append(batch)
        self._count += len(batch)
        if self._count >= self.shard_size:
            self._flush(self._common.statistics, whole=True)

    def _flush(self, statistics: Statistics, whole: bool) -> None:
        """Write waiting signals: in whole shards, or all."""
        rows = Functaset.concat(self._waiting)
        end = len(rows) - (len(rows) % self.shard_size if whole else 0)
        for start in range(0, end, self.shard_size):
            shard = rows[start : min(start + self.shard_size, end)]
            path = self.folder / f"shard-{len(self._shards):06d}.safetensors"
            shard.save(path)
            self._shards.append(Shard(path.name, len(shard), path.stat().st_size))
            statistics.add(shard.latents.detach().cpu())
        self._waiting, self._count = [rows[end:]], len(rows) - end

    def _finish(self, common: _Common) -> None:
        self._flush(common.statistics, whole=False)
        mean, std = common.statistics.result()
        shape, labelled, shards = common.latent_shape, common.labelled, tuple(self._shards)
        Index(common.about, shape, labelled, mean, std, shards).write(self.folder)

    def _clear(self) -> None:
        remove_drafts(self.folder)
        for path in filter(_is_shard, self.folder.iterdir()):
            path.unlink()


def _is_shard(path: Path) -> bool:
    """Whether a file is one that a writer left."""
    return re.fullmatch(r"shard-\d{6}\.safetensors", path.name) is not None and is_functaset(path)


def check_shard_folder(folder: Path) -> None:
    """Raise a `UserError` unless a folder of shards can be written here."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file; shards need a folder.")
    if (folder / INDEX).exists():
        raise UserError(f"{folder} holds a functaset already. Choose another --out, or remove it.")
    inside: Sequence[Path] = list(folder.iterdir()) if folder.is_dir() else []
    if foreign := [p for p in inside if not p.name.startswith(".") and not _is_shard(p)]:
        raise UserError(f"{folder} holds other things ({foreign[0].name}). Choose another --out.")
