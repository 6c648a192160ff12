"""Functasets on disk put together, in memory for one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from functa_core.errors import UserError
from functa_core.functaset.about import joined
from functa_core.functaset.onefile import write_file
from functa_core.functaset.shards import ShardWriter
from functa_core.functaset.stored import StoredFunctaset
from functa_core.functaset.whole import Functaset


def batches(parts: Sequence[StoredFunctaset]) -> Iterator[Functaset]:
    """All signals of several functasets in order; with labels where all have them."""
    labelled = all(part.labelled for part in parts)
    for part in parts:
        for batch in part.batches():
            yield batch if labelled else attrs.evolve(batch, labels=None)


def unlabelled(parts: Sequence[StoredFunctaset]) -> list[Path]:
    """Those without labels, if others have them."""
    without = [part.path for part in parts if not part.labelled]
    return without if len(without) < len(parts) else []


def write_joined(
    parts: Sequence[StoredFunctaset], path: Path, shard_size: int | None = None
) -> None:
    """Write functasets, one after the other, as one.

    Args:
        parts: at least one.
        path: the file to write, or the folder if there is a shard size.
        shard_size: signals in a shard, or None for one file.

    Raises:
        UserError: two do not go together (says which, and what differs), or the ids are too many
            for one file. Nothing is written then.
    """
    about = joined([part.about for part in parts], [str(part.path) for part in parts])
    first = parts[0]
    for part in parts:
        if part.latent_shape != first.latent_shape:
            raise UserError(
                f"{first.path} and {part.path} cannot be put together: they differ in the shape of "
                f"a latent ({first.latent_shape} and {part.latent_shape})."
            )
    if shard_size is not None:
        with ShardWriter(path, shard_size) as writer:
            for batch in batches(parts):
                writer.add(batch)
        return
    ids = [name for part in parts for name in part.ids()]
    labelled = all(part.labelled for part in parts)
    write_file(path, about, ids, first.latent_shape, labelled, batches(parts))
