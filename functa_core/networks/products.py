"""Matrix products, by the faster of two libraries.

PyTorch multiplies float32 matrices on a processor with MKL, which keeps its widest instructions
for Intel's own: on others oneDNN, which PyTorch carries too and uses for compiled models, is more
than twice as fast, with the same precision.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor


def product(a: Float[Tensor, "n k"], b: Float[Tensor, "m k"]) -> Float[Tensor, "n m"]:
    """a bᵀ."""
    if a.device.type == "cpu" and a.dtype == torch.float32 and min(b.shape) >= SMALL and _onednn():
        result: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
        return result
    return a @ b.T


SMALL = 16
"""Below it the preparation of a product outweighs it."""


@cache
def _onednn() -> bool:
    """Whether oneDNN is there and the processor has instructions that MKL may leave aside."""
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
