"""Which views a latent is fitted to and which it is scored on: figures compare within one protocol.

Views are numbered from 0 in the order of the signal's observation groups.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import attrs
import torch
from jaxtyping import Bool
from torch import Tensor

from functa_core.observations import Observations
from functa_core.tasks.base import NotApplicable


@attrs.frozen(eq=False)
class Grouped:
    """Observations of one signal, with groups.

    Attributes:
        seen: all of them, a batch of one.
        held_out: (1, N) those that the evaluation hides from every fit; None if there are none.
    """

    seen: Observations
    held_out: Bool[Tensor, "1 N"] | None

    def of(self, views: Tensor | tuple[int, ...] | list[int]) -> Bool[Tensor, "1 N"]:
        """The observations of these views."""
        assert self.seen.groups is not None
        return torch.isin(self.seen.groups, torch.as_tensor(views).to(self.seen.groups))

    def views(self, among: Bool[Tensor, "1 N"]) -> list[int]:
        """The views that have an observation `among` these, in order."""
        assert self.seen.groups is not None
        return list(map(int, torch.unique(self.seen.groups[among & (self.seen.weights > 0)])))


class Protocol(ABC):
    """How a figure comes about.

    Attributes:
        sentence: what stands beside the figure.
        counts: numbers of context views when nobody says which.
        signals: the most test signals that are scored, the first ones; None for all.
        by_view: whether a signal's PSNR is the mean over views of each one's, and not that of all
            their observations together, which is never higher.
    """

    sentence: str
    counts: tuple[int, ...]
    signals: int | None = None
    by_view: bool = False

    @abstractmethod
    def check(self, grouped: Grouped, count: int) -> None:
        """Raise `NotApplicable` if the signal cannot be scored with so many context views."""

    @abstractmethod
    def context(self, grouped: Grouped, count: int) -> Bool[Tensor, "1 N"]:
        """The observations that the latent is fitted to."""

    @abstractmethod
    def scored(self, grouped: Grouped, count: int) -> Bool[Tensor, "1 N"]:
        """The observations that it is scored on."""


class Spread(Protocol):
    """Of any data: what the evaluation holds out is scored, the context spreads over the rest."""

    sentence = "context views evenly spread over those not held out; scored on all held-out views"
    counts = (1, 2, 4)

    def check(self, grouped: Grouped, count: int) -> None:
        """As many views as are asked for beside those held out, and one that is."""
        if grouped.held_out is None or not bool(grouped.held_out.any()):
            raise NotApplicable("a test signal has no views that could be held out.")
        there = len(grouped.views(~grouped.held_out))
        if there < count:
            raise NotApplicable(
                f"{count} context views are asked for, but a test signal has only {there} beside "
                "those held out. Ask for fewer: --set tasks.views.context=[1]"
            )

    def context(self, grouped: Grouped, count: int) -> Bool[Tensor, "1 N"]:
        """Every so-manieth view, in their order."""
        free = ~self.scored(grouped, count)
        views = grouped.views(free)
        return grouped.of([views[i * len(views) // count] for i in range(count)]) & free

    def scored(self, grouped: Grouped, count: int) -> Bool[Tensor, "1 N"]:
        """The same for every number of context views."""
        assert grouped.held_out is not None
        return grouped.held_out


@attrs.frozen
class Named(Protocol):
    """Of published work on sets whose views are numbered alike in all signals.

    Attributes:
        sentence, signals, by_view: see `Protocol`.
        views: the context views, by their number.
        targets: the views that are scored; all but the context if None.
        each: the most observations of each context view, evenly spread over it; None for all.
    """

    sentence: str
    views: Mapping[int, tuple[int, ...]]
    targets: tuple[int, ...] | None = None
    signals: int | None = None
    each: int | None = None
    by_view: bool = False

    @property
    def counts(self) -> tuple[int, ...]:  # type: ignore[override]
        """Those that were published."""
        return tuple(self.views)

    def check(self, grouped: Grouped, count: int) -> None:
        """A published number of context views, and a signal that has them all."""
        if count not in self.views:
            raise NotApplicable(
                f"{count} context views are asked for; this protocol has "
                f"{', '.join(map(str, self.views))}: --set tasks.views.context=null takes these."
            )
        everything = torch.ones_like(grouped.seen.weights, dtype=torch.bool)
        there = set(grouped.views(everything))
        needed = {*self.views[count], *(self.targets or ())}
        if not needed <= there:
            raise NotApplicable(
                f"this protocol needs views up to {max(needed)}, counted from 0, but a test signal "
                f"has {len(there)} views. Use --set tasks.views.protocol=spread"
            )

    def context(self, grouped: Grouped, count: int) -> Bool[Tensor, "1 N"]:
        """The views of that number, thinned."""
        kept = grouped.of(self.views[count]) & (grouped.seen.weights > 0)
        if self.each is None:
            return kept
        thin = torch.zeros_like(kept)
        for view in self.views[count]:
            places = torch.nonzero(kept & grouped.of((view,)))[:, 1]
            share = min(self.each, len(places))
            thin[0, places[torch.arange(share, device=places.device) * len(places) // share]] = True
        return thin

    def scored(self, grouped: Grouped, count: int) -> Bool[Tensor, "1 N"]:
        """The targets, or all other views."""
        if self.targets is None:
            return ~grouped.of(self.views[count])
        return grouped.of(self.targets)


PROTOCOLS: Mapping[str, Protocol] = {
    "spread": Spread(),
    "functa": Named(
        "the authors' code's: the first 10 test signals; context views (63), (63, 127) and (0, 31, "
        "63, 127), 1024 observations of each, evenly spread where they drew them; scored on views "
        "23, 55, 82 and 119",
        {1: (63,), 2: (63, 127), 4: (0, 31, 63, 127)},
        targets=(23, 55, 82, 119),
        signals=10,
        each=1024,
    ),
    "pixelnerf": Named(
        "PixelNeRF's (Yu et al. 2021): context views (64) and (64, 104); scored on all others, the "
        "PSNR of each view by itself",
        {1: (64,), 2: (64, 104)},
        by_view=True,
    ),
}
"""By the name that `tasks.views.protocol` takes."""
