"""Datasets become functasets: in memory, or on disk and resumable."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from functa_core import __version__
from functa_core.console import say, ticking
from functa_core.dataset import Dataset
from functa_core.encoding import Encoder, encode, fits
from functa_core.functaset import About, Functaset, StoredFunctaset
from functa_core.functaset.joining import write_joined
from functa_core.functaset.onefile import lay_out
from functa_core.functaset.shards import check_shard_folder
from functa_core.runs.interrupt import Interrupt, interruptible
from functa_core.runs.opening import describe_spec
from functa_core.runs.unfinished import Unfinished

PART_SECONDS = 20.0
"""How much of an encoding is lost at most when it is killed, beside the batch it was at."""
PART_NUMBERS = 16_000_000
"""Numbers of latents that are held in memory at most, beside those of a batch."""


@attrs.frozen
class Belonging:
    """What ties latents to a run.

    Attributes:
        weights_sha256: digest of its weights.
        plugin_version: of the modality's distribution.
    """

    weights_sha256: str
    plugin_version: str


def make_functaset(
    encoder: Encoder, signals: Dataset[Any], split: str, run: Belonging
) -> Functaset:
    """Encode signals in memory, and put everything that a functaset says beside them."""
    latents, psnr = encode(encoder, signals, f"encode {split}")
    return _functaset(describe_latents(encoder, split, run), signals, latents, psnr)


def write_functaset(
    path: Path,
    encoder: Encoder,
    signals: Dataset[Any],
    split: str,
    run: Belonging,
    shard_size: int | None = None,
) -> StoredFunctaset:
    """Encode signals to disk, going on where an encoding of the same to the same place was stopped.

    What is written is bit for bit what one that was never stopped writes. Latents are in memory for
    half a minute's work only; until the end they lie in a folder beside `path`.

    Args:
        path: the file to write, or the folder if there is a shard size.
        encoder: of the trained run.
        signals: at least one.
        split: what they are.
        run: that the encoder is of.
        shard_size: signals in a shard, or None for one file.

    Raises:
        UserError: the ids are too many for one file, or something is in the folder's way.
        KeyboardInterrupt: somebody asked to stop; what was fitted is kept.
    """
    about = describe_latents(encoder, split, run)
    if shard_size is None:
        shape = encoder.learner.network.latent_shape
        lay_out(path, about, signals.ids, shape, signals.labels is not None)
    else:
        check_shard_folder(path)
    unfinished = Unfinished.of(path, about, encoder, signals)
    parts = unfinished.found()
    if parts:
        done = sum(map(len, parts))
        say(f"encode {split}: {done} of {len(signals)} were encoded before; going on from there")
    _encode_rest(unfinished, parts, about)
    write_joined(parts, path, shard_size)
    unfinished.remove()
    return StoredFunctaset.open(path)


def _encode_rest(unfinished: Unfinished, parts: list[StoredFunctaset], about: About) -> None:
    """Fit what the parts do not have, and add it to them, a part at a time."""
    encoder, signals = unfinished.encoder, unfinished.signals
    kept = sum(map(len, parts))  # in parts
    fitted: list[tuple[Tensor, Tensor]] = []
    figures = _Mean()
    for part in parts:
        for batch in part.batches():
            figures.add(batch.psnr_db)

    def keep() -> None:
        nonlocal kept
        latents, psnr = (torch.cat(tensors) for tensors in zip(*fitted, strict=True))
        few = signals[kept : kept + len(latents)]
        parts.append(unfinished.save(kept, _functaset(about, few, latents, psnr)))
        kept += len(latents)
        fitted.clear()

    interrupt, done, began = Interrupt(), kept, time.monotonic()
    with (
        interruptible(interrupt),
        ticking(f"encode {about.split}", len(signals), done) as tick,
    ):
        for latents, psnr in fits(encoder, signals[done:]):
            fitted.append((latents, psnr))
            done += len(latents)
            figures.add(psnr)
            tick(done, psnr_db=figures.value)
            full = (done - kept) * encoder.learner.network.latent_numbers >= PART_NUMBERS
            late = time.monotonic() - began >= PART_SECONDS
            if full or late or interrupt.requested or done == len(signals):
                keep()
                began = time.monotonic()
            if interrupt.requested:
                raise KeyboardInterrupt


class _Mean:
    """Mean of what is not NaN."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, values: Tensor) -> None:
        self.total += float(values.double().nansum())
        self.count += int((~values.isnan()).sum())

    @property
    def value(self) -> float:
        return self.total / self.count if self.count else float("nan")


def describe_latents(encoder: Encoder, split: str, run: Belonging) -> About:
    """What is true of all latents that an encoder fits."""
    return About(
        modality=encoder.modality.name,
        spec=describe_spec(encoder.modality),
        state=dict(encoder.modality.state),
        split=split,
        weights_sha256=run.weights_sha256,
        inner_steps=encoder.inner_steps,
        versions={"functa-core": __version__, "plugin": run.plugin_version},
    )


def _functaset(about: About, signals: Dataset[Any], latents: Tensor, psnr: Tensor) -> Functaset:
    labels = None if signals.labels is None else torch.tensor(list(signals.labels))
    return Functaset.of(about, latents=latents, psnr_db=psnr, labels=labels, ids=list(signals.ids))
