"""Losses and their gradients by the modulations, through a network's passes by hand.

What lies between the field and the loss (the forward operator, the loss itself) is the modality's
and stays with autograd, on a graph that begins at the features. So every modality has the fast
passes, whatever it declares: the features' own derivatives r of the loss come from that graph, and
so does the derivative of r along a direction.

Each `ask` below makes losses of G signals from a field; it is part of the observations, and what
all of them give is summed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from functa_core.modality import Field
from functa_core.networks.passes import SirenPasses, Trace

Ask = Callable[[Field], Float[Tensor, " G"]]


class NotByHand(Exception):
    """The forward operator does something with the field that these passes do not follow."""


@attrs.define(eq=False)
class Tile:
    """Some coordinates of an evaluation: the trace to them, and the a_l once it was gone back."""

    trace: Trace
    cotangents: list[Tensor] = attrs.field(factory=list)


@attrs.frozen(eq=False)
class Asked:
    """One evaluation of the field by the operator: the features, a leaf, and the tiles of it."""

    features: Tensor
    tiles: list[Tile]

    def tiled(self, *given: Float[Tensor, "G n C"]) -> Iterator[tuple[Any, ...]]:
        """Each tile, with what is given at its coordinates."""
        sizes = [tile.trace.coords.shape[-1] for tile in self.tiles]
        return zip(self.tiles, *(torch.split(each, sizes, dim=1) for each in given), strict=True)


class TracedField:
    """The field of G signals, evaluated by hand; notes where the operator asked it."""

    def __init__(self, passes: SirenPasses, modulations: Float[Tensor, "G M"]) -> None:
        self.passes = passes
        self.modulations = modulations
        self.asked: list[Asked] = []

    def __len__(self) -> int:
        return len(self.modulations)

    def __getitem__(self, chosen: slice) -> Field:
        raise NotByHand

    def __call__(self, coords: Float[Tensor, "*G n D"]) -> Float[Tensor, "G n C"]:
        """Features at coordinates shared by all signals, or of each one's own."""
        if coords.requires_grad:
            raise NotByHand
        coords = coords.to(self.modulations)
        if not torch.is_grad_enabled():  # moves no latent
            return self.passes.features(coords, self.modulations)
        with torch.no_grad():
            tiles = self.passes.tiles(coords, len(self.modulations))
            found = [self.passes.forward(tile, self.modulations) for tile in tiles]
            features = torch.cat([each for each, _ in found], dim=1)
        self.asked.append(Asked(features.requires_grad_(), [Tile(trace) for _, trace in found]))
        return features.clone()  # an operator may change what it is given in place


@attrs.frozen(eq=False)
class Answer:
    """What one `ask` made of the field.

    Attributes:
        losses: (G,) with the graph down to the features.
        asked: the evaluations.
        residuals: r of each (G, n, C); None where the operator made nothing of the features.
    """

    losses: Tensor
    asked: list[Asked]
    residuals: list[Tensor | None]

    @classmethod
    def to(
        cls, ask: Ask, passes: SirenPasses, modulations: Float[Tensor, "G M"], *, second: bool
    ) -> Answer:
        """Ask the field of these modulations; `second` keeps what derivatives of r need."""
        field = TracedField(passes, modulations)
        with torch.enable_grad():
            losses = ask(field)
            features = [each.features for each in field.asked]
            residuals: Sequence[Tensor | None] = [None] * len(features)
            if losses.requires_grad:
                residuals = torch.autograd.grad(
                    losses.sum(), features, create_graph=second, allow_unused=True
                )
        return cls(losses, field.asked, list(residuals))

    def gradient(self, passes: SirenPasses, *, keep: bool) -> Tensor | None:
        """Gradient of the summed losses by the modulations (G, M); None if it is 0.

        Args:
            passes: those that it was asked through.
            keep: leave the a_l in the tiles.
        """
        total = None
        for asked, residual in zip(self.asked, self.residuals, strict=True):
            if residual is None:
                continue
            for tile, r in asked.tiled(residual.detach()):
                shifts = []
                for a, _, sums in passes.backward(tile.trace, r):
                    shifts.append(passes.w0 * sums)
                    if keep:
                        tile.cotangents.append(a)
                    else:
                        passes.buffers.give([a])
                tile.cotangents.reverse()
                found = torch.cat(shifts[::-1]).T
                total = found if total is None else total + found
        return total

    def forget(self, passes: SirenPasses) -> None:
        """Give the traces back."""
        for asked in self.asked:
            for tile in asked.tiles:
                passes.buffers.give(tile.trace.tensors())


def losses(
    passes: SirenPasses,
    asks: Sequence[Ask],
    modulations: Float[Tensor, "G M"],
    parameters: Sequence[Tensor],
) -> Float[Tensor, " G"]:
    """Each signal's loss, differentiable once by modulations and parameters.

    Args:
        passes: through the parameters.
        asks: what to sum. Of one, all that the way back needs is kept; of several nothing is, and
            each is asked again on the way back: memory for one, at a third more work.
        modulations: of each signal.
        parameters: the network's, in the order of `SirenPasses.of`.

    Raises:
        NotByHand: see there.
    """
    result: Tensor = _Losses.apply(passes, asks, modulations, *parameters)  # type: ignore[no-untyped-call]
    return result


def gradient(
    passes: SirenPasses,
    asks: Sequence[Ask],
    modulations: Float[Tensor, "G M"],
    parameters: Sequence[Tensor],
) -> Float[Tensor, "G M"]:
    """Gradient of the summed losses by the modulations, itself differentiable once.

    Arguments and errors are those of `losses`.
    """
    result: Tensor = _Gradient.apply(passes, asks, modulations, *parameters)  # type: ignore[no-untyped-call]
    return result


@torch.no_grad()
def losses_and_gradient(
    passes: SirenPasses, asks: Iterable[Ask], modulations: Float[Tensor, "G M"]
) -> tuple[Float[Tensor, " G"], Float[Tensor, "G M"]]:
    """Losses and gradient as numbers, in the memory of one `ask`."""
    total, slope = modulations.new_zeros(len(modulations)), torch.zeros_like(modulations)
    for ask in asks:
        answer = Answer.to(ask, passes, modulations, second=False)
        total = total + answer.losses.detach()
        found = answer.gradient(passes, keep=False)
        slope = slope if found is None else slope + found
        answer.forget(passes)
    return total, slope


def start_derivatives(
    passes: SirenPasses,
    coords: Float[Tensor, "n D"],
    modulations: Float[Tensor, "1 M"],
    parameters: Sequence[Tensor],
) -> tuple[Float[Tensor, "1 n C"], list[Float[Tensor, "w C n"]]]:
    """Features at coordinates, and the derivatives of each channel there by each layer's shifts.

    Both are differentiable once by modulations and parameters.
    """
    wanted = any(each.requires_grad for each in (modulations, *parameters))
    if not (wanted and torch.is_grad_enabled()):
        with torch.no_grad():
            features, (trace, _, kept), found = _derived(passes, coords, modulations)
        passes.buffers.give([*trace.tensors(), *kept])
        return features, found
    features, *derivatives = _StartDerivatives.apply(passes, coords, modulations, *parameters)  # type: ignore[no-untyped-call]
    return features, derivatives


class _Losses(torch.autograd.Function):
    """modulations, parameters → losses."""

    @staticmethod
    def forward(
        ctx: Any, passes: SirenPasses, asks: Sequence[Ask], modulations: Tensor, *_: Tensor
    ) -> Tensor:
        ctx.passes, ctx.asks, ctx.modulations = passes, asks, modulations.detach()
        total = modulations.new_zeros(len(modulations))
        for ask in asks:
            answer = Answer.to(ask, passes, ctx.modulations, second=False)
            total += answer.losses.detach()
            if len(asks) > 1:
                answer.forget(passes)
        ctx.kept = answer if len(asks) == 1 else None
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        passes: SirenPasses = ctx.passes
        total = _Sum()
        for ask in ctx.asks:
            answer, ctx.kept = ctx.kept, None
            if answer is None:
                answer = Answer.to(ask, passes, ctx.modulations, second=False)
            for asked, residual in zip(answer.asked, answer.residuals, strict=True):
                if residual is not None:
                    upper = residual.detach() * gradients[0][:, None, None]
                    for tile, u in asked.tiled(upper):
                        total.add(*passes.second(tile.trace, u))
            answer.forget(passes)
        return None, None, *total.of(passes)


class _Gradient(torch.autograd.Function):
    """modulations, parameters → gradient of the summed losses by the modulations."""

    @staticmethod
    def forward(
        ctx: Any, passes: SirenPasses, asks: Sequence[Ask], modulations: Tensor, *_: Tensor
    ) -> Tensor:
        ctx.passes, ctx.asks, ctx.modulations = passes, asks, modulations.detach()
        if len(asks) != 1:
            ctx.kept = None
            return losses_and_gradient(passes, asks, ctx.modulations)[1]
        ctx.kept, slope = _asked_twice(passes, asks[0], ctx.modulations)
        return slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        passes: SirenPasses = ctx.passes
        directions = [
            passes.w0 * each.T.unsqueeze(-1)
            for each in gradients[0].chunk(len(passes.weights), dim=-1)
        ]
        total = _Sum()
        for ask in ctx.asks:
            answer = ctx.kept or _asked_twice(passes, ask, ctx.modulations)[0]
            ctx.kept = None
            _along(passes, answer, directions, total)
            answer.forget(passes)
        return None, None, *total.of(passes)


class _StartDerivatives(torch.autograd.Function):
    """modulations, parameters → features, and their derivatives by each layer's shifts."""

    @staticmethod
    def forward(
        ctx: Any, passes: SirenPasses, coords: Tensor, modulations: Tensor, *_: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.passes, ctx.coords, ctx.modulations = passes, coords, modulations.detach()
        features, ctx.kept, found = _derived(passes, coords, ctx.modulations)
        return features, *found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        passes: SirenPasses = ctx.passes
        trace, each, kept = ctx.kept or _derived(passes, ctx.coords, ctx.modulations)[1]
        ctx.kept = None
        upper, *slopes = gradients
        waves, _ = passes.tangent(trace, slopes)
        total = _Sum()
        total.add(*passes.second(trace, upper, (each, kept, waves)))
        passes.buffers.give([*trace.tensors(), *kept])
        return None, None, *total.of(passes)


def _derived(
    passes: SirenPasses, coords: Tensor, modulations: Tensor
) -> tuple[Tensor, tuple[Trace, Tensor, list[Tensor]], list[Tensor]]:
    """Features, what the way back needs (trace, cotangents, a_l), and derivatives.

    The frequency w0 of the shifts is in the cotangents, and so in all that they become.
    """
    features, trace = passes.forward(coords, modulations)
    channels = features.shape[-1]
    units = passes.w0 * torch.eye(channels, dtype=features.dtype, device=features.device)
    each = units.unsqueeze(1).expand(-1, features.shape[1], -1)
    kept, found = [], []
    leave = passes.dtype == features.dtype  # else what is found is a copy
    for a, g, _ in passes.backward(trace, each, leave=leave):
        kept.append(a)
        found.append(g.to(features.dtype))
    return features, (trace, each, kept[::-1]), found[::-1]


def _asked_twice(passes: SirenPasses, ask: Ask, modulations: Tensor) -> tuple[Answer, Tensor]:
    """An answer of which the gradient can be derived, and the gradient."""
    answer = Answer.to(ask, passes, modulations, second=True)
    slope = answer.gradient(passes, keep=True)
    return answer, torch.zeros_like(modulations) if slope is None else slope


def _along(passes: SirenPasses, answer: Answer, directions: list[Tensor], total: _Sum) -> None:
    """Add the derivatives, along directions, of an answer's gradient."""
    pairs = zip(answer.asked, answer.residuals, strict=True)
    used = [(asked, residual) for asked, residual in pairs if residual is not None]
    if not used:
        return
    waves, features = [], []
    for asked, _ in used:
        found = [passes.tangent(tile.trace, directions) for tile in asked.tiles]
        waves.append([wave for wave, _ in found])
        features.append(torch.cat([along for _, along in found], dim=1))
    with torch.enable_grad():
        terms = [(r * f).sum() for (_, r), f in zip(used, features, strict=True)]
        slope = torch.stack(terms).sum()
    uppers: Sequence[Tensor | None] = [None] * len(used)
    if slope.requires_grad:
        leaves = [asked.features for asked, _ in used]
        uppers = torch.autograd.grad(slope, leaves, allow_unused=True)
    for (asked, residual), wave, upper in zip(used, waves, uppers, strict=True):
        r = residual.detach()
        u = torch.zeros_like(r) if upper is None else upper
        for (tile, own, over), z in zip(asked.tiled(r, u), wave, strict=True):
            total.add(*passes.second(tile.trace, over, (own, tile.cotangents, z)))
            passes.buffers.give(tile.cotangents)


class _Sum:
    """Gradients by modulations and parameters, added up."""

    def __init__(self) -> None:
        self.modulations: Tensor | None = None
        self.parameters: list[Tensor] = []

    def add(self, modulations: Tensor, parameters: list[Tensor]) -> None:
        if self.modulations is None:
            self.modulations, self.parameters = modulations, parameters
            return
        self.modulations = self.modulations + modulations
        for sum_, part in zip(self.parameters, parameters, strict=True):
            sum_ += part

    def of(self, passes: SirenPasses) -> tuple[Tensor | None, ...]:
        if self.modulations is None:
            return None, *[None] * (2 * len(passes.weights) + 2)
        return self.modulations, *self.parameters
