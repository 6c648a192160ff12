"""Compiled sweeps against the plain layers, and what is done where there is no compiler."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_engine import MODALITIES, make

from functa_core.meta.learner import MetaConfig
from functa_core.meta.outer import gradients
from functa_core.networks import compiled, fastest
from functa_core.networks.buffers import Buffers
from functa_core.networks.layers import PlainLayers
from functa_core.networks.siren import SirenConfig
from functa_core.networks.swept import SweptLayers

KINDS = [torch.float32, torch.bfloat16]
CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(
    compiled.library(torch.float32) is None, reason="needs a C compiler on Linux"
)


def swept(dtype):
    layers = fastest.layers_for(CPU, dtype, torch.float32, Buffers())
    assert isinstance(layers, SweptLayers)
    return layers


SIZES = [(1, 1), (2, 5), (3, 256), (2, 700)]
"""Signals and coordinates: fewer and more than a tile."""
TERMS = [1, 3, 16, 17, 20]
"""Of a sum: few are made in the sweep."""


@needs_compiler
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize(("signals", "count"), SIZES)
@pytest.mark.parametrize("cotangents", [None, 3])
@pytest.mark.parametrize("terms", TERMS)
def test_every_line_is_that_of_the_plain_layers(dtype, signals, count, cotangents, terms):
    """In float64; for one direction a signal and for one a coordinate, of one trace and of each."""
    generator = torch.Generator().manual_seed(0)
    traces = 1 if cotangents else signals
    ways = cotangents or signals

    def draw(*shape, dtype=dtype):
        return torch.randn(shape, generator=generator).to(dtype)

    few = torch.float32 if terms <= 16 else dtype  # the first and last layer are not rounded
    matrix = draw(terms, 20, dtype=few).T / 4
    g, q = draw(terms, ways, count, dtype=few), draw(terms, traces, count, dtype=few)
    s, c, p = draw(20, traces, count), draw(20, traces, count), draw(20, ways, count)
    a, z = draw(20, ways, count), draw(ways, 20, count).transpose(0, 1)
    shift = 20 * torch.randn((traces, 20), generator=generator).T
    plain = PlainLayers(torch.float64, torch.float64, Buffers())
    ours, wide = swept(dtype), matrix.double()

    def compare(found, expected):
        bound = 3e-6 if dtype == torch.float32 else 1.5e-2
        for mine, exact in zip(found, expected, strict=True):
            assert mine.shape == exact.shape
            assert float((mine.double() - exact).norm() / exact.norm()) < bound

    # A bfloat16's digits of z are too few for its sine: exact is what the rounded product gives.
    exact = (matrix @ q.flatten(1)).view(s.shape).double() + shift.double().unsqueeze(-1)
    compare(ours.wave(matrix, q, shift, keep=True), (exact.sin(), exact.cos()))
    alone, none = ours.wave(matrix, q, shift, keep=False)
    assert none is None
    compare([alone], [exact.sin()])
    compare(ours.back(matrix, g, c), plain.back(wide, g.double(), c.double()))
    compare(ours.fold(matrix, q, c), plain.fold(wide, q.double(), c.double()))
    compare([ours.mix(matrix.T, s)], [plain.mix(wide.T, s.double())])
    compare([ours.share(q, s)], [plain.share(q.double(), s.double())])
    for t in (z[..., :1], z):
        mine, theirs = a.clone(), a.double()
        expected = plain.bend(wide, q.double(), s.double(), c.double(), theirs, t.double())
        compare(ours.bend(matrix, q, s, c, mine, t), expected)
        compare([mine], [theirs])
        square = draw(20, 20) / 4
        expected = plain.along(square.double(), p.double(), t.double(), c.double())
        compare(ours.along(square, p.clone(), t, c), expected)


@needs_compiler
@settings(max_examples=200)
@given(st.lists(st.floats(width=32), min_size=1, max_size=40))
def test_sine_and_cosine_of_any_number(numbers):
    """Near a float's last digit, whatever their size; of what has none, none."""
    z = torch.tensor(numbers, dtype=torch.float32).reshape(1, 1, -1)
    one, none = torch.ones(1, 1), torch.zeros(1, 1)
    sine, cosine = swept(torch.float32).wave(one, z, none, keep=True)
    with np.errstate(invalid="ignore"):
        exact = np.asarray(numbers, dtype=np.float64)
        np.testing.assert_allclose(sine.flatten(), np.sin(exact), rtol=0, atol=1.5e-7)
        np.testing.assert_allclose(cosine.flatten(), np.cos(exact), rtol=0, atol=1.5e-7)


@needs_compiler
@pytest.mark.parametrize("dtype", KINDS)
def test_threads_change_nothing(dtype):
    """Not a digit; of lines that are made in the sweep as a whole."""
    generator = torch.Generator().manual_seed(0)
    s, c, a, z = torch.randn((4, 64, 2, 900), generator=generator).to(dtype).unbind()
    matrix, few = torch.randn((64, 3), generator=generator), torch.randn((3, 2, 900))
    layers, before, found = swept(dtype), torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            bent = a.clone()
            found.append(
                [
                    *layers.wave(matrix, few, torch.ones(64, 2), keep=True),
                    *layers.back(matrix, few, c),
                    *layers.bend(matrix, few, s, c, bent, z),
                    *(bent, layers.mix(matrix.T, s), layers.share(few, s)),
                ]
            )
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*found, strict=True):
        torch.testing.assert_close(one, three, rtol=0, atol=0)


@needs_compiler
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_an_update_is_that_of_the_plain_layers(modality, shared, precision, monkeypatch):
    model = SirenConfig(latent_dim=5, width=32, depth=4, w0=10.0)
    found = []
    for way in (compiled.library, lambda dtype: None):
        monkeypatch.setattr(fastest, "library", way)
        learner, problem = make(
            modality, shared, dtype=torch.float32, count=90, model=model, precision=precision
        )
        result = gradients(learner, problem, MetaConfig())
        slopes = [parameter.grad.flatten() for parameter in learner.parameters()]
        found.append((result.loss, torch.cat(slopes)))
    (loss, slope), (plain_loss, plain_slope) = found
    bound = 1e-5 if precision is None else 2e-2
    assert float(loss) == pytest.approx(float(plain_loss), rel=bound)
    assert float((slope - plain_slope).norm() / plain_slope.norm()) < 10 * bound


@pytest.mark.parametrize("command", ["false", "/is/not/there", "true", "'cc"])
def test_without_a_compiler_there_is_no_library(command, monkeypatch, tmp_path):
    monkeypatch.setenv("CC", command)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for dtype in (*KINDS, torch.float64):
        compiled.library.cache_clear()
        assert compiled.library(dtype) is None
    compiled.library.cache_clear()
    assert not list(tmp_path.rglob("*.so"))
    layers = fastest.layers_for(CPU, torch.float32, torch.float32, Buffers())
    assert isinstance(layers, PlainLayers)


PROGRAM = """
import torch
from functa_core.networks.compiled import library
print(library(torch.float32) is not None)
"""


@needs_compiler
def test_what_is_kept_is_compiled_once_and_checked_for(tmp_path):
    """A second process finds it; one that is damaged is no library, and no crash."""

    def there(**more):
        environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)} | more
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip() == "True"

    assert there()
    (kept,) = tmp_path.rglob("*.so")
    when = kept.stat().st_mtime_ns
    assert there()
    assert [path.stat().st_mtime_ns for path in tmp_path.rglob("*.so")] == [when]
    kept.write_bytes(b"no library")
    assert not there()


def test_the_source_is_in_the_package():
    """What is compiled is installed with it."""
    from importlib.metadata import files

    assert compiled.SOURCE.is_file()
    listed = [str(path) for path in files("functa-core") or []]
    if any(path.endswith("networks/swept.py") for path in listed):  # not of an editable install
        assert any(path.endswith("networks/sweep.c") for path in listed)
