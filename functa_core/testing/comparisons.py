"""Checks of what latents are compared by: raw arrays, the obvious codec, features of signals."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from functa_core.meta.outer import psnr_db
from functa_core.modality import Codec
from functa_core.networks.base import NetworkField
from functa_core.testing.check import Inapplicable, require, require_tensor
from functa_core.testing.subject import Subject, row

TOLERANCE = 1e-5
"""Relative to the largest number: batches of another size are summed in another order."""
RANKS = (1, 2, 3)
"""Axes of raw arrays that there are convolutions for."""


def raw(subject: Subject) -> None:
    """raw() gives finite arrays of one shape for all signals of the run, channels first, on a grid
    of 1, 2 or 3 axes; each is that of its signal alone.
    """
    modality, signals = subject.prepared, subject.signals
    arrays = modality.raw(signals)
    if arrays is None:
        raise Inapplicable("the modality gives no raw arrays")
    require_tensor("raw() gives", arrays)
    count = len(signals)
    require(
        arrays.is_floating_point() and arrays.device.type == "cpu",
        "raw() gives floating-point numbers on the CPU",
        f"{arrays.dtype} on {arrays.device}",
        "Convert them.",
    )
    fits = len(arrays) == count and arrays.ndim - 2 in RANKS
    asked = f"raw() of {count} signals as (B, C, *shape) with 1, 2 or 3 axes after the channels"
    require(fits, asked, tuple(arrays.shape), "Put them on a grid.")
    require(
        bool(torch.isfinite(arrays).all()),
        "finite numbers from raw()",
        f"{int((~torch.isfinite(arrays)).sum())} others",
        "Fill in what is missing: a classifier has no weights to leave it out with.",
    )
    held_out = list(subject.splits[1][:1])
    for others in (signals[:1], signals[-1:], held_out):
        alone = modality.raw(others)
        found = None if alone is None else tuple(alone.shape[1:])
        shape = tuple(arrays.shape[1:])
        asked = f"raw() of one signal alone, of either split, with the shape {shape}"
        require(found == shape, asked, found, "Choose it in prepare(), not by the batch.")
    _require_alone("raw()", arrays, lambda i: modality.raw(signals[i : i + 1]))


def codec(subject: Subject) -> None:
    """codec() has a name, says what its bits are of and codes every signal by itself at every
    setting: bits above 0, finite predictions shaped like the values, no worse at the last setting
    than at the first.
    """
    found = subject.prepared.codec()
    if found is None:
        raise Inapplicable("the modality has no codec")
    for what, text in (("a name", found.name), ("what its bits count", found.counts)):
        require(text.strip(), f"{what} of the codec", "none", "Say it: it stands beside figures.")
    words = [str(setting) for setting in found.settings]
    distinct = bool(words) and len(set(words)) == len(words)
    require(distinct, "settings of the codec, each once", words, "Mend Codec.settings.")
    psnr = [_coded(subject, found, setting) for setting in found.settings]
    gain = float((psnr[-1] - psnr[0]).mean())
    require(
        gain >= 0,
        "settings of the codec from coarse to fine",
        f"a last one that is {-gain:.2f} dB behind the first",
        "Turn Codec.settings around.",
    )


def _coded(subject: Subject, codec: Codec, setting: float | str) -> Tensor:
    """PSNR in dB (B,) of what is decoded at a setting, after looking at it and its bits."""
    signals, whole = subject.signals, subject.whole
    bits, predicted = (
        require_tensor(f"{what} of the codec are", found)
        for what, found in zip(
            ("bits", "predictions"), codec.code(signals, whole, setting), strict=True
        )
    )
    at = f"of the codec at {setting}"
    fits = bits.shape == (len(signals),) and bool((torch.isfinite(bits) & (bits > 0)).all())
    asked = f"bits {at}: a number above 0 for each of {len(signals)} signals"
    require(fits, asked, bits.tolist(), "Count the bits of each signal's own stream.")
    known = whole.weights > 0
    fits = predicted.shape == whole.values.shape and bool(torch.isfinite(predicted[known]).all())
    asked = f"finite predictions {at}, {tuple(whole.values.shape)} as the values are"
    wrong = "others" if predicted.shape == whole.values.shape else tuple(predicted.shape)
    require(fits, asked, wrong, "Decode the stream and give what it has at each query.")

    def alone(i: int) -> tuple[Tensor, Tensor]:
        return codec.code(signals[i : i + 1], row(whole, i), setting)

    _require_alone(f"bits {at}", bits, lambda i: alone(i)[0])
    kept = torch.where(known[..., None], predicted, 0.0)
    _require_alone(
        f"predictions {at}",
        kept,
        lambda i: torch.where(known[i : i + 1, :, None], alone(i)[1], 0.0),
    )
    return psnr_db(predicted, whole, subject.prepared.spec.peak)


def features(subject: Subject) -> None:
    """features() gives a row of finite numbers for each decoded signal, which depends on no other
    signal and is the same at every call.
    """
    modality = subject.prepared
    latents = subject.latents(len(subject.signals), torch.float32)
    with torch.no_grad():
        network = subject.learner(torch.float32).network
        decoded = modality.decode(NetworkField(network, latents), 8)
        rows = modality.features(decoded)
        if rows is None:
            raise Inapplicable("the modality has no features of its own")
        require_tensor("features() gives", rows)
        fits = rows.ndim == 2 and len(rows) == len(decoded) and rows.shape[1] > 0
        asked = f"features() of {len(decoded)} signals as (B, F)"
        require(fits, asked, tuple(rows.shape), "Flatten them.")
        require(
            bool(torch.isfinite(rows).all()) or not bool(torch.isfinite(decoded).all()),
            "finite features of finite signals",
            f"{int((~torch.isfinite(rows)).sum())} others",
            "Look for a division by 0 or a logarithm of it.",
        )
        again = modality.features(decoded)
        same = again is not None and torch.equal(rows.nan_to_num(), again.nan_to_num())
        remedy = "Draw no random numbers, or from a generator with a seed."
        require(same, "the same features twice", "others", remedy)
        _require_alone("features()", rows, lambda i: modality.features(decoded[i : i + 1]))


def _require_alone(what: str, together: Tensor, alone: Callable[[int], Tensor | None]) -> None:
    """Each row of what came for all signals is what comes for that signal alone."""
    scale = together.nan_to_num().abs().max().clamp_min(1.0)
    for i, wanted in enumerate(together):
        found = alone(i)
        assert found is not None
        difference = float((found[0] - wanted).nan_to_num().abs().max() / scale)
        require(
            difference <= TOLERANCE,
            f"the same {what} for signal {i} alone as in a batch",
            f"a relative difference of {difference:.1g}",
            "Let nothing depend on the other signals of a batch.",
        )
