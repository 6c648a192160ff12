"""What a modality says so that it can be measured at a size people compare at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from torch import Generator


@attrs.frozen(eq=False)
class Benchmark:
    """A size at which `functa bench` measures a modality.

    Attributes:
        summary: what is measured, in a few words.
        sections: overrides of the core's defaults, as in a recipe, with the modality's own options
            beside them: {"modality": {...}, "model": {...}, "meta": {...}}. `meta.batch_size` is
            the number of signals.
        state: what `prepare` would have returned.
        signals: (count, generator) → as many made-up signals; time does not depend on what is in
            them, so that no data has to be read.
        jax_forward: for the peer in JAX, where `Modality.forward` is not the identity: modality →
            function of (field, queries (N, Q)) → (N, C), where field maps (n, D) to (n, C).
        decoding: what it is called to predict the values from latents.
    """

    summary: str
    sections: Mapping[str, Mapping[str, Any]]
    state: Mapping[str, Any]
    signals: Callable[[int, Generator], Sequence[Any]]
    jax_forward: Callable[[Any], Callable[[Callable[[Any], Any], Any], Any]] | None = None
    decoding: str = "decode"
