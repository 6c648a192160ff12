"""A functaset as Parquet, for programs that work with tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from functa_core.errors import UserError
from functa_core.files import atomic_file
from functa_core.functaset.stored import StoredFunctaset
from functa_core.functaset.whole import Functaset

if TYPE_CHECKING:
    import pyarrow


def write_parquet(stored: StoredFunctaset, path: Path) -> None:
    """Write columns `id`, `latent`, `psnr_db` and, where there are any, `label`.

    A latent is a list of fixed size, in row-major order of its shape. What is true of all signals
    is in the schema's metadata, key `functa`, as in a functaset file, with `latent_shape`.

    Args:
        stored: to be written, a batch at a time (a row group each).
        path: written atomically.

    Raises:
        UserError: pyarrow is not installed, or a shard is damaged.
    """
    arrow, parquet = _pyarrow()
    numbers = math.prod(stored.latent_shape)
    about = {**stored.about.tree(), "latent_shape": list(stored.latent_shape)}
    columns = [
        ("id", arrow.string()),
        ("latent", arrow.list_(arrow.float32(), numbers)),
        ("psnr_db", arrow.float32()),
        *([("label", arrow.int64())] if stored.labelled else []),
    ]
    schema = arrow.schema(columns, metadata={"functa": json.dumps(about)})
    with atomic_file(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for batch in stored.batches():
            writer.write_table(_table(arrow, schema, batch, numbers))


def is_table(path: Path) -> bool:
    """Whether a file is a functaset as Parquet.

    Raises:
        UserError: pyarrow is not installed.
    """
    arrow, parquet = _pyarrow()
    try:
        return b"functa" in (parquet.read_schema(path).metadata or {})
    except (arrow.ArrowException, OSError):
        return False


def _table(arrow: Any, schema: Any, batch: Functaset, numbers: int) -> pyarrow.Table:
    flat = arrow.array(batch.latents.flatten().numpy())
    arrays = [
        arrow.array(batch.ids, arrow.string()),
        arrow.FixedSizeListArray.from_arrays(flat, numbers),
        arrow.array(batch.psnr_db.numpy()),
    ]
    if batch.labels is not None:
        arrays.append(arrow.array(batch.labels.numpy()))
    return arrow.Table.from_arrays(arrays, schema=schema)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            "Parquet needs pyarrow, which is not installed. "
            "Install it: pip install 'functa-core[parquet]'"
        ) from error
    return pyarrow, pyarrow.parquet
