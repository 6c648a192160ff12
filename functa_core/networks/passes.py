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
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.networks.buffers import Buffers
from functa_core.networks.products import product


@attrs.frozen(eq=False)
class Trace:
    """What a forward pass leaves behind for the others.

    Attributes:
        coords: (G, n, D), as they went in.
        sines: x_l of each hidden layer (G, n, W).
        cosines: c_l of each (G, n, W).
    """

    coords: Tensor
    sines: list[Tensor]
    cosines: list[Tensor]

    def below(self, layer: int) -> Tensor:
        """x_{l-1}, what goes into a layer."""
        return self.sines[layer - 1] if layer else self.coords

    def tensors(self) -> list[Tensor]:
        """All that was taken for it."""
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
    """

    weights: list[Tensor]
    biases: list[Tensor]
    last: Tensor
    offset: Tensor
    w0: float
    dtype: torch.dtype
    buffers: Buffers

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
            )

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
        x = coords.expand(len(modulations), -1, -1).contiguous()
        trace = Trace(x, [], [])
        shifts = modulations.chunk(len(self.weights), dim=-1)
        for weight, bias, shift in zip(self.weights, self.biases, shifts, strict=True):
            z = self._product(x, weight)
            z += (self.w0 * (bias + shift)).to(z.dtype).unsqueeze(1)
            if keep:
                cosine = torch.cos(z, out=self.buffers.take(z.shape, z))
                trace.cosines.append(self._rounded(cosine))
            elif x is not trace.coords:
                self.buffers.give([x])
            x = self._rounded(z.sin_())
            if keep:
                trace.sines.append(x)
        features = self._features(x) + self.offset
        if not keep:
            self.buffers.give([x])
        return features, trace

    def backward(
        self, trace: Trace, residual: Float[Tensor, "K n C"]
    ) -> Iterator[tuple[int, Float[Tensor, "K n W"], Float[Tensor, "K n W"]]]:
        """(l, a_l, g_l) from the last hidden layer to the first, both in buffers of the caller's.

        Args:
            trace: of the forward pass.
            residual: r.
        """
        a = self._rounded(self._product(residual, self.last.T))
        for layer in reversed(range(len(self.weights))):
            c = trace.cosines[layer]
            g = torch.mul(a, c, out=self.buffers.take(a.shape, a))
            below = self._product(g, self.weights[layer].T) if layer else None
            yield layer, a, g
            if below is not None:
                a = below

    def tangent(
        self, trace: Trace, directions: Sequence[Float[Tensor, "K #n W"]]
    ) -> tuple[list[Tensor], Float[Tensor, "K n C"]]:
        """ż_l of each hidden layer, and the features along the directions.

        Args:
            trace: of the forward pass.
            directions: ṫ_l of each layer, one for each signal or for each coordinate.
        """
        found: list[Tensor] = []
        for weight, direction in zip(self.weights, directions, strict=True):
            if not found:
                found.append(direction.to(self.dtype))
                continue
            x = self._wave(trace, len(found) - 1, found[-1])
            z = self._product(x, weight)
            z += direction.to(z.dtype)
            self.buffers.give([x])
            found.append(z)
        x = self._wave(trace, len(found) - 1, found[-1])
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
            trace: of the forward pass; its tensors are used up.
            upper: u.
            along: r, the a_l and the ż_l, used up too; without them this is the ordinary backward
                pass of u.

        Returns:
            By the modulations, and by the parameters in the order of `of`.
        """
        by_last = _rows(upper).T @ _rows(trace.sines[-1]).to(upper.dtype)
        if along is not None:
            x = self._wave(trace, -1, along[2][-1])
            by_last += _rows(along[0]).T @ _rows(x).to(upper.dtype)
            self.buffers.give([x])
        shifts, found = [], [upper.sum(dim=(0, 1)), by_last]
        p = self._rounded(self._product(upper, self.last.T))
        for layer in reversed(range(len(self.weights))):
            q = p.mul_(trace.cosines[layer])
            by_weight = None
            if along is not None:
                a, z = along[1][layer], along[2][layer]
                bent = torch.mul(a, z, out=self.buffers.take(a.shape, a))
                if len(bent) == len(q):
                    q.addcmul_(bent, trace.sines[layer], value=-1)
                else:
                    q.addcmul_(bent.sum(dim=0, keepdim=True), trace.sines[layer], value=-1)
                self.buffers.give([bent])
                if layer:
                    g = a.mul_(trace.cosines[layer])
                    x = self._wave(trace, layer - 1, along[2][layer - 1])
                    by_weight = product(_rows(g).T, _rows(x).T)
                    self.buffers.give([x])
            shift = self.w0 * q.sum(dim=1, dtype=self.offset.dtype)
            shifts.append(shift)
            below = _rows(trace.below(layer))
            if by_weight is None:
                by_weight = product(_rows(q).T.to(below.dtype), below.T)
            else:
                by_weight += product(_rows(q).T, below.T)
            found += [shift.sum(dim=0), self.w0 * by_weight.to(self.offset.dtype)]
            if layer:
                p = self._product(q, self.weights[layer].T)
            self.buffers.give([q])
        return torch.cat(shifts[::-1], dim=-1), found[::-1]

    def _wave(self, trace: Trace, layer: int, z: Tensor) -> Tensor:
        """ẋ_l in a buffer."""
        c = trace.cosines[layer]
        shape = (max(len(c), len(z)), *c.shape[1:])
        return torch.mul(c, z, out=self.buffers.take(shape, c))

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        """Rows times the transpose of a matrix."""
        return product(_rows(x), weight).view(*x.shape[:-1], -1)

    def _features(self, x: Tensor) -> Tensor:
        return x.to(self.last.dtype) @ self.last.T

    def _rounded(self, x: Tensor) -> Tensor:
        """In the type that is kept: the same tensor, unless that is a shorter one."""
        return x.to(self.dtype)


def _rows(x: Tensor) -> Tensor:
    """(G, n, W) as (G·n, W), the same memory where it lies together."""
    return x.flatten(0, 1)
