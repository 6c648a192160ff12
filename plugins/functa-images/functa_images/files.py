"""Reading PNG and JPEG files."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from functa_core import Dataset, Kept, UserError, skip_notes
from functa_images.folders import Listing, classes_of, held_out, listed
from functa_images.pixels import Pixels, centre_square, decode, nbytes, to_channels
from functa_images.uniform import UNREADABLE, Shape, Wanted, same_channels, same_size


def read_files(path: Path, wanted: Wanted, labels: bool, skip_bad: bool) -> Dataset[Pixels]:
    """All pictures of a folder, a zip archive or a single file.

    Args:
        path: of the folder, archive or file.
        wanted: size and channels.
        labels: whether sub-folders are classes.
        skip_bad: leave unreadable files out instead of refusing the data.

    Raises:
        UserError: nothing can be read, a file is damaged, sizes differ, a class is missing.
    """
    listing = listed(path, labels)
    skipped: list[str] = []
    kept: Kept[str, np.ndarray] = Kept(
        lambda name: _picture(listing, name, wanted.resolution), nbytes, wanted.keep
    )
    found = same_size(_shapes(listing, kept, skip_bad, skipped), wanted)
    if not found:
        raise UserError(
            f"none of the {len(skipped)} images of {path} can be read.\n"
            "Without --skip-bad the first error is shown."
        )
    channels, conversions = same_channels(found, wanted)
    ids = list(found)
    signals = Dataset(
        ids=ids,
        load=lambda i: to_channels(kept(ids[i]), channels),
        notes=[*listing.notes(), *skip_notes(skipped, UNREADABLE), *conversions],
        is_test=held_out(ids),
    )
    return signals.with_classes(_classes(ids, wanted)) if labels else signals


def _shapes(
    listing: Listing, kept: Kept[str, Pixels], skip_bad: bool, skipped: list[str]
) -> Iterator[tuple[str, Shape]]:
    """Each file's id and shape, one at a time; ids left out are appended to `skipped`."""
    for name in listing.names:
        try:
            height, width, channels = kept(name).shape
        except UserError:
            if not skip_bad:
                raise
            skipped.append(name)
        else:
            yield name, (height, width, channels)


def _picture(listing: Listing, name: str, resolution: int | None) -> Pixels:
    """One picture at the size wanted."""
    try:
        picture = decode(BytesIO(listing.files.read(listing.names[name])), resolution)
    except Exception as error:  # decoders raise almost anything on damaged files
        raise UserError(
            f"image {name} in {listing.files.root} cannot be read: {_reason(error)}.\n"
            "Mend or remove it, or leave unreadable images out with --skip-bad."
        ) from error
    return picture if resolution is None else centre_square(picture, resolution)


def _reason(error: BaseException) -> str:
    """Why a file cannot be read, in a few words."""
    if isinstance(error, UserError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, UnidentifiedImageError):
        return "its content is neither PNG nor JPEG"
    if isinstance(error, Image.DecompressionBombError):
        return f"it would unpack to more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    return str(error).rstrip(".") or type(error).__name__


def _classes(ids: Sequence[str], wanted: Wanted) -> list[str | None]:
    """The class of each picture; new data for a finished run may have none.

    Raises:
        UserError: a run is being prepared and a picture lies in no class folder.
    """
    classes = classes_of(ids)
    missing = [name for name, cls in zip(ids, classes, strict=True) if cls is None]
    if missing and wanted.prepared is None:
        raise UserError(
            f"modality.labels asks for a class folder for each image, and {len(missing)} of "
            f"{len(ids)} lie in none, {missing[0]} for one.\n"
            "Sort them into one folder per class, or leave modality.labels out."
        )
    return classes
