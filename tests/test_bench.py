"""The benchmark: what is counted, who is refused or absent, what is written; no time counts."""

import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from functa_core.bench import host, ours, syncs
from functa_core.bench import measure as measuring
from functa_core.bench.case import Asked
from functa_core.bench.counting import update_multiply_adds
from functa_core.bench.host import Apart
from functa_core.bench.implementation import Absent
from functa_core.bench.kinds import KINDS, REFERENCE, Kind
from functa_core.bench.measure import Effort, measure
from functa_core.bench.memory import peak_bytes
from functa_core.bench.ours import Functa
from functa_core.bench.peers.in_torch import AutogradLoop, VmapGrad
from functa_core.bench.report import table
from functa_core.bench.run import run
from functa_core.discovery.loading import load_plugin

CPU = torch.device("cpu")
NO_TIME = Effort(
    {"update": 0.0, "encode": 0.0, "decode": 0.0}, memory=False, apart=False, shrink=64
)
NETWORK = {"width": 16, "depth": 4, "latent_dim": 8}
GPU = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


def tiny(modality="images", name="small", batch=3, **model):
    changes = {"model": {**NETWORK, **model}, "meta": {"batch_size": batch}}
    if modality == "nerf":
        changes["modality"] = {"views": 1, "points_per_ray": 4, "fit_rays": 100}
    if modality == "voxels":
        changes["modality"] = {"points": 64}
    return Asked(load_plugin(modality).modality, name, changes)


def products_of(implementation):
    """Multiply-adds of the products that an update takes, by PyTorch's own counter."""
    op = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    own = {op: lambda a, b, *_, **__: 2 * a[:-1].numel() * a[-1] * b[0]} if op else {}
    work = implementation.updating()
    with FlopCounterMode(display=False, custom_mapping=own) as counter:
        work()
    return counter.get_total_flops() / 2


def test_multiply_adds_of_the_plain_loop_are_those_that_pytorch_counts():
    case = tiny().case(CPU)
    counted = products_of(AutogradLoop(case))
    assert counted == pytest.approx(update_multiply_adds(case, shared_first_step=False), rel=0.02)


def test_the_shared_step_counts_about_two_thirds():
    """21 passes become 15 and a part that the batch shares."""
    case = tiny(batch=64, width=128, depth=12).case(CPU)
    shared, plain = (update_multiply_adds(case, shared_first_step=s) for s in (True, False))
    assert 15 / 21 < shared / plain < 16.5 / 21


@pytest.mark.parametrize(
    ("modality", "name"),
    [
        ("images", "small"),
        pytest.param("voxels", "voxels", marks=pytest.mark.slow),
        pytest.param("sphere", "sphere", marks=pytest.mark.slow),
        ("nerf", "nerf"),
    ],
)
def test_peers_have_our_numbers(modality, name):
    batch = 1 if modality == "nerf" else 3
    rows = measure(tiny(modality, name, batch), CPU, NO_TIME)
    operations = {row.operation for row in rows}
    assert operations == {"update", "encode", "render" if modality == "nerf" else "decode"}
    for row in rows:
        if row.implementation in (Functa.name, AutogradLoop.name, VmapGrad.name):
            assert row.reason is None, row
            assert row.median > 0
            assert row.error <= measuring.TOLERANCE.get(row.operation, 1e-4)
        if row.reason is not None:
            assert row.median is row.loss is row.peak_bytes is None
        elif row.operation == "update":
            assert row.loss > 0


class Wrong(AutogradLoop):
    """Forgets that the rates are learned in the inner loop: one step too few."""

    name = "wrong"

    def __init__(self, case):
        super().__init__(case)
        self.steps -= 1


def test_a_peer_with_other_numbers_is_not_timed(monkeypatch):
    kinds = (REFERENCE, Kind("wrong", "float32", ours=False, make=Wrong))
    monkeypatch.setattr(measuring, "KINDS", kinds)
    rows = {(row.operation, row.implementation): row for row in measure(tiny(), CPU, NO_TIME)}
    for operation in ("update", "encode"):
        row = rows[operation, "wrong"]
        assert row.median is None
        assert "differs from ours" in row.reason
    assert rows["decode", "wrong"].median > 0  # there it is right


def test_what_is_not_installed_is_absent_with_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "functa_core.bench.peers.in_jax", raising=False)
    rows = [r for r in measure(tiny(), CPU, NO_TIME) if r.implementation == "functa in JAX"]
    assert len(rows) == 3
    assert {row.reason for row in rows} == {"jax is not installed"}


@pytest.mark.slow
@pytest.mark.parametrize("pays", [False, True])
def test_bfloat16_is_absent_where_it_is_emulated(monkeypatch, pays):
    monkeypatch.setattr(ours, "bfloat16_pays", lambda device: pays)
    rows = {row.implementation: row for row in measure(tiny(), CPU, NO_TIME)}
    reason = rows["functa bfloat16"].reason
    assert reason == (None if pays else "this processor has no instructions for bfloat16")


def test_no_time_and_no_memory_are_reasons(monkeypatch):
    rows = measure(tiny(), CPU, attrs.evolve(NO_TIME, until=0.0))
    assert {row.reason for row in rows} == {"there was no time left"}

    def hungry(case):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    kinds = (REFERENCE, Kind("hungry", "float32", ours=False, make=hungry))
    monkeypatch.setattr(measuring, "KINDS", kinds)
    rows = measure(tiny(), CPU, NO_TIME)
    assert {r.reason for r in rows if r.implementation == "hungry"} == {
        "there is not enough memory"
    }


def test_the_document_and_its_table():
    found = run([tiny()], CPU, NO_TIME)
    assert set(found) >= {"hardware", "versions", "ceilings", "results", "ratios"}
    assert found["versions"]["torch"]
    assert {"matmul_float32", "matmul_bfloat16", "product_float32", "sine_float32", "copy"} <= set(
        found["ceilings"]
    )
    assert all(rate > 0 for rate in found["ceilings"].values())
    assert found["ceilings"]["product_float32"] >= found["ceilings"]["matmul_float32"]
    assert len(found["results"]) == 3 * len(KINDS)
    by_name = {(r["operation"], r["implementation"]): r for r in found["results"]}
    ours, loop = by_name["update", "functa"], by_name["update", "autograd loop"]
    rate = ours["multiply_adds"] / ours["median"]
    assert ours["of_matmul"] == pytest.approx(rate / found["ceilings"]["matmul_float32"])
    [ratio] = [
        r["time"]
        for r in found["ratios"]
        if (r["operation"], r["implementation"], r["against"])
        == ("update", "functa", "autograd loop")
    ]
    assert ratio == pytest.approx(loop["median"] / ours["median"])
    assert any("autograd loop" in line for line in table(found))


def test_bench_refuses_sizes_that_nobody_declares(functa, tmp_path):
    code, _, err = functa("bench", "--config", "smal")
    assert code == 2
    assert "Did you mean 'small'?" in err
    code, _, err = functa("bench", "--out", tmp_path / "found.txt")
    assert code == 2
    assert not list(tmp_path.iterdir())


def test_the_gpu_version_measures_here_too():
    spec = importlib.util.spec_from_file_location("gpu", GPU)
    gpu = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gpu)
    gpu.Colours.benchmarks = {"small": gpu._benchmark(4, {}, {"batch_size": 2, "lr": 1e-4})}
    found = gpu.measured(CPU, NO_TIME, {"model": NETWORK})
    assert found["waits"] == {"small": None}
    assert {r["implementation"] for r in found["results"] if r["median"] is not None} >= {
        "functa",
        "autograd loop",
        "vmap of grad",
    }


@pytest.mark.parametrize(("pays", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_waits_are_those_of_what_a_gpu_has_by_default(monkeypatch, pays, expected):
    """One that does not multiply bfloat16 has the row in float32, and no error at the end."""
    seen = []

    class Noted(Functa):
        def updating(self):
            seen.append(self.dtype)
            return lambda: None

        def finish(self, result):
            return result

    class Half(Noted):
        dtype = "bfloat16"

    monkeypatch.setattr(syncs, "bfloat16_pays", lambda device: pays)
    monkeypatch.setattr(syncs, "Functa", Noted)
    monkeypatch.setattr(syncs, "FunctaBfloat16", Half)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: None)
    case = tiny().case(CPU)
    monkeypatch.setattr(Asked, "case", lambda self, device: case)
    assert syncs.waits(tiny(), torch.device("cuda")) == 0
    assert seen == [expected]


BARE = """
import importlib.util
import sys

import numpy
import torch

known = {name.partition(".")[0] for name in sys.modules} | set(sys.stdlib_module_names)
known |= {"sympy", "mpmath", "networkx", "jinja2", "fsspec", "filelock"}  # torch requires them
own = {"functa_core", "gpu", "standins"}


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in known | own and not name.startswith("_"):
            raise ModuleNotFoundError(f"{name} is not on that machine", name=name)


sys.meta_path.insert(0, Refuse())
there = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: there(name, *more) if name in known | own else None
sys.path.insert(0, BENCHMARKS)
import gpu
from functa_core.bench.measure import Effort
from functa_core.networks.siren import SirenConfig

assert "stand" in sys.modules["attrs"].field.__module__
small = {"width": 8, "depth": 3, "latent_dim": 4}
gpu.Colours.benchmarks = {"small": gpu._benchmark(4, small, {"batch_size": 2, "lr": 1e-4})}
if __name__ == "__main__":
    try:
        SirenConfig(width=0)
    except ValueError as error:
        assert "width must be at least 1" in str(error)
    else:
        raise AssertionError("a width of 0 was taken")
    seconds = dict.fromkeys(("update", "encode", "decode"), 0.0)
    found = gpu.measured(torch.device("cpu"), Effort(seconds, memory=False, apart=False))
    medians = {row["implementation"]: row["median"] for row in found["results"]}
    assert medians["functa"] and medians["autograd loop"] and not medians["functa in JAX"]
"""


@pytest.mark.slow
def test_the_gpu_version_needs_torch_and_numpy_alone(tmp_path):
    """Blocked: all that is installed but these, and what they need."""
    program = tmp_path / "bare.py"
    program.write_text(BARE.replace("BENCHMARKS", repr(str(GPU.parent))))
    subprocess.run([sys.executable, str(program)], check=True)


@pytest.mark.slow  # processes that import torch
def test_each_implementation_in_a_process_of_its_own_has_the_same_numbers(monkeypatch):
    kinds = [kind for kind in KINDS if kind.name in ("functa", "autograd loop")]
    monkeypatch.setattr(measuring, "KINDS", kinds)
    here = measure(tiny(), CPU, NO_TIME)
    monkeypatch.setattr(measuring, "Here", None)
    apart = measure(tiny(), CPU, attrs.evolve(NO_TIME, apart=True))
    for one, other in zip(here, apart, strict=True):
        assert other.reason is None
        assert other.median > 0
        assert other.error <= measuring.TOLERANCE[one.operation]
        assert other.loss == pytest.approx(one.loss)


@pytest.mark.slow
def test_an_implementation_whose_process_ends_is_absent_and_the_others_are_timed(monkeypatch):
    """While it is timed, which is when memory is short."""
    kinds = [kind for kind in KINDS if kind.name in ("functa", "autograd loop")]
    monkeypatch.setattr(measuring, "KINDS", kinds)
    seconds = Apart.seconds

    def dies(self, operation, calls):
        if operation == "encode" and self.name == "autograd loop":
            self.process.kill()
        return seconds(self, operation, calls)

    monkeypatch.setattr(Apart, "seconds", dies)
    rows = measure(tiny(), CPU, attrs.evolve(NO_TIME, apart=True))
    by_name = {(row.operation, row.implementation): row for row in rows}
    assert by_name["update", "autograd loop"].median > 0
    for operation in ("encode", "decode"):
        row = by_name[operation, "autograd loop"]
        assert row.median is row.loss is None
        assert row.reason == "its process ended with exit code -9, most likely for want of memory"
    assert all(row.median > 0 for row in rows if row.implementation == "functa")


class Unsendable(Exception):
    """Cannot be made again from what it is pickled as."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (Absent("not here"), Absent, "not here"),
        (MemoryError(), Absent, "there is not enough memory"),
        (Unsendable("this", "that"), host.Failed, "this and that"),
    ],
)
def test_errors_of_another_process_are_told(error, kind, said):
    def work():
        raise error

    told = pickle.loads(pickle.dumps(host._outcome(work)))
    assert type(told) is kind
    assert said in str(told)
    assert host._outcome(lambda: 1) == 1


@pytest.mark.slow
def test_peaks_are_of_an_update():
    asked = tiny(batch=8, width=128)
    ours, loop = (peak_bytes(asked, name) for name in ("functa", "autograd loop"))
    assert ours > 0
    assert loop > 0
