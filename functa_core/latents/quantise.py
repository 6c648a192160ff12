"""Latents in few bits: uniform steps in every dimension, then entropy coding.

COIN++ (Dupont et al., arXiv 2201.12904; its code, quantization.py and entropy_coding.py) does this
with one mean and standard deviation for all dimensions, and computes the entropy under the training
set's frequencies instead of coding. Here every dimension has its own, and the coder is real:
asymmetric numeral systems (Duda, arXiv 1311.2540) from the library `constriction`. All dimensions
share one table of frequencies, because once standardised they are alike.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from jaxtyping import Float, Int, UInt16, UInt32
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from functa_core.errors import UserError
from functa_core.files import write_atomic
from functa_core.latents.standardise import Standardiser

INSTALL = "pip install 'functa-core[tasks]'"
MOST_FREQUENT = 65535
FORMAT = 1


@attrs.frozen(eq=False)
class Quantiser:
    """2^bits − 1 levels, equally far apart, the middle one at the mean.

    Attributes:
        standardiser: of the training latents.
        bits: b, at least 2.
        reach: the outermost levels lie this many standard deviations from the mean; what is
            further out becomes the outermost level.
    """

    standardiser: Standardiser
    bits: int
    reach: float

    @property
    def levels(self) -> int:
        """How many there are, an odd number, so that one lies at the mean."""
        return int(2**self.bits - 1)

    @property
    def _middle(self) -> int:
        return self.levels // 2

    @property
    def step(self) -> float:
        """Distance of two levels in standard deviations."""
        return self.reach / self._middle

    def symbols(self, latents_nZ: Float[Tensor, "n Z"]) -> Int[np.ndarray, "n K"]:
        """The nearest level of each number that is not the same everywhere, counted from 0."""
        places = (self.standardiser.apply(latents_nZ.double()) / self.step).round() + self._middle
        levels: Int[np.ndarray, "n K"] = places.clamp(0, self.levels - 1).to(torch.int32).numpy()
        return levels

    def values(self, symbols: Int[np.ndarray, "n K"]) -> Float[Tensor, "n Z"]:
        """Latents at these levels."""
        places = torch.from_numpy(symbols).double() - self._middle
        return self.standardiser.invert(places * self.step).float()

    def frequencies(self, training_nZ: Float[Tensor, "n Z"]) -> UInt16[np.ndarray, " levels"]:
        """How often each level comes in training latents, to scale; none is 0."""
        counts = np.bincount(self.symbols(training_nZ).ravel(), minlength=self.levels)
        scaled = np.rint(counts * (MOST_FREQUENT / counts.max()))
        found: UInt16[np.ndarray, " levels"] = np.maximum(scaled, 1).astype(np.uint16)
        return found


@attrs.frozen(eq=False)
class Compressed:
    """A set of latents as it is stored.

    Attributes:
        quantiser: makes latents of levels.
        frequencies: of each level, by which `words` are coded.
        words: all levels of all signals, one stream.
        shape: (n, *latent_shape).
        weights_sha256: of the weights the latents belong to.
    """

    quantiser: Quantiser
    frequencies: UInt16[np.ndarray, " levels"]
    words: UInt32[np.ndarray, " words"]
    shape: tuple[int, ...]
    weights_sha256: str

    @classmethod
    def of(
        cls,
        latents: Float[Tensor, "n *latent"],
        quantiser: Quantiser,
        frequencies: UInt16[np.ndarray, " levels"],
        weights_sha256: str,
    ) -> Compressed:
        """Quantise and code latents."""
        symbols = quantiser.symbols(latents.flatten(1))
        coder = _coders().stack.AnsCoder()
        coder.encode_reverse(symbols.ravel(), _model(frequencies))
        words = coder.get_compressed()
        return cls(quantiser, frequencies, words, tuple(latents.shape), weights_sha256)

    def latents(self) -> Float[Tensor, "n *latent"]:
        """The latents, exactly as they were after quantisation."""
        coder = _coders().stack.AnsCoder(self.words)
        count = self.shape[0] * self.quantiser.standardiser.dimensions
        symbols = coder.decode(_model(self.frequencies), count)
        return self.quantiser.values(symbols.reshape(self.shape[0], -1)).reshape(self.shape)

    def save(self, path: Path) -> None:
        """Write a safetensors file atomically; parent folders are made."""
        arrays = {
            "frequencies": self.frequencies,
            "words": self.words,
            **{k: v.numpy() for k, v in self.quantiser.standardiser.tensors().items()},
        }
        about = {
            "format": FORMAT,
            "bits": self.quantiser.bits,
            "reach": self.quantiser.reach,
            "shape": self.shape,
            "weights_sha256": self.weights_sha256,
        }
        write_atomic(path, save(arrays, {"compressed": json.dumps(about)}))

    @classmethod
    def load(cls, path: Path) -> Compressed:
        """Read a file that `save` wrote.

        Raises:
            UserError: no such file, not one of these, or damaged.
        """
        if not path.is_file():
            raise UserError(f"there are no compressed latents at {path}.")
        try:
            with safe_open(path, "np") as file:
                about = json.loads((file.metadata() or {})["compressed"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return cls._from(about, arrays)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise UserError(
                f"{path} holds no compressed latents, or is damaged: {error}. "
                "functa compress --run DIR writes such files."
            ) from error

    @classmethod
    def _from(cls, about: Mapping[str, Any], arrays: Mapping[str, Any]) -> Compressed:
        if about["format"] != FORMAT:
            raise ValueError(f"it has format {about['format']}, this functa reads {FORMAT}")
        parts = {name: torch.from_numpy(arrays[name]) for name in ("mean", "std", "kept")}
        standardiser = Standardiser.from_tensors(parts)
        quantiser = Quantiser(standardiser, about["bits"], float(about["reach"]))
        shape = tuple(about["shape"])
        frequencies, words = arrays["frequencies"], arrays["words"]
        fits = (
            len(shape) > 1
            and min(shape) > 0
            and all(part.shape == (int(np.prod(shape[1:])),) for part in parts.values())
            and parts["kept"].dtype == torch.bool
            and frequencies.shape == (quantiser.levels,)
            and frequencies.min() > 0
            and (frequencies.dtype, words.dtype, words.ndim) == (np.uint16, np.uint32, 1)
        )
        if not fits:
            raise ValueError("its parts do not fit together")
        return cls(quantiser, frequencies, words, shape, about["weights_sha256"])


def coder_is_there() -> bool:
    """Whether the library that codes is installed."""
    return importlib.util.find_spec("constriction") is not None


def _coders() -> Any:
    if not coder_is_there():
        raise UserError(f"compressed latents need the package constriction: {INSTALL}")
    return importlib.import_module("constriction").stream


def _model(frequencies: UInt16[np.ndarray, " levels"]) -> Any:
    weights = frequencies.astype(np.float64)
    return _coders().model.Categorical(weights / weights.sum(), perfect=False)
