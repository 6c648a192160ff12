"""Compression: latents in few bits, and how good what is decoded from them still is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.console import ticking
from functa_core.errors import UserError
from functa_core.functaset import Functaset
from functa_core.latents.quantise import INSTALL, Compressed, Quantiser, coder_is_there
from functa_core.latents.standardise import Standardiser
from functa_core.meta.outer import psnr_db
from functa_core.modality import Artefact, Codec
from functa_core.options import option
from functa_core.tasks.base import Material, NotApplicable, Outcome, Task
from functa_core.tasks.plots import plotted, rate_plot

SMALL_LOSS_DB = 0.1
FLOAT_BITS = 32
PROTOCOL = (
    "bits_per_signal: all bytes of the file that holds the test latents, its header (statistics "
    "and frequencies from the training latents) too, over the number of test signals; "
    "coded_bits_per_signal: without the header; with_weights_bits_per_signal: with the network's "
    "weights as 32-bit numbers, once for the whole file. psnr_db: mean over test signals of each "
    "one's own, all its observations. At the top: the fewest bits that lose at most "
    f"{SMALL_LOSS_DB} dB to the latents as they were, else the most"
)

Measured = dict[str, float]


@attrs.frozen
class CompressConfig:
    """How finely latents are stored."""

    bits: tuple[int, ...] = option(
        (3, 4, 5, 6, 8), "bits a number before entropy coding; each gives a file", low=2, high=12
    )
    reach: float = option(
        3.0, "standard deviations from the mean to the outermost levels, as in COIN++", above=0
    )

    @bits.validator
    def _some(self, _: Any, value: tuple[int, ...]) -> None:
        if not value:
            raise ValueError("bits must have at least one number")


class Compress(Task):
    """Quantise and entropy-code the latents of test signals."""

    name = "compress"
    summary = "Store latents in few bits; PSNR against bits, beside the modality's codec."
    Config = CompressConfig
    config: CompressConfig

    def check(self, material: Material) -> None:
        """Raise `NotApplicable` if the library that codes is missing."""
        if not coder_is_there():
            raise NotApplicable(f"compressing needs the package constriction: {INSTALL}")

    def run(self, material: Material, out: Path) -> Outcome:
        """A file for each number of bits, read back and decoded; the curve beside the codec's."""
        train, test = material.functaset("train"), material.functaset("test")
        files = {
            bits: self._write(bits, train, test, out) for bits in sorted(set(self.config.bits))
        }
        stored = {bits: decompress(path, test.weights_sha256) for bits, path in files.items()}
        codec = material.modality.codec()
        psnr, beside = _decoded(material, {0: test.latents, **stored}, codec)
        whole = psnr.pop(0)
        parameters = sum(p.numel() for p in material.encoder.learner.network.parameters())
        curve = {
            str(bits): {
                **_sizes(files[bits], len(test), parameters),
                "psnr_db": psnr[bits],
            }
            for bits in files
        }
        enough = [bits for bits in files if whole - psnr[bits] <= SMALL_LOSS_DB]
        chosen = enough[0] if enough else max(files)
        figures: dict[str, Any] = {
            "protocol": PROTOCOL,
            "n_test": len(test),
            "bits": chosen,
            **curve[str(chosen)],
            "curve": curve,
            "unquantised": {
                "bits_per_signal": float(FLOAT_BITS * test.latents[0].numel()),
                "psnr_db": whole,
            },
            "baseline": {},
        }
        if codec is not None:
            figures["baseline"] = {codec.name: {"counts": codec.counts, "curve": beside}}
        return Outcome(figures, [_plot(figures, out / "bits.png")])

    def _write(self, bits: int, train: Functaset, test: Functaset, out: Path) -> Path:
        """The test latents in a file, by statistics of the training latents."""
        training = train.latents.flatten(1)
        quantiser = Quantiser(Standardiser.of(training), bits, float(self.config.reach))
        frequencies = quantiser.frequencies(training)
        path = out / f"latents-{bits}bit.safetensors"
        Compressed.of(test.latents, quantiser, frequencies, test.weights_sha256).save(path)
        return path


def decompress(path: str | Path, weights_sha256: str | None = None) -> Float[Tensor, "n *latent"]:
    """The latents in a file of `functa compress`, rows as in the functaset they came from.

    Args:
        path: of the file.
        weights_sha256: of the weights they shall be decoded with (`Run.weights_sha256`), to make
            sure that they belong to them; None to leave that out.

    Raises:
        UserError: not such a file, a damaged one, or one of other weights.
    """
    stored = Compressed.load(Path(path))
    if weights_sha256 not in (None, stored.weights_sha256):
        raise UserError(
            f"the latents in {path} belong to other weights ({stored.weights_sha256[:12]}…) than "
            f"this run. Compress with this run: functa compress --run DIR"
        )
    return stored.latents()


def _decoded(
    material: Material, latents: Mapping[int, Tensor], codec: Codec | None
) -> tuple[dict[int, float], dict[str, Measured]]:
    """Mean PSNR in dB of each set of latents, and bits and PSNR of each setting of the codec."""
    encoder, test = material.encoder, material.test
    psnr: dict[int, list[Tensor]] = defaultdict(list)
    beside: dict[str, dict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
    done = 0
    with ticking("compress", len(test)) as tick, torch.no_grad():
        for few, observations in encoder.batches(test):
            rows = slice(done, done + len(few))
            peak = material.modality.spec.peak
            for bits, stored in latents.items():
                predicted = encoder.predict(stored[rows], observations)
                psnr[bits].append(psnr_db(predicted, observations, peak).cpu())
            here = observations.to("cpu")
            for setting in codec.settings if codec else ():
                assert codec is not None
                size, predicted = codec.code(few, here, setting)
                beside[str(setting)]["bits_per_signal"].append(size)
                beside[str(setting)]["psnr_db"].append(psnr_db(predicted, here, peak))
            done += len(few)
            tick(done)
    codecs = {
        setting: {name: _mean(values) for name, values in found.items()}
        for setting, found in beside.items()
    }
    return {bits: _mean(values) for bits, values in psnr.items()}, codecs


def _mean(values: list[Tensor]) -> float:
    return float(torch.cat(values).double().nanmean())


def _sizes(path: Path, count: int, parameters: int) -> Measured:
    """Bits of a signal in a file of `count`: all of it, without its header, and with weights."""
    whole = 8 * path.stat().st_size
    return {
        "bits_per_signal": whole / count,
        "coded_bits_per_signal": FLOAT_BITS * len(Compressed.load(path).words) / count,
        "with_weights_bits_per_signal": (whole + FLOAT_BITS * parameters) / count,
    }


def _plot(figures: Mapping[str, Any], path: Path) -> Artefact:
    """The curves of the figures."""
    ours = figures["curve"]
    curves = {
        "functa": [(f"{b} bit", row["bits_per_signal"], row["psnr_db"]) for b, row in ours.items()],
        "functa with weights": [
            ("", row["with_weights_bits_per_signal"], row["psnr_db"]) for row in ours.values()
        ],
    }
    for name, codec in figures["baseline"].items():
        rows = codec["curve"].items()
        curves[name] = [(s, row["bits_per_signal"], row["psnr_db"]) for s, row in rows]
    rate_plot(curves, path)
    caption = (
        f"PSNR of {figures['n_test']} test signals against the bits that each takes; latents as "
        f"they were have {figures['unquantised']['psnr_db']:.2f} dB."
    )
    for name, codec in figures["baseline"].items():
        caption += f" {name}: {codec['counts']}."
    return plotted(path, caption)
