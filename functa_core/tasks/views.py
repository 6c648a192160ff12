"""Novel views: how well a latent that was fitted to few views predicts others.

Where observations come in groups (the views of a scene), a latent is fitted to 1, 2, 4, … of them
and scored on those that the evaluation holds out, which no fit sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from functa_core.baselines import make_baselines, score
from functa_core.console import ticking
from functa_core.drawing import drawn
from functa_core.encoding import Encoder
from functa_core.meta.outer import psnr_db
from functa_core.modality import Baseline
from functa_core.observations import Observations
from functa_core.options import option
from functa_core.tasks.base import Material, NotApplicable, Outcome, Task

PICTURED = 4
"""Test signals that the picture shows."""
PROTOCOL = "context views evenly spread over those not held out; scored on all held-out views"


@attrs.frozen
class ViewsConfig:
    """How many views a latent is fitted to."""

    context: tuple[int, ...] = option(
        (1, 2, 4), "numbers of context views; each gives a figure", low=1
    )

    @context.validator
    def _some(self, _: Any, value: tuple[int, ...]) -> None:
        if not value:
            raise ValueError("context must have at least one number of views")


@attrs.frozen(eq=False)
class Parted:
    """One test signal with its observations in two parts, a batch of one.

    Attributes:
        signal: the modality's own.
        seen: all observations.
        hidden: (1, N) those that are scored.
        views: groups that a fit may see, in order.
    """

    signal: Any
    seen: Observations
    hidden: Bool[Tensor, "1 N"]
    views: list[int]

    def context(self, count: int) -> Bool[Tensor, "1 N"]:
        """The observations of `count` of the views, evenly spread in their order."""
        chosen = [self.views[i * len(self.views) // count] for i in range(count)]
        groups = self.seen.groups
        assert groups is not None
        return torch.isin(groups, torch.tensor(chosen, device=groups.device)) & ~self.hidden


class Views(Task):
    """Predict held-out views from few context views."""

    name = "views"
    summary = "Predict new views of test signals from 1, 2, 4, … of their views."
    Config = ViewsConfig
    config: ViewsConfig

    def check(self, material: Material) -> None:
        """Raise `NotApplicable` unless every test signal has as many views as are asked for."""
        fewest = min(len(parted.views) for parted in _parted(material.encoder, material.test))
        most = max(self.config.context)
        if fewest < most:
            raise NotApplicable(
                f"{most} context views are asked for, but a test signal has only {fewest} beside "
                "those held out. Ask for fewer: --set tasks.views.context=[1]"
            )

    def run(self, material: Material, out: Path) -> Outcome:
        """Figures for each number of context views, beside the baselines on the same views."""
        encoder, test = material.encoder, material.test
        counts = sorted(set(self.config.context))
        latent_numbers = encoder.learner.network.latent_numbers
        baselines = make_baselines(material.modality, material.train, latent_numbers)
        rows: list[dict[int, dict[str, float]]] = []
        shown: list[dict[int, Tensor]] = []
        with ticking(self.name, len(test)) as tick:
            for done, parted in enumerate(_parted(encoder, test), start=1):
                latents = {n: _fit(encoder, parted, n) for n in counts}
                rows.append({n: _score(encoder, parted, n, latents[n], baselines) for n in counts})
                if len(shown) < PICTURED:
                    shown.append(latents)
                tick(done)
        figures = {
            "protocol": PROTOCOL,
            "n_test": len(test),
            "context": {str(n): _summary([row[n] for row in rows]) for n in counts},
        }
        return Outcome(figures, self._draw(material, shown, out))

    def _draw(
        self, material: Material, shown: Sequence[Mapping[int, Tensor]], out: Path
    ) -> Sequence[Any]:
        """The first test signals beside their fits, as the modality draws them."""
        encoder = material.encoder
        fields = {
            f"{n} view{'s' if n > 1 else ''}": encoder.field(torch.cat([row[n] for row in shown]))
            for n in sorted(shown[0])
        }
        with torch.no_grad():
            signals = [material.test[i] for i in range(len(shown))]
            return drawn(material.modality, "compare", signals, fields, out=out)


def _parted(encoder: Encoder, signals: Sequence[Any]) -> Iterator[Parted]:
    """The signals one by one, because each may have views of its own.

    Raises:
        NotApplicable: they have no groups, or nothing is held out.
    """
    for signal in signals:
        seen = encoder.modality.observations([signal]).to(encoder.device)
        hidden = encoder.modality.held_out([signal], seen)
        if seen.groups is None or hidden is None or not bool(hidden.any()):
            raise NotApplicable(
                f"signals of '{encoder.modality.name}' have no views that could be held out."
            )
        visible = seen.groups[~hidden & (seen.weights > 0)]
        yield Parted(signal, seen, hidden, torch.unique(visible).tolist())


def _fit(encoder: Encoder, parted: Parted, count: int) -> Float[Tensor, "1 *latent"]:
    """The latent after the run's inner steps on `count` views."""
    return encoder.fit(parted.seen.masked(parted.context(count)))[-1]


def _score(
    encoder: Encoder,
    parted: Parted,
    count: int,
    latent: Float[Tensor, "1 *latent"],
    baselines: Mapping[str, Baseline],
) -> dict[str, float]:
    """PSNR in dB on the held-out views: of the fit as "functa", and of each baseline."""
    peak = encoder.modality.spec.peak
    target = parted.seen.masked(parted.hidden)
    few = target.compact()

    def measure(values: Tensor) -> Tensor:
        return psnr_db(values, target, peak)

    figures = {"functa": float(psnr_db(encoder.predict(latent, few), few, peak))}
    context = parted.context(count)
    beside = score(baselines, [parted.signal], parted.seen, context, measure)
    return figures | {name: float(value) for name, value in beside.items()}


def _summary(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Means over signals: our figure, and the baselines' beside it."""
    means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
    ours = means.pop("functa")
    return {"psnr_db": ours, "baseline": {name: {"psnr_db": v} for name, v in means.items()}}
