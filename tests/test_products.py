"""Matrix products by either library."""

import pytest
import torch

from functa_core.networks import products
from functa_core.networks.products import product


@pytest.mark.parametrize(
    ("n", "k", "m"),
    [
        (3, 32, 40),  # features of a few channels
        (32, 2, 1024),  # the first layer
        (32, 32, 1024),  # a layer, at as many coordinates as a power of two
        (32, 32, 3072),  # at three times that
        (32, 32, 1000),
        (32, 4096, 32),  # the weights' share, a sum over coordinates
    ],
)
@pytest.mark.parametrize("units_first", [False, True])
def test_a_product_is_that_of_float64(n: int, k: int, m: int, units_first: bool) -> None:
    """At every shape that is told apart, for a second factor that lies either way."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(n, k, generator=generator)
    b = torch.randn(k, m, generator=generator).T
    if not units_first:
        b = b.contiguous()
    found = product(a, b)
    expected = a.double() @ b.double().T
    assert found.shape == (n, m)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=8e-6 * k**0.5)


@pytest.mark.parametrize(
    ("m", "k", "avx2"),
    [(4096, 64, True), (4140, 64, True), (3072, 64, False), (64, 4096, False), (1024, 8, False)],
)
def test_which_library_is_asked(m: int, k: int, avx2: bool, monkeypatch) -> None:
    """With AVX-512 always oneDNN, but for what is small; with AVX2 where it is the faster one."""
    monkeypatch.setattr(products, "_onednn", lambda: True)
    monkeypatch.setattr(products, "_capability", lambda: "AVX2")
    assert products._suits_onednn(m, k) == avx2
    monkeypatch.setattr(products, "_capability", lambda: "AVX512")
    assert products._suits_onednn(m, k) == (min(m, k) >= products.SMALL)
    monkeypatch.setattr(products, "_onednn", lambda: False)
    assert not products._suits_onednn(m, k)
