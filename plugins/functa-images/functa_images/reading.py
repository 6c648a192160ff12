"""From what the user pointed at to a data set."""

from pathlib import Path

from functa_core import Dataset, UserError
from functa_images.arrays import read_arrays
from functa_images.files import read_files
from functa_images.folders import SUFFIXES
from functa_images.pixels import Pixels
from functa_images.uniform import Wanted

ARRAYS = (".npy", ".npz")


def read(path: Path, wanted: Wanted, labels: bool, skip_bad: bool) -> Dataset[Pixels]:
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
