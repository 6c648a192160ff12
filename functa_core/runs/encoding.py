"""Datasets become functasets: in memory, or on disk and resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from functa_core import __version__
from functa_core.blame import accuse
from functa_core.console import Ticker, say, ticking
from functa_core.dataset import Dataset
from functa_core.distributed import count, from_first, is_first, meet, rank, share
from functa_core.encoding import Encoder, encode, fits
from functa_core.errors import UserError
from functa_core.functaset import About, Functaset, StoredFunctaset
from functa_core.functaset.joining import write_joined
from functa_core.functaset.onefile import lay_out
from functa_core.functaset.shards import check_shard_folder
from functa_core.observations import Observations
from functa_core.runs.interrupt import Interrupt, interruptible
from functa_core.runs.opening import describe_spec
from functa_core.runs.unfinished import Unfinished

PART_SECONDS = 20.0
"""How much of an encoding is lost at most when it is killed, beside the batch it was at."""
PART_NUMBERS = 16_000_000
"""Numbers of latents that are held in memory at most, beside those of a batch."""
LATE = 90.0
"""Seconds after which what another process wrote does not come any more."""


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
    twenty seconds' work only; until the end they lie in a folder beside `path`. Several processes
    share the work out, and the first puts it together.

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
    unfinished, parts = _begin(path, about, encoder, signals, shard_size)
    there = from_first({start: len(part) for start, part in parts.items()})
    if there:
        done = sum(there.values())
        say(f"encode {split}: {done} of {len(signals)} were encoded before; going on from there")
    figures = _Mean()
    for part in parts.values():
        for batch in part.batches():
            figures.add(batch.psnr_db)
    missing = mine(gaps(there, len(signals)), encoder.batch)
    done = sum(there.values()) if count() == 1 else 0
    total = done + sum(stop - start for start, stop in missing)
    name = f"encode {split}" if count() == 1 else f"encode {split}, process 1 of {count()}"
    with ticking(name, total, done) as tick:
        for start, stop in missing:
            done = _encode(unfinished, (start, stop), about, figures, tick, done)
    meet()
    if is_first():
        write_joined(_all_parts(unfinished), path, shard_size)
        unfinished.remove()
    meet()
    _comes(path.exists)
    return StoredFunctaset.open(path)


def _comes(seen: Callable[[], bool]) -> bool:
    """Whether what another process has written is seen here, at once or after a while.

    A network's file system may show a folder as it was some moments ago.
    """
    until = time.monotonic() + (LATE if count() > 1 else 0.0)
    while not (found := seen()) and time.monotonic() < until:
        time.sleep(0.5)
    return found


def _begin(
    path: Path, about: About, encoder: Encoder, signals: Dataset[Any], shard_size: int | None
) -> tuple[Unfinished, Mapping[int, StoredFunctaset]]:
    """Where parts are kept, the same in all processes, and in the first those that are there.

    Raises:
        UserError: the functaset cannot be written, or another process has other signals.
    """
    if is_first():
        _check_place(path, about, encoder, signals, shard_size)
        unfinished = Unfinished.of(path, about, encoder, signals)
        from_first((unfinished.folder, list(signals.ids)))
        return unfinished, unfinished.found()
    folder, ids = from_first((path, [""]))
    if ids != list(signals.ids):
        raise UserError(
            f"process {rank()} finds {len(signals)} signals, the first process {len(ids)}, or "
            "others.\nAll need the same data at the same path."
        )
    return Unfinished(folder, encoder, signals), {}


def _all_parts(unfinished: Unfinished) -> list[StoredFunctaset]:
    """The parts that make the whole.

    Raises:
        UserError: some are not there.
    """
    parts: Mapping[int, StoredFunctaset] = {}
    missing: list[tuple[int, int]] = []

    def whole() -> bool:
        nonlocal parts, missing
        parts = unfinished.found()
        lengths = {start: len(part) for start, part in parts.items()}
        missing = gaps(lengths, len(unfinished.signals))
        return not missing

    _comes(whole)
    if missing and count() == 1 and not unfinished.kept(missing[0][0]):
        raise UserError(
            f"latents from signal {missing[0][0]} on are not in {unfinished.folder} any more. "
            "Does another process encode to the same --out?"
        )
    if missing and count() == 1:
        raise accuse(
            type(unfinished.encoder.modality),
            "observations",
            f"measured signal {missing[0][0]} otherwise than a moment before; without a generator, "
            "a signal is measured and loaded the same each time",
        )
    if missing:
        raise UserError(
            f"latents from signal {missing[0][0]} on are not in {unfinished.folder}: what another "
            "process wrote did not come here.\n--out has to be on a file system that all see."
        )
    return list(parts.values())


def _check_place(
    path: Path, about: About, encoder: Encoder, signals: Dataset[Any], shard_size: int | None
) -> None:
    """Raise a `UserError` if the functaset cannot be written, before it is made."""
    if shard_size is not None:
        check_shard_folder(path)
        return
    shape = encoder.learner.network.latent_shape
    lay_out(path, about, signals.ids, shape, signals.labels is not None)


def gaps(parts: Mapping[int, int], total: int) -> list[tuple[int, int]]:
    """What parts leave of `total` signals.

    Args:
        parts: lengths by the place where each begins, in order.
        total: of all signals.

    Returns:
        Where each gap begins and where it has ended.
    """
    begins = [0, *(start + length for start, length in parts.items())]
    ends = [*parts, total]
    return [(begin, end) for begin, end in zip(begins, ends, strict=True) if begin < end]


def mine(missing: Sequence[tuple[int, int]], batch: int) -> list[tuple[int, int]]:
    """This process's share of what is missing.

    Args:
        missing: where each gap begins and where it has ended.
        batch: signals that are fitted at once. Each batch is one process's, so that it has the same
            signals whatever the number of processes.
    """
    sizes = [-(-(stop - start) // batch) for start, stop in missing]
    own = share(sum(sizes))
    found, before = [], 0
    for (start, stop), size in zip(missing, sizes, strict=True):
        low, high = max(own.start - before, 0), min(own.stop - before, size)
        if low < high:
            found.append((start + low * batch, min(start + high * batch, stop)))
        before += size
    return found


def _encode(
    unfinished: Unfinished,
    span: tuple[int, int],
    about: About,
    figures: _Mean,
    tick: Ticker,
    ticked: int,
) -> int:
    """Fit the signals of a span and keep them, a part at a time.

    Args:
        unfinished: where parts are kept.
        span: where the signals begin and end.
        about: what is true of their latents.
        figures: PSNR so far.
        tick: told of each batch.
        ticked: how many it was told of before.

    Returns:
        How many it has been told of.
    """
    encoder, signals = unfinished.encoder, unfinished.signals
    kept, stop = span
    fitted: list[tuple[Tensor, Tensor]] = []

    def keep(first: Observations) -> None:
        nonlocal kept
        latents, psnr = (torch.cat(tensors) for tensors in zip(*fitted, strict=True))
        few = signals[kept : kept + len(latents)]
        unfinished.save(kept, _functaset(about, few, latents, psnr), first)
        kept += len(latents)
        fitted.clear()

    interrupt, done, began = Interrupt(), kept, time.monotonic()
    with interruptible(interrupt):
        for latents, psnr, observations in fits(encoder, signals[done:stop]):
            if not fitted:
                first = observations.signals(0, 1)
            fitted.append((latents, psnr))
            done += len(latents)
            figures.add(psnr)
            tick(ticked + done - span[0], psnr_db=figures.value)
            full = (done - kept) * encoder.learner.network.latent_numbers >= PART_NUMBERS
            late = time.monotonic() - began >= PART_SECONDS
            if full or late or interrupt.requested or done == stop:
                keep(first)
                began = time.monotonic()
            if interrupt.requested:
                raise KeyboardInterrupt
    return ticked + stop - span[0]


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
