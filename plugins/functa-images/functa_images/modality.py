"""The modality `images`: pictures on a grid of pixels."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from functa_core import (
    Artefact,
    Box,
    Codec,
    Dataset,
    Field,
    Mask,
    Metric,
    Modality,
    Observations,
    Published,
    Spec,
    Split,
    State,
    UserError,
    grid,
    random_subset,
)
from functa_images.animations import write_gif
from functa_images.benchmarks import BENCHMARKS
from functa_images.codec import jpeg
from functa_images.embedded import embedded
from functa_images.fid import fid
from functa_images.masks import masks
from functa_images.options import ImagesConfig
from functa_images.pictures import (
    data_sheet,
    enlarged_sheet,
    fits_sheet,
    gallery_sheet,
    masked_sheet,
)
from functa_images.pixels import CHANNEL_WORDS, Pixels, image_of, to_float
from functa_images.published import recognise
from functa_images.reading import read
from functa_images.similarity import SMALLEST_SIDE, ssim
from functa_images.uniform import Wanted

PREVIEWED = 24
"""Pictures on the sheet of the data."""


class Images(Modality[np.ndarray]):
    """Pictures of one size. A signal is an array (h, w, c), uint8 or float32 from 0 to 1.

    The field maps (row, column) in the unit box, pixel centres, to c values from 0 to 1.
    """

    name = "images"
    api_version = 1
    Config = ImagesConfig
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "model": {"latent_dim": 128, "width": 96, "depth": 5, "w0": 20.0},
        "meta": {
            "solver": "gauss-newton",
            "steps": 1200,
            "batch_size": 24,
            "lr": 5e-4,
            "lr_final": 0.02,
        },
    }
    tasks = ("generate", "impute", "interpolate", "classify", "compress")
    benchmarks = BENCHMARKS

    config: ImagesConfig

    @classmethod
    def from_published(cls, config: Mapping[str, Any]) -> Published | None:
        """Recognise published weights of pictures. Raises `UserError` for impossible sizes."""
        return recognise(config)

    @property
    def spec(self) -> Spec:
        """The unit square; values from 0 to 1, starting from mid-grey."""
        return Spec(
            domain=Box((0.0, 0.0), (1.0, 1.0)),
            channels=self._shape[2],
            value_range=(0.0, 1.0),
            output_offset=0.5,
        )

    @property
    def _shape(self) -> tuple[int, int, int]:
        """Height and width in pixels, and channels, of the pictures of this run."""
        return self.state["height"], self.state["width"], self.state["channels"]

    @cached_property
    def _everything(self) -> Dataset[Pixels]:
        """All pictures of the source: looked at once, for however many splits are asked for."""
        wanted = Wanted(
            resolution=self.config.resolution,
            channels=self.config.channels,
            prepared=None if self._state is None else self._shape,
            keep=self.source.keep,
        )
        path = embedded() if self.source.path is None else self.source.path
        return read(path, wanted, self.config.labels, self.source.skip_bad)

    def dataset(self, split: Split) -> Dataset[Pixels]:
        """The pictures of one split, all of one size; what memory does not hold is read again."""
        known = () if self._state is None else self._state["label_names"]
        return self._everything.relabelled(known).split(split, self.source)

    def prepare(self, train: Dataset[Pixels]) -> State:
        """The class names and the shape of a picture."""
        height, width, channels = train[0].shape
        return {
            "label_names": list(train.label_names),
            "height": height,
            "width": width,
            "channels": channels,
        }

    def observations(
        self, signals: Sequence[np.ndarray], generator: Generator | None = None
    ) -> Observations:
        """Pixels as observations: one set of queries for all signals, every weight 1.

        With a generator `config.points` pixels are drawn, the same ones for the whole batch, so
        that the queries stay shared.
        """
        for i, signal in enumerate(signals):
            if signal.shape != self._shape or signal.dtype not in (np.uint8, np.float32):
                raise UserError(
                    f"image {i} of the batch has shape {signal.shape} and type {signal.dtype}.\n"
                    f"This run takes arrays (height, width, channels) of {self._shape}, uint8 or "
                    "float32 from 0 to 1."
                )
        height, width, channels = self._shape
        chosen = random_subset(height * width, self.config.points, generator)
        values = [to_float(signal.reshape(-1, 1, channels)[chosen.numpy()]) for signal in signals]
        values_BNC = torch.from_numpy(np.stack(values)[:, :, 0])
        return Observations(
            queries=grid((height, width))[chosen],
            values=values_BNC,
            weights=torch.ones(values_BNC.shape[:2]),
        )

    def metrics(self) -> Sequence[Metric]:
        """Structural similarity, where pictures are not smaller than its window."""
        height, width, _ = self._shape
        if min(height, width) < SMALLEST_SIDE:
            return ()
        return (Metric("ssim", "", True, lambda p, o: ssim(p, o, height, width)),)

    def raw(self, signals: Sequence[np.ndarray]) -> Float[Tensor, "B C h w"]:
        """Pictures as floats from 0 to 1, channels first."""
        pictures = np.stack([to_float(signal) for signal in signals])
        return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()

    def codec(self) -> Codec | None:
        """JPEG, which has no alpha channel."""
        return None if self._shape[2] == 4 else jpeg()

    def masks(self) -> Sequence[Mask]:
        """Halves, a box in the middle, random pixels."""
        height, width, _ = self._shape
        return masks(height, width)

    def decode(self, field: Field, resolution: int | None = None) -> Float[Tensor, "B h w C"]:
        """Pictures as floats, clipped to 0 to 1.

        Args:
            field: of B latents.
            resolution: the height in pixels, the width following the native shape; None for the
                native size.
        """
        height, width, _ = self._shape
        if resolution is not None:
            height, width = resolution, max(1, round(width * resolution / height))
        return self._raster(field, grid((height, width)), height, width).clamp(0, 1)

    @staticmethod
    def _raster(field: Field, coords: Tensor, height: int, width: int) -> Float[Tensor, "B h w C"]:
        """The field on a grid of pixels, on the CPU and as it is."""
        with torch.no_grad():
            return field(coords).float().cpu().reshape(len(field), height, width, -1)

    def render(
        self, field: Field, out: Path, names: Sequence[str], resolution: int | None = None
    ) -> list[Artefact]:
        """One PNG for each latent, `resolution` pixels high or of the native size."""
        artefacts = []
        for name, picture in zip(names, self.decode(field, resolution), strict=True):
            image = image_of(picture.numpy())
            path = out / f"{name}.png"
            image.save(path)
            caption = f"{name}, decoded at {image.width}x{image.height} pixels."
            artefacts.append(Artefact(path, "image/png", caption))
        return artefacts

    def figures(
        self, signals: Sequence[Pixels], fields: Sequence[Field], out: Path
    ) -> list[Artefact]:
        """Two PNGs: fits after each inner step with their errors, and fits enlarged four times."""
        height, width, _ = self._shape
        coords = grid((height, width))
        originals = [to_float(signal) for signal in signals]
        fits = [self._raster(field, coords, height, width).numpy() for field in fields]
        sheet = fits_sheet(originals, fits)
        sheet.save(out / "fits.png")

        # Of large pictures only the centre, where four times as many pixels can still be seen.
        rows, columns = _centre(height), _centre(width)
        low = (rows.start / height, columns.start / width)
        high = (rows.stop / height, columns.stop / width)
        fine_shape = (4 * (rows.stop - rows.start), 4 * (columns.stop - columns.start))
        fine = self._raster(fields[-1], grid(fine_shape, low, high), *fine_shape).numpy()
        native = [original[rows, columns] for original in originals]
        enlarged_sheet(native, list(fits[-1][:, rows, columns]), list(fine)).save(
            out / "enlarged.png"
        )
        return [
            Artefact(
                out / "fits.png",
                "image/png",
                f"Test images, their fits after 0 to {len(fields) - 1} inner steps with the PSNR "
                "of each, and the absolute error of the last fit, four times as bright.",
            ),
            Artefact(
                out / "enlarged.png",
                "image/png",
                "The field read at four times the resolution it was fitted to, beside bicubic "
                "interpolation of the original.",
            ),
        ]

    def compare_masked(
        self,
        signals: Sequence[Pixels],
        visible: Sequence[Tensor],
        fields: Mapping[str, Field],
        out: Path,
    ) -> list[Artefact]:
        """A PNG: observed pixels, completions with their PSNR where it was hidden, the truth."""
        height, width, _ = self._shape
        coords = grid((height, width))
        fits = {
            name: self._raster(field, coords, height, width).numpy()
            for name, field in fields.items()
        }
        shown = [seen.reshape(height, width).numpy() for seen in visible]
        path = out / "imputed.png"
        masked_sheet([to_float(signal) for signal in signals], shown, fits).save(path)
        caption = f"What was observed of test images, completions ({', '.join(fields)}), the truth."
        return [Artefact(path, "image/png", caption)]

    def animate(self, fields: Mapping[str, Field], out: Path) -> list[Artefact]:
        """A GIF of all ways side by side, there and back."""
        path = out / "animation.gif"
        write_gif(path, {name: self.decode(field).numpy() for name, field in fields.items()})
        caption = f"From one image to another: {', '.join(fields)}."
        return [Artefact(path, "image/gif", caption)]

    def set_distances(
        self, samples: Float[Tensor, "n h w C"], held_out: Float[Tensor, "m h w C"]
    ) -> Mapping[str, float]:
        """FID, where torchmetrics and Inception's weights are installed and images are many."""
        found = fid(samples, held_out)
        return {} if found is None else {"fid": found}

    def gallery(self, fields: Mapping[str, Field], out: Path) -> list[Artefact]:
        """A PNG with a column of pictures for each set."""
        path = out / "gallery.png"
        gallery_sheet({name: self.decode(field).numpy() for name, field in fields.items()}).save(
            path
        )
        return [Artefact(path, "image/png", f"Images, a column each: {', '.join(fields)}.")]

    def describe(self, signals: Dataset[Pixels]) -> Mapping[str, str]:
        """Size and kind of the pictures."""
        height, width, channels = signals[0].shape
        size = f"{width}x{height} pixels (width x height), {CHANNEL_WORDS[channels]}"
        if self.config.resolution is not None:
            size += ", the centre square of each, resized"
        return {"images": size}

    def preview(self, signals: Dataset[Pixels], out: Path) -> list[Artefact]:
        """A PNG of some training pictures, evenly spread over the data, with label or id."""
        count = min(PREVIEWED, len(signals))
        chosen = signals.select([i * len(signals) // count for i in range(count)])
        path = out / "images.png"
        data_sheet(list(chosen), _captions(chosen)).save(path)
        caption = f"Some of {len(signals)} training images, as they were read."
        return [Artefact(path, "image/png", caption)]


def _captions(signals: Dataset[Pixels]) -> list[str]:
    """The label of each picture where it is known, else its id."""
    if signals.labels is None:
        return list(signals.ids)
    names = signals.label_names
    pairs = zip(signals.labels, signals.ids, strict=True)
    return [names[label] if 0 <= label < len(names) else name for label, name in pairs]


def _centre(side: int, most: int = 64) -> slice:
    """The middle `most` of `side` pixels, or all of them."""
    start = max(0, (side - most) // 2)
    return slice(start, min(side, start + most))
