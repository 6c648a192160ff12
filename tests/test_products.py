"""Matrix products by either library."""

import pytest
import torch

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
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-6 * k**0.5 * 4)
