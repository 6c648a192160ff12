"""The index of a folder of shards: which files there are, and what is true of all their rows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from functa_core.errors import UserError
from functa_core.files import write_atomic
from functa_core.functaset.about import About

INDEX = "index.json"


@attrs.frozen
class Shard:
    """One file of a functaset.

    Attributes:
        file: its name in the folder.
        signals: how many rows it has.
        size: in bytes, by which a damaged one is found without reading it.
    """

    file: str
    signals: int
    size: int


@attrs.frozen(eq=False)
class Index:
    """What index.json says.

    Attributes:
        about: what is true of all rows.
        latent_shape: of one latent.
        labelled: whether rows have labels.
        mean, std: (latent_shape) over all rows.
        shards: in order.
    """

    about: About
    latent_shape: tuple[int, ...]
    labelled: bool
    mean: Tensor
    std: Tensor
    shards: tuple[Shard, ...]

    def write(self, folder: Path) -> None:
        """Write index.json atomically; its presence says that the folder is whole."""
        tree = {
            **self.about.tree(),
            "signals": sum(shard.signals for shard in self.shards),
            "latent_shape": list(self.latent_shape),
            "labelled": self.labelled,
            "mean": _numbers(self.mean),
            "std": _numbers(self.std),
            "shards": [
                {"file": shard.file, "signals": shard.signals, "bytes": shard.size}
                for shard in self.shards
            ],
        }
        write_atomic(folder / INDEX, json.dumps(tree, allow_nan=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Index:
        """Read index.json, and find out whether all its shards are there.

        Raises:
            UserError: there is none, it is damaged, or a shard is missing or of another size.
        """
        path = folder / INDEX
        if not path.is_file():
            raise UserError(
                f"there is no functaset in the folder {folder} (no {INDEX}). If it was being "
                "written, that did not end: run the command again."
            )
        try:
            tree = json.loads(path.read_text())
        except ValueError as error:
            raise UserError(f"{path} is not an index of a functaset: {error}.") from error
        about = About.of(tree, path)
        try:
            found = cls._of(about, tree)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"{path} is not a whole index of a functaset: {error}.") from error
        for shard in found.shards:
            file = folder / shard.file
            size = file.stat().st_size if file.is_file() else None
            if size != shard.size:
                have = "it is missing" if size is None else f"it has {size}"
                raise UserError(
                    f"{file} is not as {INDEX} says: {shard.size} bytes, but {have}. "
                    "Copy the whole folder again, or make it again."
                )
        return found

    @classmethod
    def _of(cls, about: About, tree: dict[str, Any]) -> Index:
        shape = tuple(int(size) for size in tree["latent_shape"])
        shards = tuple(
            Shard(str(one["file"]), int(one["signals"]), int(one["bytes"]))
            for one in tree["shards"]
        )
        for shard in shards:
            if Path(shard.file).name != shard.file:
                raise ValueError(f"shard '{shard.file}' is not in the folder")
        mean, std = (_tensor(tree[name], shape) for name in ("mean", "std"))
        return cls(about, shape, bool(tree["labelled"]), mean, std, shards)


def _numbers(tensor: Tensor) -> list[float | None]:
    """In row-major order; JSON has no NaN and no infinities."""
    return [x if math.isfinite(x) else None for x in tensor.flatten().tolist()]


def _tensor(numbers: list[float | None], shape: tuple[int, ...]) -> Tensor:
    return torch.tensor([math.nan if x is None else x for x in numbers]).reshape(shape)
