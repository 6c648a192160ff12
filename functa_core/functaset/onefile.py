"""One functaset file: a safetensors file, written in a stream and read through a memory map.

The safetensors library writes what is in memory, and latents need not be. The format is small: the
length of a JSON header (8 bytes, little-endian), the header, and the tensors' bytes without gaps.
All functasets are written here, so the same rows are the same bytes whoever wrote them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import attrs
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from functa_core.errors import UserError
from functa_core.files import atomic_file
from functa_core.functaset.about import About
from functa_core.functaset.statistics import Statistics

ALIGNMENT = 64  # bytes; what vector instructions like, and a multiple of what safetensors asks for
LONGEST_HEADER = 100_000_000  # bytes; the safetensors library reads no longer one


@runtime_checkable
class Rows(Protocol):
    """Some rows of a functaset."""

    @property
    def latents(self) -> Tensor:
        """(n, *latent_shape) float32."""
        ...

    @property
    def psnr_db(self) -> Tensor:
        """(n) float32."""
        ...

    @property
    def labels(self) -> Tensor | None:
        """(n) int64, or None."""
        ...


@attrs.frozen
class Layout:
    """Where the tensors of a file lie.

    Attributes:
        header: with its length in front and its padding behind.
        begins: offset in the file of each tensor.
        size: of the file in bytes.
    """

    header: bytes
    begins: Mapping[str, int]
    size: int


def lay_out(
    path: Path, about: About, ids: Sequence[str], latent_shape: tuple[int, ...], labelled: bool
) -> Layout:
    """The layout of a file of as many rows as there are ids.

    Raises:
        UserError: the ids are too long for one file.
    """
    count = len(ids)
    tensors: dict[str, tuple[str, tuple[int, ...], int]] = {
        **({"labels": ("I64", (count,), 8)} if labelled else {}),
        "latents": ("F32", (count, *latent_shape), 4),
        "psnr_db": ("F32", (count,), 4),
        "mean": ("F32", latent_shape, 4),
        "std": ("F32", latent_shape, 4),
    }
    entries: dict[str, object] = {
        "__metadata__": {"functa": json.dumps({**about.tree(), "ids": list(ids)})}
    }
    offsets, end = {}, 0
    for name, (kind, shape, size) in tensors.items():
        offsets[name] = end
        end += size * math.prod(shape)
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [offsets[name], end]}
    text = json.dumps(entries).encode()
    # Spaces behind the JSON put the latents where vector instructions like them.
    text += b" " * (-(8 + len(text) + offsets["latents"]) % ALIGNMENT)
    if len(text) > LONGEST_HEADER:
        raise UserError(
            f"{count} ids take {len(text) / 1e6:.0f} MB, but one file ({path}) holds at most "
            f"{LONGEST_HEADER / 1e6:.0f}. Write a folder of shards: --shard-size N."
        )
    header = len(text).to_bytes(8, "little") + text
    begins = {name: len(header) + offset for name, offset in offsets.items()}
    return Layout(header, begins, len(header) + end)


def write_file(
    path: Path,
    about: About,
    ids: Sequence[str],
    latent_shape: tuple[int, ...],
    labelled: bool,
    batches: Iterable[Rows],
) -> tuple[Tensor, Tensor]:
    """Write a functaset atomically, in memory for one batch; parent folders are made.

    Args:
        path: of the file.
        about: what is true of all rows.
        ids: of all rows.
        latent_shape: of one latent.
        labelled: whether rows have labels.
        batches: as many rows as ids, in order.

    Returns:
        Mean and standard deviation of each number of a latent, as written.

    Raises:
        UserError: the ids are too long for one file.
    """
    layout = lay_out(path, about, ids, latent_shape, labelled)
    names = [name for name in ("labels", "latents", "psnr_db") if name in layout.begins]
    places = {name: layout.begins[name] for name in names}
    statistics = Statistics(latent_shape)
    done = 0
    with atomic_file(path) as file:
        file.write(layout.header)
        for rows in batches:
            for name in names:
                file.seek(places[name])
                places[name] += file.write(_little_endian(getattr(rows, name)))
            statistics.add(rows.latents.detach().cpu())
            done += len(rows.latents)
        if done != len(ids):
            raise ValueError(f"{done} rows for {len(ids)} ids")
        mean, std = statistics.result()
        for name, tensor in (("mean", mean), ("std", std)):
            file.seek(layout.begins[name])
            file.write(_little_endian(tensor))
        file.truncate(layout.size)
    return mean, std


def _little_endian(tensor: Tensor) -> memoryview:
    kind = "<f4" if tensor.is_floating_point() else "<i8"
    array = tensor.detach().cpu().numpy().astype(np.dtype(kind), copy=False)
    return np.ascontiguousarray(array).data


@attrs.frozen(eq=False)
class OpenFile:
    """A functaset file whose tensors are mapped from disk: what is not looked at is not read.

    They begin wherever the header ended, which changes the last bits of what is computed with them,
    so only copies are given away.

    Attributes:
        about: what is true of all rows.
        ids: of all rows.
        latents, psnr_db, labels: mapped.
        statistics: mapped mean and standard deviation, or None where the file has none.
    """

    about: About
    ids: list[str]
    latents: Tensor
    psnr_db: Tensor
    labels: Tensor | None
    statistics: tuple[Tensor, Tensor] | None

    @classmethod
    def read(cls, path: Path) -> OpenFile:
        """Open a file and check what it says of itself.

        Raises:
            UserError: no such file, not a functaset, damaged, or of another schema version.
        """
        if not path.is_file():
            raise UserError(f"there is no functaset at {path}.")
        try:
            with safe_open(path, "pt") as file:
                tree = json.loads((file.metadata() or {}).get("functa", "null"))
                known = set(file.keys()) & {*_DTYPES}
                tensors = {name: file.get_tensor(name) for name in known}
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(f"{path} is not a functaset: {error}.") from error
        if not isinstance(tree, dict):
            raise UserError(f"{path} is a safetensors file, but not a functaset of functa.")
        about = About.of(tree, path)
        ids = tree.get("ids")
        if not isinstance(ids, list):
            raise UserError(f"{path} is not a whole functaset: 'ids' is missing or wrong.")
        _check_tensors(path, tensors, len(ids))
        both = "mean" in tensors and "std" in tensors
        return cls(
            about=about,
            ids=ids,
            latents=tensors["latents"],
            psnr_db=tensors["psnr_db"],
            labels=tensors.get("labels"),
            statistics=(tensors["mean"].clone(), tensors["std"].clone()) if both else None,
        )

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of one latent."""
        return tuple(self.latents.shape[1:])


_DTYPES = {
    "latents": torch.float32,
    "psnr_db": torch.float32,
    "labels": torch.int64,
    "mean": torch.float32,
    "std": torch.float32,
}


def is_functaset(path: Path) -> bool:
    """Whether a file is a whole functaset."""
    try:
        OpenFile.read(path)
    except UserError:
        return False
    return True


def _check_tensors(path: Path, tensors: Mapping[str, Tensor], count: int) -> None:
    """Raise a `UserError` unless the tensors are those of `count` rows."""
    for name in ("latents", "psnr_db"):
        if name not in tensors:
            raise UserError(f"{path} is not a whole functaset: tensor '{name}' is missing.")
    latent_shape = tuple(tensors["latents"].shape[1:])
    shapes = {"latents": (count, *latent_shape), "mean": latent_shape, "std": latent_shape}
    for name, tensor in tensors.items():
        shape = shapes.get(name, (count,))
        if tuple(tensor.shape) != shape or tensor.dtype != _DTYPES[name]:
            raise UserError(
                f"{path} is not a whole functaset: '{name}' is {tuple(tensor.shape)} "
                f"{_plain(tensor.dtype)}, but {shape} {_plain(_DTYPES[name])} is needed for "
                f"{count} ids."
            )
    if not latent_shape:
        raise UserError(f"{path} is not a whole functaset: its latents have no numbers.")


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
