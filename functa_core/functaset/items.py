"""Latents as a torch dataset, from memory or from disk."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from functa_core.functaset.choosing import required
from functa_core.functaset.statistics import standardise
from functa_core.functaset.stored import StoredFunctaset
from functa_core.functaset.whole import Functaset

Item = Tensor | tuple[Tensor, int]


class LatentDataset(Dataset[Item]):
    """Items are (latent, label), or latents: (latent_shape) float32, and a whole number.

    A `DataLoader` shuffles it by the generator that it is given. From disk, shards are mapped into
    memory when first asked for, in each worker by itself.

    Args:
        source: the functaset.
        labels: whether items have labels, −1 where a label is not known.
        scale: mean and standard deviation to standardise by, or None.
    """

    def __init__(
        self,
        source: Functaset | StoredFunctaset,
        labels: bool,
        scale: tuple[Tensor, Tensor] | None,
    ) -> None:
        self.source, self.labels, self.scale = source, labels, scale
        self._mapped: dict[int, tuple[Tensor, Tensor | None]] = {}

    @classmethod
    def of(
        cls,
        source: Functaset | StoredFunctaset,
        labels: bool,
        standardised: bool,
        mean: Tensor | None,
        std: Tensor | None,
    ) -> LatentDataset:
        """As the functaset's `as_dataset`.

        Raises:
            UserError: labels are asked for, and there are none.
        """
        if labels:
            required(source.labels, "a dataset of latents with labels (labels=False does without)")
        if not standardised:
            return cls(source, labels, None)
        own = source.mean if mean is None else mean, source.std if std is None else std
        return cls(source, labels, own)

    def __len__(self) -> int:
        """The number of signals n."""
        return len(self.source)

    def __getitem__(self, index: int) -> Item:
        """One item; IndexError beyond the last."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"signal {index} of {len(self)}")
        return self.__getitems__([index % len(self)])[0]

    def __getitems__(self, indices: list[int]) -> list[Item]:
        """Several items at once, which is how a `DataLoader` asks for a batch."""
        latents, labels = self._rows(np.asarray(indices, dtype=np.int64))
        if self.scale is not None:
            latents = standardise(latents, *self.scale)
        if labels is None:
            return list(latents)
        return list(zip(latents, labels.tolist(), strict=True))

    def __getstate__(self) -> dict[str, Any]:
        # A worker that is sent this maps the files by itself.
        return {**self.__dict__, "_mapped": {}}

    def _rows(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Latents and labels of some rows, as copies."""
        if isinstance(self.source, Functaset):
            few = self.source[rows]
            return few.latents, few.labels if self.labels else None
        latents = torch.empty(len(rows), *self.source.latent_shape)
        labels = torch.empty(len(rows), dtype=torch.int64) if self.labels else None
        for number, wanted, inside in self.source.located(rows):
            stored, stored_labels = self._file(number)
            latents[wanted] = stored[inside]
            if labels is not None and stored_labels is not None:
                labels[wanted] = stored_labels[inside]
        return latents, labels

    def _file(self, number: int) -> tuple[Tensor, Tensor | None]:
        """Latents and labels of a shard, mapped once."""
        if number not in self._mapped:
            assert isinstance(self.source, StoredFunctaset)
            file = self.source.file(number)
            self._mapped[number] = file.latents, file.labels
        return self._mapped[number]
