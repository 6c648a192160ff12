"""A functaset on disk, read where it is asked for: one file, or a folder of shards."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from functa_core.errors import UserError
from functa_core.functaset.about import About
from functa_core.functaset.choosing import Choice, chosen, required, with_label
from functa_core.functaset.index import INDEX, Index, Shard
from functa_core.functaset.onefile import OpenFile
from functa_core.functaset.statistics import Statistics
from functa_core.functaset.whole import Functaset

if TYPE_CHECKING:
    from functa_core.functaset.items import LatentDataset

BATCH = 8_192
"""Signals that are read at once, unless asked otherwise."""


@attrs.frozen(eq=False)
class StoredFunctaset:
    """n signals on disk; what is asked for is read, as a `Functaset`.

    Attributes:
        path: the file, or the folder of shards.
        about: what is true of all signals.
        latent_shape: of one latent.
        labelled: whether there are labels.
        shards: the files in order; one if it is a file.
        kept: mean and standard deviation (latent_shape) that are stored with it, if they are.
    """

    path: Path
    about: About
    latent_shape: tuple[int, ...]
    labelled: bool
    shards: tuple[Shard, ...]
    kept: tuple[Tensor, Tensor] | None

    @classmethod
    def open(cls, path: str | Path) -> StoredFunctaset:
        """Look at a file or a folder of shards; no latent is read.

        Raises:
            UserError: nothing there, not a functaset, damaged, or of another schema version.
        """
        path = Path(path)
        if path.is_dir():
            index = Index.read(path)
            kept = index.mean, index.std
            return cls(path, index.about, index.latent_shape, index.labelled, index.shards, kept)
        file = OpenFile.read(path)
        shard = Shard(path.name, len(file.ids), path.stat().st_size)
        labelled = file.labels is not None
        return cls(path, file.about, file.latent_shape, labelled, (shard,), file.statistics)

    def __len__(self) -> int:
        """The number of signals n."""
        return sum(shard.signals for shard in self.shards)

    def __getitem__(self, choice: Choice) -> Functaset:
        """Some of the signals, in memory: a slice, indices in any order, or a mask (n).

        Only the shards that hold them are opened.

        Raises:
            IndexError: there is no such signal.
            UserError: a shard is damaged.
        """
        rows = chosen(choice, len(self))
        latents = torch.empty(len(rows), *self.latent_shape)
        psnr = torch.empty(len(rows))
        labels = torch.empty(len(rows), dtype=torch.int64) if self.labelled else None
        ids = [""] * len(rows)
        for number, wanted, inside in self.located(rows):
            file = self.file(number)
            latents[wanted], psnr[wanted] = file.latents[inside], file.psnr_db[inside]
            if labels is not None and file.labels is not None:
                labels[wanted] = file.labels[inside]
            for row, place in zip(wanted.tolist(), inside.tolist(), strict=True):
                ids[row] = file.ids[place]
        return Functaset.of(self.about, latents=latents, psnr_db=psnr, labels=labels, ids=ids)

    def batches(self, size: int = BATCH) -> Iterator[Functaset]:
        """All signals in order, at most `size` at a time, one shard open at once.

        Raises:
            UserError: a size below 1, or a shard is damaged.
        """
        if size < 1:
            raise UserError(f"batches of at least 1 signal are needed, got {size}.")
        for number in range(len(self.shards)):
            file = self.file(number)
            for start in range(0, len(file.ids), size):
                part = slice(start, start + size)
                yield Functaset.of(
                    self.about,
                    latents=file.latents[part].clone(),
                    psnr_db=file.psnr_db[part].clone(),
                    labels=None if file.labels is None else file.labels[part].clone(),
                    ids=file.ids[part],
                )

    @property
    def mean(self) -> Float[Tensor, "*latent"]:
        """Mean of each number of a latent over the n signals."""
        return self._statistics[0]

    @property
    def std(self) -> Float[Tensor, "*latent"]:
        """Standard deviation of each number of a latent, over n and not n − 1."""
        return self._statistics[1]

    @property
    def psnr_db(self) -> Float[Tensor, " n"]:
        """Of all signals, read into memory."""
        return torch.cat([self.file(number).psnr_db for number in range(len(self.shards))])

    @property
    def labels(self) -> Int[Tensor, " n"] | None:
        """Of all signals, read into memory; None if there are none."""
        if not self.labelled:
            return None
        found = [self.file(number).labels for number in range(len(self.shards))]
        return torch.cat([labels for labels in found if labels is not None])

    def ids(self) -> Iterator[str]:
        """Of all signals in order, one shard open at once."""
        for number in range(len(self.shards)):
            yield from self.file(number).ids

    def with_label(self, label: int | str) -> Functaset:
        """The signals of one label, by its index or its name.

        Raises:
            UserError: there are no labels, or not this one.
        """
        labels = required(self.labels, f"choosing signals of label {label!r}")
        return self[with_label(labels, self.about.state, label)]

    def as_dataset(
        self,
        *,
        labels: bool = True,
        standardised: bool = False,
        mean: Float[Tensor, "*latent"] | None = None,
        std: Float[Tensor, "*latent"] | None = None,
    ) -> LatentDataset:
        """As `Functaset.as_dataset`, each item read when it is asked for."""
        from functa_core.functaset.items import LatentDataset

        return LatentDataset.of(self, labels, standardised, mean, std)

    def located(self, rows: np.ndarray) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Where rows are stored.

        Args:
            rows: (m) indices in [0, n).

        Yields:
            The number of a shard, which of the m rows it holds, and their places in it.
        """
        ends = np.cumsum([shard.signals for shard in self.shards])
        holders = np.searchsorted(ends, rows, side="right")
        for number in np.unique(holders):
            wanted = np.flatnonzero(holders == number)
            begin = ends[number] - self.shards[number].signals
            yield int(number), torch.from_numpy(wanted), torch.from_numpy(rows[wanted] - begin)

    def file(self, number: int) -> OpenFile:
        """One of the shards, mapped into memory for as long as it is referred to.

        Raises:
            UserError: it is damaged, or does not belong to the others.
        """
        shard = self.shards[number]
        path = self.path / shard.file if self.path.is_dir() else self.path
        file = OpenFile.read(path)
        theirs = (len(file.ids), file.latent_shape, file.labels is not None)
        if theirs != (shard.signals, self.latent_shape, self.labelled) or (
            file.about.weights_sha256 != self.about.weights_sha256
        ):
            raise UserError(f"{path} does not belong to {self.path / INDEX}. Make it again.")
        return file

    @cached_property
    def _statistics(self) -> tuple[Tensor, Tensor]:
        if self.kept is not None:
            return self.kept
        statistics = Statistics(self.latent_shape)
        for batch in self.batches():
            statistics.add(batch.latents)
        return statistics.result()
