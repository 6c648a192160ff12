"""Which type of number an update has, by what was asked, the network and the device."""

import pytest
import torch

from functa_core.meta.precision import kept_type
from functa_core.modality import Box, Spec
from functa_core.networks.siren import LatentModulatedSiren, SirenConfig

SPEC = Spec(domain=Box((0.0,), (1.0,)), channels=1)
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
HALF = torch.bfloat16


@pytest.mark.parametrize(
    ("asked", "scales", "device", "capability", "found"),
    [
        ("auto", False, CPU, None, None),
        ("auto", False, GPU, (7, 5), None),
        ("auto", False, GPU, (8, 0), HALF),
        ("auto", True, GPU, (8, 0), None),
        ("float32", False, GPU, (9, 0), None),
        ("bfloat16", False, CPU, None, HALF),
    ],
)
def test_what_is_kept(monkeypatch, asked, scales, device, capability, found):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    network = LatentModulatedSiren(SPEC, SirenConfig(width=4, depth=3, modulate_scale=scales))
    assert kept_type(asked, network, device) is found
