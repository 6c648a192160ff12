"""What reading scenes has in common, whatever layout they have on disk."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from functa_core import Dataset, DataSource, Files, Split, UserError
from functa_nerf.resizing import Resampling, Size, resampling
from functa_nerf.scenes import Scene
from functa_nerf.splits import chosen


@attrs.frozen
class Wanted:
    """What becomes of the views that are read.

    Attributes:
        size: that they are resampled to.
        max_views: read of each scene, spread evenly; None for all.
        white: whether what is transparent, or not there, is white; else black.
        skip_bad: leave out what is missing, where something else is there, instead of refusing.
    """

    size: Size = None
    max_views: int | None = None
    white: bool = True
    skip_bad: bool = False


@attrs.frozen(eq=False)
class Loaded:
    """A scene, and what the user should know about it: sentences that name no scene."""

    scene: Scene
    notes: Sequence[str] = ()


class Layout(ABC):
    """Scenes on disk, found but not read.

    Attributes:
        names: a path for each scene in path order; "" where the data is one scene itself.
    """

    names: Sequence[str]

    @abstractmethod
    def load(self, name: str, whole: bool) -> Loaded:
        """Read one scene.

        Args:
            name: one of `names`.
            whole: with the views that the data keeps for testing.

        Raises:
            UserError: whatever is wrong with it; names the file.
        """

    def load_all(self, names: Sequence[str], whole: bool) -> list[Loaded | UserError]:
        """Read several at once, each as it is or as what is wrong with it."""
        with ThreadPoolExecutor() as pool:  # decoding leaves Python's lock
            return list(pool.map(lambda name: self._attempt(name, whole), names))

    def classes(self) -> Sequence[str | None] | None:
        """The class of each scene (None: unknown), or None where the layout tells of none."""
        return None

    def _attempt(self, name: str, whole: bool) -> Loaded | UserError:
        try:
            return self.load(name, whole)
        except UserError as error:
            return error


@attrs.define
class SceneReader:
    """Reads the scenes of one source, each at most once.

    Attributes:
        layout: how they lie on disk.
        root: what the user named, for messages.
        white: whether the background is white; a scene that is all background is left out.
        held_out_every: which views of a lone scene are for testing; see `Scene.hidden`.
        skip_bad: leave unreadable scenes out instead of refusing the data.
        label_names: classes of the prepared run, in the order in which labels count them; empty
            for those that the data has.
    """

    layout: Layout
    root: str
    white: bool
    held_out_every: int
    skip_bad: bool
    label_names: Sequence[str] = ()
    _read: dict[tuple[str, bool], Loaded | UserError] = attrs.field(init=False, factory=dict)

    def dataset(self, split: Split, source: DataSource) -> Dataset[Scene]:
        """The scenes of one split in path order, all of them read and checked.

        A training scene has only the views that are not for testing. Data of one scene has it in
        both splits.
        """
        names, notes = chosen(self.layout.names, split, source)
        alone = len(self.layout.names) == 1
        scenes = self._usable(names, alone or split != "train", notes)
        if alone:
            scenes = {name: self._lone(scene, split) for name, scene in scenes.items()}
        if names and not scenes:
            raise UserError(f"no scene in '{self.root}' ({split}) is usable. {notes[-1]}")
        kept = list(scenes.values())
        _check_sizes(kept)
        notes += background_notes(kept, self.white)
        found = Dataset([scene.id for scene in kept], kept.__getitem__, notes=notes)
        return self._labelled(found, list(scenes))

    def _usable(self, names: Sequence[str], whole: bool, notes: list[str]) -> dict[str, Scene]:
        """Scenes by name, without the unreadable and the blank ones, which are noted."""
        missing = [name for name in names if (name, whole) not in self._read]
        found = self.layout.load_all(missing, whole)
        self._read.update(zip([(name, whole) for name in missing], found, strict=True))
        results = {name: self._read[name, whole] for name in names}
        bad = [result for result in results.values() if isinstance(result, UserError)]
        if bad and not self.skip_bad:
            raise bad[0]
        if bad:
            notes.append(f"{len(bad)} unreadable scenes are left out; the first: {bad[0]}")
        loaded = {name: r for name, r in results.items() if isinstance(r, Loaded)}
        notes += _counted(note for one in loaded.values() for note in one.notes)
        kept = {name: one.scene for name, one in loaded.items() if not self._blank(one.scene)}
        if len(kept) < len(loaded):
            colour = "white" if self.white else "white or black"
            notes.append(f"{len(loaded) - len(kept)} blank scenes (all {colour}) are left out.")
        return kept

    def _lone(self, scene: Scene, split: Split) -> Scene:
        """The only scene there is: whole with its test views marked, or without them."""
        hidden = scene.hidden(self.held_out_every)
        if split == "train":
            return attrs.evolve(scene.only((~hidden).nonzero()[:, 0].tolist()), for_test=None)
        return attrs.evolve(scene, for_test=hidden)

    def _blank(self, scene: Scene) -> bool:
        colours = (255,) if self.white else (255, 0)
        return any(bool((scene.images == colour).all()) for colour in colours)

    def _labelled(self, scenes: Dataset[Scene], names: Sequence[str]) -> Dataset[Scene]:
        """Scenes, by their names in the layout, with labels that count all classes of the data."""
        classes = self.layout.classes()
        if classes is None:
            return scenes
        class_of = dict(zip(self.layout.names, classes, strict=True))
        there = sorted({one for one in classes if one is not None})
        labelled = scenes.with_classes([class_of[name] for name in names], there)
        return labelled.relabelled(self.label_names)


def read_views(
    files: Files, paths: Sequence[str], wanted: Wanted, where: str
) -> tuple[UInt8[Tensor, "V H W 3"], Resampling, tuple[int, int]]:
    """At least one view, resampled when read, so that large ones are held one at a time.

    Returns:
        The views, what was done to each, and the height and width that they have in the files.

    Raises:
        UserError: one cannot be read, or differs in size from the first; names it.
    """
    views: list[np.ndarray] = []
    for path in paths:
        view = read_view(files.read(path), path, wanted.white)
        if not views:
            first = view.shape[0], view.shape[1]
            to = resampling(*first, wanted.size, where)
        if view.shape[:2] != first:
            raise UserError(
                f"{where}: '{path}' is {view.shape[0]}x{view.shape[1]} pixels, the "
                f"first view {first[0]}x{first[1]}; all must be the same."
            )
        views.append(to.view(view))
    return torch.from_numpy(np.stack(views)), to, first


def read_view(data: bytes, path: str, white: bool) -> UInt8[np.ndarray, "H W 3"]:
    """An image, over white or else black where it is transparent."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            rgba = image.convert("RGBA")
    except Exception as error:  # decoders raise almost anything
        # SyntaxError is what Pillow raises for a broken PNG chunk.
        raise UserError(f"view '{path}' cannot be decoded as an image: {error}.") from error
    behind = Image.new("RGBA", rgba.size, "white" if white else "black")
    return np.asarray(Image.alpha_composite(behind, rgba).convert("RGB"))


def background_notes(scenes: Sequence[Scene], white: bool) -> Iterator[str]:
    """A warning if what surrounds the objects is black and shall be white, or the reverse."""
    edges = [
        torch.cat(
            [
                part.reshape(-1, 3)
                for part in (scene.images[:, [0, -1]], scene.images[:, :, [0, -1]])
            ]
        )
        for scene in scenes[:: max(1, len(scenes) // 16)]
    ]
    if not edges:
        return
    edge = torch.cat(edges)
    other = edge <= 5 if white else edge >= 250
    if float(other.all(dim=1).float().mean()) > 0.9:
        found, told = ("black", "white") if white else ("white", "black")
        yield (
            f"The edges of the views are {found}, but rays that meet nothing are rendered {told}: "
            f"--set modality.white_background={'false' if white else 'true'} says otherwise."
        )


def _counted(notes: Iterable[str]) -> list[str]:
    """Each note once, with the number of scenes that it is about if there are several."""
    counts = Counter(notes)
    return [note if count == 1 else f"{note} ({count} scenes)" for note, count in counts.items()]


def _check_sizes(scenes: Sequence[Scene]) -> None:
    """All scenes of a split have views of one size."""
    for scene in scenes:
        one, other = scenes[0].lens, scene.lens
        if (one.height, one.width) != (other.height, other.width):
            raise UserError(
                f"views are {one.height}x{one.width} pixels in '{scenes[0].id}' and "
                f"{other.height}x{other.width} in '{scene.id}';\n"
                "choose one size with --set modality.resolution=N, and crop them first if their "
                "proportions differ."
            )
