"""Matrix products, by the faster of two libraries.

PyTorch multiplies float32 matrices on a processor with MKL, which is at its best on Intel's own:
on others oneDNN, which PyTorch carries too and uses for compiled models, is more than twice as fast
with AVX-512 and up to 1.7 times with AVX2, with the same precision.
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
    """Whether oneDNN is there, on a processor that it was measured to be faster on."""
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def bfloat16_pays(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 itself.

    A processor that does not (x86 before AVX-512) converts number by number, at a tenth to a
    hundredth of float32's rate.
    """
    if device.type != "cpu" or not hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported"):
        return True
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
