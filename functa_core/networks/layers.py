"""What the passes do at one layer: a product, and what follows it coordinate by coordinate.

`passes.py` has the equations; here each of their four lines is one function, so that a device may
do the product and the rest at once (`fused.py`). This is the way that works everywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from functa_core.networks.buffers import Buffers
from functa_core.networks.products import product


class Layers(ABC):
    """A layer of each pass, for G signals with n coordinates each, units first.

    Results are buffers, the caller's to give back, but for sums, and those of `mix` and `share`.
    """

    @abstractmethod
    def wave(
        self,
        matrix: Float[Tensor, "W V"],
        x: Float[Tensor, "V G n"],
        shift: Float[Tensor, "W G"],
        *,
        keep: bool,
    ) -> tuple[Float[Tensor, "W G n"], Float[Tensor, "W G n"] | None]:
        """Forward: sin z and, if it is kept, cos z."""

    @abstractmethod
    def back(
        self,
        matrix: Float[Tensor, "W V"],
        g: Float[Tensor, "V K n"],
        cosine: Float[Tensor, "W #K n"],
    ) -> tuple[Float[Tensor, "W K n"], Float[Tensor, "W K n"], Float[Tensor, "W K"]]:
        """Backward: a, g = a c, and Σ g over coordinates."""

    @abstractmethod
    def along(
        self,
        matrix: Float[Tensor, "W V"],
        x: Float[Tensor, "V K n"],
        direction: Float[Tensor, "W K #n"],
        cosine: Float[Tensor, "W #K n"],
    ) -> tuple[Float[Tensor, "W K n"], Float[Tensor, "W K n"]]:
        """Tangent: ż and ẋ = c ż. The x that comes in is used up."""

    @abstractmethod
    def fold(
        self,
        matrix: Float[Tensor, "W V"],
        q: Float[Tensor, "V G n"],
        cosine: Float[Tensor, "W G n"],
    ) -> tuple[Float[Tensor, "W G n"], Float[Tensor, "W G"]]:
        """Second without a tangent: q = c p, maybe in c's place, and Σ q over coordinates."""

    @abstractmethod
    def bend(
        self,
        matrix: Float[Tensor, "W V"],
        q: Float[Tensor, "V G n"],
        sine: Float[Tensor, "W G n"],
        cosine: Float[Tensor, "W G n"],
        a: Float[Tensor, "W K n"],
        z: Float[Tensor, "W K #n"],
        *,
        spent: bool,
    ) -> tuple[Float[Tensor, "W G n"], Float[Tensor, "W G"], Float[Tensor, "W K n"]]:
        """Second: q = c p - Σ a ż sin z, the sum over all K of a signal, Σ q, and ẋ = c ż again.

        What was a becomes g = a c in its place. q may take c's place, and ẋ that of ż where `spent`
        says that nobody needs it any more: memory that was just read is written at half the cost.
        """

    @abstractmethod
    def mix(
        self, matrix: Float[Tensor, "C W"], x: Float[Tensor, "W G n"]
    ) -> Float[Tensor, "C G n"]:
        """The output layer's product, in the type of its matrix."""

    @abstractmethod
    def share(self, few: Float[Tensor, "C G n"], x: Float[Tensor, "W G n"]) -> Float[Tensor, "C W"]:
        """Sums over all coordinates of what is channels or coordinates, times x; in its type."""


@attrs.frozen(eq=False)
class PlainLayers(Layers):
    """PyTorch's own operations, one after the other.

    Attributes:
        dtype: of what is kept.
        total: of sums.
        buffers: where memory comes from.
    """

    dtype: torch.dtype
    total: torch.dtype
    buffers: Buffers

    def wave(
        self, matrix: Tensor, x: Tensor, shift: Tensor, *, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See `Layers`."""
        z = multiplied(matrix, x)
        z += shift.to(z.dtype).unsqueeze(-1)
        cosine = None
        if keep:
            cosine = self._rounded(torch.cos(z, out=self.buffers.take(z.shape, z)))
        return self._rounded(z.sin_()), cosine

    def back(self, matrix: Tensor, g: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Layers`."""
        a = self._rounded(multiplied(matrix, g))
        bent = torch.mul(a, cosine, out=self.buffers.take(a.shape, a))
        return a, bent, self._sum(bent)

    def along(
        self, matrix: Tensor, x: Tensor, direction: Tensor, cosine: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Layers`."""
        z = multiplied(matrix, x)
        z += direction.to(z.dtype)
        return z, torch.mul(cosine, z, out=x)

    def fold(self, matrix: Tensor, q: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layers`."""
        folded = self._rounded(multiplied(matrix, q)).mul_(cosine)
        return folded, self._sum(folded)

    def bend(
        self,
        matrix: Tensor,
        q: Tensor,
        sine: Tensor,
        cosine: Tensor,
        a: Tensor,
        z: Tensor,
        *,
        spent: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Layers`."""
        bent = self._rounded(multiplied(matrix, q)).mul_(cosine)
        x = torch.mul(a, z, out=self.buffers.take(a.shape, a))
        bent.addcmul_(x if x.shape == bent.shape else x.sum(dim=1, keepdim=True), sine, value=-1)
        a.mul_(cosine)
        return bent, self._sum(bent), torch.mul(cosine, z, out=x)

    def mix(self, matrix: Tensor, x: Tensor) -> Tensor:
        """See `Layers`."""
        return multiplied(matrix, x.to(matrix.dtype))

    def share(self, few: Tensor, x: Tensor) -> Tensor:
        """See `Layers`."""
        return product(few.flatten(1), x.flatten(1).to(few.dtype))

    def _sum(self, x: Tensor) -> Tensor:
        return x.sum(dim=-1, dtype=self.total)

    def _rounded(self, x: Tensor) -> Tensor:
        """In the type that is kept: the same tensor, unless that is a shorter one."""
        return x.to(self.dtype)


def multiplied(matrix: Float[Tensor, "W V"], x: Float[Tensor, "V G n"]) -> Float[Tensor, "W G n"]:
    """A matrix times what has units first."""
    return product(matrix, x.flatten(1).T).view(-1, *x.shape[1:])
