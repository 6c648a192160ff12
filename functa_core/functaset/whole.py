"""A functaset in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch
from jaxtyping import Float, Int
from torch import Tensor

from functa_core.errors import UserError
from functa_core.functaset.about import About, joined
from functa_core.functaset.choosing import Choice, chosen, required, with_label
from functa_core.functaset.onefile import write_file
from functa_core.functaset.statistics import Statistics

if TYPE_CHECKING:
    from functa_core.functaset.items import LatentDataset


@attrs.frozen(eq=False)
class Functaset:
    """n signals as latents, rows in file order.

    Attributes:
        latents: (n, *latent_shape) float32.
        psnr_db: (n) of each fit over all the signal's observations, in dB; NaN if it has none.
        labels: (n) index into the state's label names (-1: unknown), or None.
        ids: n, an index or a path each.
        modality: its name.
        spec: domain, channels, value range and output offset, as JSON.
        state: the modality's prepared state, as JSON.
        split: "train", "test" or "all".
        weights_sha256: digest of the `weights.safetensors` the latents belong to.
        inner_steps: of the fit.
        versions: of the core and of the plugin; of latents that somebody else has published also
            the digest of their file, as "published".
    """

    latents: Float[Tensor, "n *latent"]
    psnr_db: Float[Tensor, " n"]
    labels: Int[Tensor, " n"] | None
    ids: list[str]
    modality: str
    spec: Mapping[str, Any]
    state: Mapping[str, Any]
    split: str
    weights_sha256: str
    inner_steps: int
    versions: Mapping[str, str]

    def __len__(self) -> int:
        """The number of signals n."""
        return self.latents.shape[0]

    def __getitem__(self, choice: Choice) -> Functaset:
        """Some of the signals, as copies: a slice, indices in any order, or a mask (n).

        Raises:
            IndexError: there is no such signal.
            TypeError: a single index; `functaset[3:4]` is a functaset of one.
        """
        rows = chosen(choice, len(self))
        index = torch.from_numpy(rows)
        return attrs.evolve(
            self,
            latents=self.latents[index],
            psnr_db=self.psnr_db[index],
            labels=None if self.labels is None else self.labels[index],
            ids=[self.ids[row] for row in rows],
        )

    def with_label(self, label: int | str) -> Functaset:
        """The signals of one label, by its index or its name.

        Raises:
            UserError: there are no labels, or not this one.
        """
        labels = self.required_labels(f"choosing signals of label {label!r}")
        return self[with_label(labels, self.state, label)]

    def required_labels(self, purpose: str) -> Int[Tensor, " n"]:
        """The labels, for what cannot do without.

        Args:
            purpose: what needs them, as the beginning of a sentence.

        Raises:
            UserError: there are none.
        """
        return required(self.labels, purpose)

    @classmethod
    def of(
        cls,
        about: About,
        *,
        latents: Float[Tensor, "n *latent"],
        psnr_db: Float[Tensor, " n"],
        labels: Int[Tensor, " n"] | None,
        ids: list[str],
    ) -> Functaset:
        """From what is true of all signals, and the rows."""
        shared = {field.name: getattr(about, field.name) for field in attrs.fields(About)}
        return cls(latents=latents, psnr_db=psnr_db, labels=labels, ids=ids, **shared)

    @property
    def about(self) -> About:
        """What is true of all signals."""
        return About(**{field.name: getattr(self, field.name) for field in attrs.fields(About)})

    @property
    def published(self) -> bool:
        """Whether the latents are somebody else's fits, which nothing here can make again."""
        return "published" in self.versions

    @property
    def mean(self) -> Float[Tensor, "*latent"]:
        """Mean of each number of a latent over the n signals; NaN of no signals."""
        return self._statistics[0]

    @property
    def std(self) -> Float[Tensor, "*latent"]:
        """Standard deviation of each number of a latent, over n and not n − 1."""
        return self._statistics[1]

    @cached_property
    def _statistics(self) -> tuple[Tensor, Tensor]:
        statistics = Statistics(tuple(self.latents.shape[1:]))
        statistics.add(self.latents.detach().cpu())
        return statistics.result()

    def save(self, path: str | Path) -> None:
        """Write a safetensors file atomically; parent folders are made.

        Raises:
            UserError: the ids take more than a file of this format holds (100 MB).
        """
        shape = tuple(self.latents.shape[1:])
        write_file(Path(path), self.about, self.ids, shape, self.labels is not None, [self])

    @classmethod
    def load(cls, path: str | Path) -> Functaset:
        """Read a file, or a folder of shards, into memory.

        Raises:
            UserError: no such file, not a functaset, damaged, or of another schema version.
        """
        from functa_core.functaset.stored import StoredFunctaset  # which is made of this class

        return StoredFunctaset.open(path)[:]

    @staticmethod
    def concat(parts: Sequence[Functaset], names: Sequence[str] | None = None) -> Functaset:
        """Several functasets one after the other; with labels where all have them.

        Args:
            parts: of the same weights, inner steps, modality, spec and state; at least one.
            names: of each, for errors.

        Raises:
            UserError: two do not go together; says which, and what differs.
        """
        if not parts:
            raise UserError("there is nothing to put together: no functaset was given.")
        called = names or [f"functaset {i}" for i in range(len(parts))]
        about = joined([part.about for part in parts], called)
        labels = [part.labels for part in parts if part.labels is not None]
        return Functaset.of(
            about,
            latents=torch.cat([part.latents for part in parts]),
            psnr_db=torch.cat([part.psnr_db for part in parts]),
            labels=torch.cat(labels) if len(labels) == len(parts) else None,
            ids=[name for part in parts for name in part.ids],
        )

    def as_dataset(
        self,
        *,
        labels: bool = True,
        standardised: bool = False,
        mean: Float[Tensor, "*latent"] | None = None,
        std: Float[Tensor, "*latent"] | None = None,
    ) -> LatentDataset:
        """The signals for a `torch.utils.data.DataLoader`.

        Args:
            labels: items are (latent, label), label −1 where it is not known; otherwise latents.
            standardised: latents have mean 0 and standard deviation 1.
            mean, std: to standardise by instead of its own: those of the training set, for a test
                set.

        Raises:
            UserError: there are no labels.
        """
        from functa_core.functaset.items import LatentDataset

        return LatentDataset.of(self, labels, standardised, mean, std)

    def check_weights(self, weights_sha256: str, where: Path) -> None:
        """Raise a `UserError` unless the latents belong to these weights."""
        self.about.check_weights(weights_sha256, where)
