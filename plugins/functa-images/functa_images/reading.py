"""From what the user pointed at to a data set."""

from collections.abc import Sequence
from pathlib import Path

from functa_core import Dataset, DataSource, Split, UserError
from functa_images.arrays import read_arrays
from functa_images.collection import Collection, Wanted
from functa_images.files import read_files
from functa_images.folders import SUFFIXES
from functa_images.pixels import Pixels

ARRAYS = (".npy", ".npz")


def read(path: Path, wanted: Wanted, labels: bool, skip_bad: bool) -> Collection:
    """All pictures of a folder, zip archive, array file or single picture file.

    Raises:
        UserError: there is nothing at `path`, it is of another kind, or its content is unusable.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise UserError(
            f"{path}: there is no such file or folder.\n"
            "Images are read from a folder or zip of PNG or JPEG files, or an .npy or .npz file."
        )
    if path.is_dir() or suffix == ".zip" or suffix in SUFFIXES:
        return read_files(path, wanted, labels, skip_bad)
    if suffix in ARRAYS:
        return read_arrays(path, wanted, skip_bad)
    raise UserError(
        f"{path} is {f'a {suffix} file' if suffix else 'a file without a suffix'}, "
        "which is not read.\n"
        "Give a folder or zip of .png, .jpg or .jpeg files, or an .npy or .npz file."
    )


def split_of(
    collection: Collection, split: Split, source: DataSource, known: Sequence[str]
) -> Dataset[Pixels]:
    """One split of the collection.

    Args:
        collection: everything that was read.
        split: which part.
        source: seed and fraction of the random split, where the data has none of its own.
        known: the class names of the prepared state, or none; they decide how labels count.

    Raises:
        UserError: the data's own split leaves one side empty and `split` is not "all".
    """
    is_test = collection.is_test
    if split != "all" and is_test is not None and all(t == is_test[0] for t in is_test):
        side, other = ("test", "training") if is_test[0] else ("training", "test")
        raise UserError(
            f"all {len(is_test)} images are marked as {side} images, so there are no {other} "
            "images.\nMark some of each, leave the marks (is_test, or the folder 'test') out for a "
            "random split, or ask for --split all."
        )
    names = list(known or collection.class_names)
    labels, unknown = None, set[str]()
    if collection.classes is not None:
        index = {name: i for i, name in enumerate(names)}
        labels = [-1 if c is None else index.get(c, -1) for c in collection.classes]
        unknown = {c for c in collection.classes if c is not None and c not in index}
    notes = list(collection.notes)
    if unknown:
        notes.append(
            f"classes that the run was not trained with are labelled -1: {_some(sorted(unknown))}"
        )
    whole = Dataset(
        ids=collection.ids,
        load=collection.pictures.__getitem__,
        labels=labels,
        label_names=names if labels is not None else (),
        notes=notes,
    )
    return whole.split(split, source, is_test)


def _some(names: Sequence[str]) -> str:
    """A list in words, cut after five."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
