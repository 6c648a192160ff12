"""The SIREN's passes by hand: forward, backward, and both again along a direction.

The inner loop needs the gradient of a loss by the modulations, and the outer loop the derivative
of that gradient. Autograd can do both, but keeps and computes more than is needed: weight
gradients inside, cosines twice, new memory for each of hundreds of results. Here the four passes
are written down. For layer l of the L hidden ones, with x_0 the coordinates and t_l the bias and
shift times w0,

    forward     z_l = W_l x_{l-1} + t_l,  x_l = sin z_l,  c_l = cos z_l      features W x_L + b
    backward    g_l = a_l c_l,  a_{l-1} = W_lᵀ g_l,  a_L = Wᵀ r             r = ∂loss/∂features
    tangent     ż_l = W_l ẋ_{l-1} + ṫ_l,  ẋ_l = c_l ż_l                      features along ṫ
    second      q_l = c_l p_l - a_l ż_l x_l,  p_{l-1} = W_lᵀ q_l,  p_L = Wᵀ u

where W_l has w0 in it. The gradient by t_l is Σ g_l over a signal's coordinates. Its derivative
along ṫ is the same sum over q_l, when u is the derivative of r along ṫ; with a gradient of the
loss itself in u, that is added. The weights' share is g_lᵀ ẋ_{l-1} + q_lᵀ x_{l-1} (Pearlmutter
1994). A step of the inner loop and its derivative are six products with a layer's weights.

Units come first in what is kept, (W, G, n): then the products for the weights' share find both of
their factors lying as they read them, which are the dearest ones otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.networks.buffers import Buffers
from functa_core.networks.fastest import layers_for
from functa_core.networks.layers import Layers
from functa_core.networks.products import product

CACHED = 2**20
"""About so many numbers of a layer are worked on together on a processor: 4 MB in float32."""
SHORT = 256
"""Coordinates that a tile has at least: of many signals with few, all are."""


@attrs.frozen(eq=False)
class Trace:
    """What a forward pass leaves behind for the others.

    Attributes:
        coords: (D, G, n), as they went in.
        sines: x_l of each hidden layer (W, G, n).
        cosines: c_l of each (W, G, n).
    """

    coords: Tensor
    sines: list[Tensor]
    cosines: list[Tensor]

    def tensors(self) -> list[Tensor]:
        """All that was taken for it and is still there."""
        return [*self.sines, *self.cosines]


@attrs.frozen(eq=False)
class SirenPasses:
    """The passes through given weights. Big results are buffers, the caller's to give back.

    G signals have n coordinates each. Where a trace is of one signal, what goes back through it or
    along it may be of K: its cotangents and directions are then K different ones.

    Attributes:
        weights: W_l of the hidden layers, with w0 in it (W, D or W); the first is never rounded,
            since the frequency makes much of a coordinate's last digits.
        biases: their biases, without (W).
        last: W of the output layer (C, W).
        offset: its bias and the output offset (C).
        w0: the frequency.
        dtype: of what is kept and of products between hidden layers.
        buffers: where memory comes from.
        layers: what is done at one.
    """

    weights: list[Tensor]
    biases: list[Tensor]
    last: Tensor
    offset: Tensor
    w0: float
    dtype: torch.dtype
    buffers: Buffers
    layers: Layers

    @classmethod
    def of(
        cls,
        parameters: Sequence[Tensor],
        w0: float,
        output_offset: float,
        buffers: Buffers,
        dtype: torch.dtype | None = None,
    ) -> SirenPasses:
        """Through layers of these parameters.

        Args:
            parameters: weight and bias of each layer in turn, the output layer last.
            w0: the frequency.
            output_offset: added to the output.
            buffers: where memory comes from.
            dtype: of what is kept and of products between hidden layers; None for the weights'.
        """
        with torch.no_grad():
            *hidden, last, bias = parameters
            first, *others = [w0 * weight for weight in hidden[::2]]
            kind = dtype or last.dtype
            return cls(
                weights=[first, *(weight.to(kind) for weight in others)],
                biases=[each.detach() for each in hidden[1::2]],
                last=last.detach(),
                offset=bias + output_offset,
                w0=w0,
                dtype=kind,
                buffers=buffers,
                layers=layers_for(last.device, kind, last.dtype, buffers),
            )

    def tiles(
        self, coords: Float[Tensor, "*G n D"], signals: int
    ) -> Sequence[Float[Tensor, "*G _ D"]]:
        """The coordinates in parts of which each signal's layers fit the processor's cache."""
        if coords.device.type != "cpu":
            return [coords]
        count = coords.shape[-2]
        tiles = round(signals * count * self.last.shape[1] / CACHED)
        return coords.chunk(max(1, min(tiles, count // SHORT)), dim=-2)

    def features(
        self, coords: Float[Tensor, "*G n D"], modulations: Float[Tensor, "G M"]
    ) -> Float[Tensor, "G n C"]:
        """Features at coordinates that all signals share, or at each one's own, and no trace."""
        tiles = self.tiles(coords, len(modulations))
        found = [self.forward(tile, modulations, keep=False)[0] for tile in tiles]
        return torch.cat(found, dim=1)

    def forward(
        self,
        coords: Float[Tensor, "*G n D"],
        modulations: Float[Tensor, "G M"],
        *,
        keep: bool = True,
    ) -> tuple[Float[Tensor, "G n C"], Trace]:
        """Features at coordinates that all signals share, or at each one's own.

        Args:
            coords: where.
            modulations: shifts of each signal, layer after layer.
            keep: leave a trace; without it the trace is empty.
        """
        x = _units_first(coords.expand(len(modulations), -1, -1))
        trace = Trace(x, [], [])
        shifts = modulations.chunk(len(self.weights), dim=-1)
        for weight, bias, shift in zip(self.weights, self.biases, shifts, strict=True):
            total = (self.w0 * (bias + shift)).T
            wave, cosine = self.layers.wave(weight, x, total, keep=keep)
            if cosine is not None:
                trace.cosines.append(cosine)
                trace.sines.append(wave)
            elif x is not trace.coords:
                self.buffers.give([x])
            x = wave
        features = self._features(x) + self.offset
        if not keep:
            self.buffers.give([x])
        return features, trace

    def backward(
        self, trace: Trace, residual: Float[Tensor, "K n C"], *, leave: bool = False
    ) -> Iterator[tuple[Float[Tensor, "W K n"], Float[Tensor, "W K n"], Float[Tensor, "W K"]]]:
        """a_l, g_l and Σ g_l from the last hidden layer to the first.

        The a_l are in buffers of the caller's; a g_l is there until the next is asked for.

        Args:
            trace: of the forward pass.
            residual: r.
            leave: the g_l to the caller too.
        """
        matrix, below, taken = self.last.T, _units_first(residual), list[Tensor]()
        for layer in reversed(range(len(self.weights))):
            a, g, total = self.layers.back(matrix, below, trace.cosines[layer])
            yield a, g, total
            self.buffers.give(taken)  # never the residual, which is the caller's
            matrix, below, taken = self.weights[layer].T, g, [] if leave else [g]
        self.buffers.give(taken)

    def tangent(
        self, trace: Trace, directions: Sequence[Float[Tensor, "W K #n"]]
    ) -> tuple[list[Tensor], Float[Tensor, "K n C"]]:
        """ż_l of each hidden layer, and the features along the directions.

        Args:
            trace: of the forward pass.
            directions: ṫ_l of each layer, one for each signal or for each coordinate.
        """
        found = [directions[0].to(self.dtype)]
        c = trace.cosines[0]
        room = self.buffers.take((*found[0].shape[:2], c.shape[2]), c)
        x = torch.mul(c, found[0], out=room)
        for weight, direction, c in zip(
            self.weights[1:], directions[1:], trace.cosines[1:], strict=True
        ):
            z, x = self.layers.along(weight, x, direction, c)
            found.append(z)
        features = self._features(x)
        self.buffers.give([x])
        return found, features

    def second(
        self,
        trace: Trace,
        upper: Float[Tensor, "G n C"],
        along: tuple[Tensor, list[Tensor], list[Tensor]] | None = None,
    ) -> tuple[Float[Tensor, "G M"], list[Tensor]]:
        """The pass of p_l and q_l: derivatives by the modulations and by the network's parameters.

        Args:
            trace: of the forward pass; its cosines are used up and given back.
            upper: u.
            along: r, the a_l and the ż_l, of which those above the first layer are used up and
                given back; without them this is the ordinary backward pass of u.

        Returns:
            By the modulations, and by the parameters in the order of `of`.
        """
        matrix, below = self.last.T, _units_first(upper)
        cotangent = None if along is None else _units_first(along[0])
        shifts, found = [], [below.sum(dim=(1, 2))]
        for layer in reversed(range(len(self.weights))):
            sine, c, x = trace.sines[layer], trace.cosines.pop(), None
            used = [c]
            if along is None:
                q, total = self.layers.fold(matrix, below, c)
                given = [below]
            else:
                a, z = along[1][layer], along[2][layer]
                spent = layer > 0  # the first layer's is the caller's
                used += [z] if spent else []
                q, total, x = self.layers.bend(matrix, below, sine, c, a, z, spent=spent)
                given = [below, x]
            self.buffers.give(each for each in used if each is not q and each is not x)
            # x_l and ẋ_l go into the layer above, whose weights' share is now complete.
            by_weight = self._share(layer + 1, below, sine)
            if cotangent is not None and x is not None:
                by_weight += self._share(layer + 1, cotangent, x)
            top = layer + 1 == len(self.weights)
            found.append(by_weight if top else by_weight.mul_(self.w0))
            self.buffers.give(given[1:] if top else given)  # never `upper`, which is the caller's
            shift = self.w0 * total
            shifts.append(shift)
            found.append(shift.sum(dim=1))
            matrix, below = self.weights[layer].T, q
            cotangent = None if along is None else along[1][layer]
        found.append(self.w0 * self.layers.share(trace.coords, below).T)
        self.buffers.give([below])
        return torch.cat(shifts[::-1]).T, found[::-1]

    def _share(
        self, layer: int, cotangent: Float[Tensor, "_ K n"], x: Float[Tensor, "W K n"]
    ) -> Float[Tensor, "_ W"]:
        """Sums over coordinates for the weights of a layer above the first, or of the output."""
        if layer == len(self.weights):
            return self.layers.share(cotangent, x)
        return product(_flat(cotangent), _flat(x)).to(self.offset.dtype)

    def _features(self, x: Float[Tensor, "W G n"]) -> Float[Tensor, "G n C"]:
        return self.layers.mix(self.last, x).permute(1, 2, 0)


def _units_first(x: Float[Tensor, "G n W"]) -> Float[Tensor, "W G n"]:
    return x.permute(2, 0, 1).contiguous()


def _flat(x: Float[Tensor, "W G n"]) -> Float[Tensor, "W _"]:
    """All coordinates in one row: the same memory."""
    return x.flatten(1)
