"""A learner's weights, laid bare: peers share them, and nothing else of ours."""

from __future__ import annotations

from typing import Any

import attrs
from torch import Tensor

from functa_core.bench.case import Case
from functa_core.bench.implementation import Absent
from functa_core.meta.inner import MetaSGD
from functa_core.networks.siren import LatentModulatedSiren

Linear = tuple[Any, Any]
"""Weight (out, in) and bias (out), as arrays of whatever library computes with them."""


@attrs.frozen(eq=False)
class Siren:
    """Everything that is learned, and what is fixed about the network.

    Attributes:
        layers: coordinates → features; the last is linear.
        to_modulations: latent → modulations, with ReLU between.
        rates: (Z,) of meta-SGD.
        clip: the range that rates are held in.
        w0: frequency.
        offset: added to the features.
        scales: whether each unit's scale is modulated too.
    """

    layers: list[Linear]
    to_modulations: list[Linear]
    rates: Any
    clip: tuple[float, float]
    w0: float
    offset: float
    scales: bool

    def learned(self) -> list[Any]:
        """The arrays that the outer loop trains."""
        pairs = [*self.layers, *self.to_modulations]
        return [array for pair in pairs for array in pair] + [self.rates]


def siren_of(case: Case) -> Siren:
    """Copies of the weights that a case starts from.

    Raises:
        Absent: its network or its solver is not the paper's.
    """
    learner = case.learner()
    network, solver = learner.network, learner.solver
    if not isinstance(network, LatentModulatedSiren) or not isinstance(solver, MetaSGD):
        raise Absent("the peers know the paper's network and meta-SGD only")

    def linears(prefix: str) -> list[Linear]:
        state = network.state_dict()
        places = sorted({int(k.split(".")[1]) for k in state if k.startswith(f"{prefix}.")})
        return [
            (_own(state[f"{prefix}.{i}.weight"]), _own(state[f"{prefix}.{i}.bias"])) for i in places
        ]

    return Siren(
        layers=linears("layers"),
        to_modulations=linears("to_modulations"),
        rates=_own(solver.rates),
        clip=solver.clip_range,
        w0=case.model.w0,
        offset=case.modality.spec.output_offset,
        scales=case.model.modulate_scale,
    )


def _own(weight: Tensor) -> Tensor:
    return weight.detach().clone()
