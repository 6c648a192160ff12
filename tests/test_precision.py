"""Which type of number an update has, by what was asked, the learner and the device."""

import pytest
import torch

from functa_core.meta.learner import MetaConfig, build_learner
from functa_core.meta.precision import kept_type
from functa_core.modality import Box, Spec
from functa_core.networks import fused
from functa_core.networks.products import bfloat16_pays
from functa_core.networks.siren import SirenConfig

SPEC = Spec(domain=Box((0.0,), (1.0,)), channels=1)
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
HALF = torch.bfloat16
PAPERS = SirenConfig(width=4, depth=3), MetaConfig(solver="meta-sgd")
SCALED = SirenConfig(width=4, depth=3, modulate_scale=True), MetaConfig(solver="meta-sgd")
SOLVED = SirenConfig(width=4, depth=3), MetaConfig(solver="gauss-newton")


@pytest.mark.parametrize(
    ("asked", "sizes", "device", "capability", "found"),
    [
        ("auto", PAPERS, CPU, None, None),
        ("auto", PAPERS, GPU, (7, 5), None),
        ("auto", PAPERS, GPU, (8, 0), HALF),
        ("auto", SCALED, GPU, (8, 0), None),
        ("auto", SOLVED, GPU, (8, 0), None),
        ("float32", PAPERS, GPU, (9, 0), None),
        ("bfloat16", SOLVED, GPU, (9, 0), HALF),
        ("bfloat16", PAPERS, CPU, None, HALF),
    ],
)
def test_what_is_kept(monkeypatch, asked, sizes, device, capability, found):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert kept_type(asked, build_learner(SPEC, sizes[0], sizes[1], seed=0), device) is found


def test_gpus_of_amd_are_left_as_they_were(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 4))
    monkeypatch.setattr(torch.version, "hip", "7.0")
    monkeypatch.setattr(fused, "triton", object())  # as if it were installed
    learner = build_learner(SPEC, PAPERS[0], PAPERS[1], seed=0)
    assert kept_type("auto", learner, GPU) is None
    assert not fused.usable.__wrapped__(GPU)
    assert bfloat16_pays(GPU)
