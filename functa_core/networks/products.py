"""Matrix products, by the faster of two libraries.

PyTorch multiplies float32 matrices on a processor with MKL, which is at its best on Intel's own:
on others oneDNN, which PyTorch carries too and uses for compiled models, is more than twice as fast
with AVX-512 and up to 1.7 times with AVX2, with the same precision. With AVX2 there are shapes that
MKL is better at, see `_suits_onednn`.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor


def product(a: Float[Tensor, "n k"], b: Float[Tensor, "m k"]) -> Float[Tensor, "n m"]:
    """a bᵀ."""
    if a.device.type == "cpu" and a.dtype == torch.float32 and _suits_onednn(*b.shape):
        result: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
        return result
    return a @ b.T


SMALL = 16
"""Below it the preparation of a product outweighs it."""


def _suits_onednn(m: int, k: int) -> bool:
    """Whether oneDNN was measured to be faster, on this processor, at a product by (m, k).

    With AVX2 it is not where the sum is over coordinates (the weights' share), by 5 to 25 per cent,
    nor at multiples of 1,024 coordinates that are no power of two, by a factor of two at the first.
    """
    if min(m, k) < SMALL or not _onednn():
        return False
    return _capability() == "AVX512" or (m >= k and (m % 1024 != 0 or m.bit_count() == 1))


@cache
def _onednn() -> bool:
    """Whether oneDNN is there, on a processor that it was measured to be faster on."""
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and _capability() in ("AVX2", "AVX512")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


@cache
def _capability() -> str:
    return torch.backends.cpu.get_cpu_capability()


AMPERE = (8, 0)
"""The first of NVIDIA's GPUs that multiply bfloat16 themselves."""


def is_nvidia(device: torch.device) -> bool:
    """Whether it is one of NVIDIA's GPUs; to PyTorch, AMD's are "cuda" too."""
    return device.type == "cuda" and torch.version.hip is None


def bfloat16_pays(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 itself.

    A processor that does not (x86 before AVX-512) converts number by number, at a tenth to a
    hundredth of float32's rate.
    """
    if is_nvidia(device):
        return torch.cuda.get_device_capability(device) >= AMPERE
    if device.type != "cpu" or not hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported"):
        return True
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
