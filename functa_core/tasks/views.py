"""Novel views: how well a latent that was fitted to few views predicts others.

Where observations come in groups (the views of a scene), a latent is fitted to 1, 2, 4, … of them
and scored on others, which the fit does not see; which, says the protocol.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from jaxtyping import Float
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
from functa_core.tasks.protocols import PROTOCOLS, Grouped, Protocol

PICTURED = 4
"""Test signals that the picture shows."""


@attrs.frozen
class ViewsConfig:
    """What a latent is fitted to, and what it is scored on."""

    protocol: str = option(
        "spread",
        "spread: context evenly over the views that are not held out, scored on those that are; "
        "functa, pixelnerf: the views by number of published figures",
        choices=tuple(PROTOCOLS),
    )
    context: tuple[int, ...] | None = option(
        None,
        "numbers of context views, each gives a figure; null for the protocol's: 1, 2, 4, "
        "and of pixelnerf 1, 2",
        low=1,
    )

    @context.validator
    def _some(self, _: Any, value: tuple[int, ...] | None) -> None:
        if value is not None and not value:
            raise ValueError("context must have at least one number of views")


class Views(Task):
    """Predict held-out views from few context views."""

    name = "views"
    summary = "Predict new views of test signals from 1, 2, 4, … of their views."
    Config = ViewsConfig
    config: ViewsConfig

    @property
    def protocol(self) -> Protocol:
        """The one that was chosen."""
        return PROTOCOLS[self.config.protocol]

    @property
    def counts(self) -> list[int]:
        """Numbers of context views, from few to many."""
        return sorted(set(self.config.context or self.protocol.counts))

    def check(self, material: Material) -> None:
        """Raise `NotApplicable` unless every test signal has the views that are asked for."""
        for _, grouped in _grouped(material.encoder, self._test(material)):
            for count in reversed(self.counts):
                self.protocol.check(grouped, count)

    def run(self, material: Material, out: Path) -> Outcome:
        """Figures for each number of context views, beside the baselines on the same views."""
        encoder, test = material.encoder, self._test(material)
        latent_numbers = encoder.learner.network.latent_numbers
        baselines = make_baselines(material.modality, material.train, latent_numbers)
        rows: list[dict[int, dict[str, float]]] = []
        shown: list[dict[int, Tensor]] = []
        with ticking(self.name, len(test)) as tick:
            for done, (signal, grouped) in enumerate(_grouped(encoder, test), start=1):
                latents = {n: self._fit(encoder, grouped, n) for n in self.counts}
                rows.append(
                    {
                        n: self._score(encoder, signal, grouped, n, latents[n], baselines)
                        for n in self.counts
                    }
                )
                if len(shown) < PICTURED:
                    shown.append(latents)
                tick(done)
        figures = {
            "protocol": self.protocol.sentence,
            "n_test": len(test),
            "context": {str(n): _summary([row[n] for row in rows]) for n in self.counts},
        }
        return Outcome(figures, self._draw(material, shown, out))

    def _test(self, material: Material) -> Sequence[Any]:
        """The test signals that the protocol scores."""
        return material.test.select(range(len(material.test))[: self.protocol.signals])

    def _fit(self, encoder: Encoder, grouped: Grouped, count: int) -> Float[Tensor, "1 *latent"]:
        """The latent after the run's inner steps on `count` views."""
        return encoder.fit(grouped.seen.masked(self.protocol.context(grouped, count)))[-1]

    def _score(
        self,
        encoder: Encoder,
        signal: Any,
        grouped: Grouped,
        count: int,
        latent: Float[Tensor, "1 *latent"],
        baselines: Mapping[str, Baseline],
    ) -> dict[str, float]:
        """PSNR in dB on the scored views: of the fit as "functa", and of each baseline."""
        peak = encoder.modality.spec.peak
        target = grouped.seen.masked(self.protocol.scored(grouped, count))
        few = target.compact()

        def measure(values: Tensor) -> Tensor:
            return self._psnr(values, target, peak)

        figures = {"functa": float(self._psnr(encoder.predict(latent, few), few, peak))}
        context = self.protocol.context(grouped, count)
        beside = score(baselines, [signal], grouped.seen, context, measure)
        return figures | {name: float(value) for name, value in beside.items()}

    def _psnr(
        self, values: Float[Tensor, "1 N C"], target: Observations, peak: float
    ) -> Float[Tensor, " 1"]:
        """As the protocol counts it: of all observations, or the mean of each view's."""
        if not self.protocol.by_view:
            return psnr_db(values, target, peak)
        grouped = Grouped(target, None)
        views = grouped.views(target.weights > 0)
        each = [psnr_db(values, target.masked(grouped.of([view])), peak) for view in views]
        return torch.stack(each).mean(dim=0)

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


def _grouped(encoder: Encoder, signals: Sequence[Any]) -> Iterator[tuple[Any, Grouped]]:
    """The signals one by one, because each may have views of its own.

    Raises:
        NotApplicable: they have no groups.
    """
    for signal in signals:
        seen = encoder.modality.observations([signal]).to(encoder.device)
        if seen.groups is None:
            raise NotApplicable(
                f"signals of '{encoder.modality.name}' have no views to tell apart."
            )
        yield signal, Grouped(seen, encoder.modality.held_out([signal], seen))


def _summary(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Means over signals: our figure, and the baselines' beside it."""
    means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
    ours = means.pop("functa")
    return {"psnr_db": ours, "baseline": {name: {"psnr_db": v} for name, v in means.items()}}
