"""Compiled sweeps against the plain layers, and what is done where there is no compiler."""

import os
import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_engine import MODALITIES, Plain, make

import functa_core
from functa_core import Box, Spec
from functa_core.meta.learner import MetaConfig
from functa_core.meta.outer import gradients
from functa_core.networks import compiled, fastest, passes, products
from functa_core.networks import swept as swept_layers
from functa_core.networks.buffers import Buffers
from functa_core.networks.layers import PlainLayers
from functa_core.networks.siren import SirenConfig
from functa_core.networks.swept import SweptLayers

KINDS = [torch.float32, torch.bfloat16]
CPU = torch.device("cpu")
# Not asked of what is tested: where there is a compiler, a sweep that does not compile fails.
needs_compiler = pytest.mark.skipif(
    platform.system() != "Linux" or shutil.which("cc") is None, reason="needs cc on Linux"
)


def swept(dtype):
    compiled.loaded(dtype)  # or says why not
    layers = fastest.layers_for(CPU, dtype, torch.float32, Buffers())
    assert isinstance(layers, SweptLayers)
    return layers


@pytest.fixture
def asked_anew():
    """What `sweeps` remembers is forgotten, before and after."""
    compiled.sweeps.cache_clear()
    yield
    compiled.sweeps.cache_clear()


SIZES = [(1, 16), (2, 17), (3, 256), (2, 700)]
"""Signals and coordinates: few, of one block and of several."""
TERMS = [1, 3, 16, 17, 600]
"""Of a product: few, some, and more than are multiplied here."""


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
    matrix = draw(terms, 20, dtype=few).T / max(4, terms**0.5)
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
    compare(ours.wave(matrix, q, shift, keep=True), [exact.sin(), exact.cos()])
    alone, none = ours.wave(matrix, q, shift, keep=False)
    assert none is None
    compare([alone], [exact.sin()])
    compare(ours.back(matrix, g, c), plain.back(wide, g.double(), c.double()))
    compare(ours.fold(matrix, q, c.clone()), plain.fold(wide, q.double(), c.double()))
    compare([ours.mix(matrix.T, s)], [plain.mix(wide.T, s.double())])
    compare([ours.share(q, s)], [plain.share(q.double(), s.double())])
    for t, spent in ((z[..., :1], False), (z, False), (z.contiguous(), True)):
        mine, theirs, used = a.clone(), a.double(), t.clone() if spent else t
        bent = plain.bend(wide, q.double(), s.double(), c.double(), theirs, t.double(), spent=False)
        compare(ours.bend(matrix, q, s, c.clone(), mine, used, spent=spent), bent)
        compare([mine], [theirs])
        square = draw(20, 20) / 4
        expected = plain.along(square.double(), p.double(), t.double(), c.double())
        compare(ours.along(square, p.clone(), t, c), expected)


@needs_compiler
def test_signals_of_few_coordinates_are_left_to_the_plain_layers():
    """As many signals as it may be: a row for each unit of each is too short."""
    generator = torch.Generator().manual_seed(0)
    matrix, x = (
        torch.randn((20, 20), generator=generator),
        torch.randn((20, 90, 3), generator=generator),
    )
    plain = PlainLayers(torch.float32, torch.float32, Buffers())
    shift = torch.zeros(20, 90)
    found = swept(torch.float32).wave(matrix, x, shift, keep=True)
    for ours, theirs in zip(found, plain.wave(matrix, x, shift, keep=True), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def furthest(numbers):
    """By how much the sweep's sines and cosines differ from float64's at most."""
    z = torch.as_tensor(numbers, dtype=torch.float32).reshape(1, 1, -1)
    exact = z.flatten().double()
    found = swept(torch.float32).wave(torch.ones(1, 1), z, torch.zeros(1, 1), keep=True)
    ours, theirs = torch.stack([*found]).flatten(1), torch.stack([exact.sin(), exact.cos()])
    assert torch.equal(ours.isnan(), theirs.isnan())
    return float((ours - theirs).nan_to_num(0).abs().amax())


@needs_compiler
@settings(max_examples=100)
@given(st.lists(st.floats(width=32), min_size=16, max_size=40))
def test_sine_and_cosine_of_any_number(numbers):
    """Near a float's last digit, whatever their size; of what has none, none."""
    assert furthest(numbers) <= 1e-7


@needs_compiler
@pytest.mark.parametrize("far", [1.0, 30.0, 1000.0, 29_999.0, 30_001.0, 1e8])
def test_sine_and_cosine_over_a_range(far):
    """On both sides of where the polynomial ends, and at multiples of a quarter turn."""
    assert furthest(np.linspace(-far, far, 100_003)) <= 1e-7
    assert furthest(np.arange(min(far / (np.pi / 4), 1e5)).repeat(16) * (np.pi / 4)) <= 1e-7


@needs_compiler
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_products_of_any_size(data):
    """Matrices that fill no panel, coordinates that fill no register, and many blocks of them."""
    units, terms = (data.draw(st.integers(1, most), name) for most, name in ((70, "W"), (600, "V")))
    signals, n = data.draw(st.integers(1, 3), "G"), data.draw(st.integers(16, 1500), "n")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((terms, signals, n), generator=generator)
    matrix = torch.randn((units, terms), generator=generator) / terms**0.5
    if data.draw(st.booleans(), "transposed"):
        matrix = matrix.T.contiguous().T
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swept_layers, "SHORT", 16)
        patch.setattr(swept_layers, "WIDE", 600)
        torch.set_num_threads(data.draw(st.integers(1, 3), "threads"))
        ones = torch.ones(units, signals, n)
        found, total = swept(torch.float32).fold(matrix, x, ones)
    torch.set_num_threads(threads)
    expected = torch.einsum("wv,vgn->wgn", matrix.double(), x.double())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=3e-5)
    torch.testing.assert_close(total.double(), expected.sum(dim=-1), rtol=0, atol=2e-3)


@needs_compiler
@pytest.mark.parametrize(
    ("dtype", "terms"), [(torch.float32, 3), (torch.float32, 40), (torch.bfloat16, 3)]
)
def test_threads_change_nothing(dtype, terms):
    """Not a digit; of lines whose products are made in the sweep, and so are their sums."""
    generator = torch.Generator().manual_seed(0)
    s, c, a, z = torch.randn((4, 64, 2, 900), generator=generator).to(dtype).unbind()
    matrix, below = (
        torch.randn((64, terms), generator=generator),
        torch.randn((terms, 2, 900), generator=generator),
    )
    few, square = below[:3], torch.randn((64, 64), generator=generator)
    layers, before, found = swept(dtype), torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            bent = a.clone()
            found.append(
                [
                    *layers.wave(matrix, below, torch.ones(64, 2), keep=True),
                    *layers.back(matrix, below, c),
                    *layers.bend(matrix, below, s, c.clone(), bent, z.clone(), spent=True),
                    *(bent, layers.mix(matrix.T[:3], s), layers.share(few, s)),
                    *layers.fold(matrix, below, c.clone()),
                    *layers.along(square, s.clone(), z, c),
                ]
            )
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*found, strict=True):
        torch.testing.assert_close(one, three, rtol=0, atol=0)


class Coloured(Plain):
    """More channels than are summed in the sweep."""

    spec = Spec(Box((0.0, 0.0), (1.0, 1.0)), 20)


def outcome(modality, shared, precision, width):
    """Loss and gradient of an update."""
    model = SirenConfig(latent_dim=5, width=width, depth=4, w0=10.0)
    learner, problem = make(
        modality, shared, dtype=torch.float32, count=90, model=model, precision=precision
    )
    result = gradients(learner, problem, MetaConfig())
    return result.loss, torch.cat([parameter.grad.flatten() for parameter in learner.parameters()])


@needs_compiler
@pytest.mark.parametrize("width", [8, 32])
@pytest.mark.parametrize("tile", [None, 500])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("modality", [*MODALITIES, Coloured])
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_an_update_is_that_of_the_plain_layers(
    modality, shared, precision, width, tile, monkeypatch
):
    monkeypatch.setattr(passes, "SHORT", 16)
    monkeypatch.setattr(passes, "CACHED", tile or passes.CACHED)
    assert compiled.loaded(precision or torch.float32)
    loss, slope = outcome(modality, shared, precision, width)
    monkeypatch.setattr(fastest, "sweeps", lambda dtype: None)
    plain_loss, plain_slope = outcome(modality, shared, precision, width)
    bound = 1e-5 if precision is None else 1e-2
    assert float(loss) == pytest.approx(float(plain_loss), rel=bound)
    assert float((slope - plain_slope).norm() / plain_slope.norm()) < 10 * bound


class Halved(Plain):
    """Its author asks for bfloat16 in products, wherever they are."""

    def forward(self, field, queries, generator=None):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return field(queries)


@needs_compiler
@pytest.mark.parametrize("widest", [swept_layers.WIDE, 8])
@pytest.mark.parametrize("width", [20, 32])
def test_an_operator_may_use_autocast(width, widest, monkeypatch):
    """Whoever it is that multiplies."""
    monkeypatch.setattr(swept_layers, "WIDE", widest)
    expected = outcome(Halved, True, None, width)[0]
    monkeypatch.setattr(products, "_onednn", lambda: False)
    assert float(outcome(Halved, True, None, width)[0]) == pytest.approx(float(expected), rel=1e-2)


@pytest.mark.parametrize(
    "command", ["false", "/is/not/there", "true", "'cc", "cc -fvisibility=hidden"]
)
def test_without_a_compiler_that_works_all_is_plain(command, asked_anew, monkeypatch, tmp_path):
    monkeypatch.setenv("CC", command)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for dtype in (*KINDS, torch.float64):
        with pytest.raises(compiled.NoSweeps):
            compiled.loaded(dtype)
        layers = fastest.layers_for(CPU, dtype, torch.float32, Buffers())
        assert isinstance(layers, PlainLayers)


def test_without_a_home_all_is_plain(asked_anew, monkeypatch):
    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.home", nobody)
    assert compiled.sweeps(torch.float32) is None


def test_a_compiler_that_never_ends_is_not_waited_for(asked_anew, monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "sh -c 'cat; exec sleep 100'")  # what it reads ends at once
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiled, "PATIENCE", 0.2)
    assert compiled.sweeps(torch.float32) is None


PROGRAM = """
import torch
from functa_core.networks.compiled import sweeps
print(sweeps(torch.float32) is not None)
"""


@needs_compiler
def test_what_is_kept_is_compiled_once_and_checked_for(tmp_path):
    """A second process finds it, without a compiler; one that is none is not loaded."""

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
    assert there(PATH="")
    assert [path.stat().st_mtime_ns for path in tmp_path.rglob("*.so")] == [when]
    kept.write_bytes(b"no library")
    assert not there()


def test_the_source_is_in_the_package():
    """What is compiled is installed with it."""
    settings = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    packaged = settings["tool"]["setuptools"]["package-data"]["functa_core"]
    for source in (compiled.SOURCE, compiled.PRODUCT):
        path = source.relative_to(Path(functa_core.__file__).parent)
        assert any(path.match(pattern) for pattern in packaged)
