"""What training would take, before it begins: `functa train --estimate`."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import torch

from functa_core.distributed import largest_share
from functa_core.meta.learner import build_learner
from functa_core.meta.memory import Footprint, Plan, chosen, footprint
from functa_core.runs.batches import Batches
from functa_core.runs.opening import Session

PATIENCE = 1.0
"""Seconds of a measured update, beyond which larger ones are extrapolated to."""


@attrs.frozen
class Estimate:
    """What one process takes that trains.

    Attributes:
        parameters: numbers that are learned.
        update: what the tensors of an update take, on the device.
        plan: how it is cut.
        signals: of an update, in this process.
        observations: of each.
        steps: updates.
        device: where.
        process: bytes of main memory that Python, libraries and data take now, and the next batch.
    """

    parameters: int
    update: Footprint
    plan: Plan
    signals: int
    observations: int
    steps: int
    device: torch.device
    process: float

    @property
    def peak(self) -> float:
        """Bytes at the peak: of main memory where that is the device's, else of the device's."""
        return self.update.peak + (self.process if self.device.type == "cpu" else 0.0)

    def lines(self) -> list[str]:
        """For people to read."""
        found, plan = self.update, self.plan
        pieces = "all observations" if plan.pieces == 1 else f"1/{plan.pieces} of the observations"
        seconds = found.seconds or 0.0
        known = found.measured == (self.signals, self.observations)
        how = (
            "measured" if known else "from {} signals with {} observations".format(*found.measured)
        )
        rows = [
            ("parameters", f"{self.parameters:,}"),
            ("weights, gradients, moments", _size(found.fixed)),
            ("a batch", f"{_size(found.batch)}: {self.signals} signals, {self.observations} each"),
            ("work", f"{_size(found.work)}: {plan.group} signals at a time, {pieces}"),
            ("Python, libraries, data", f"{_size(self.process)} of main memory"),
            ("peak", f"{_size(self.peak)} on {self.device}, in each process"),
            ("an update", f"{seconds:.3g} s, {how}"),
            (f"{self.steps} updates", _duration(seconds * self.steps)),
        ]
        return [f"{name + ':':30}{value}" for name, value in rows]


def estimate(session: Session) -> Estimate:
    """Measure a few small updates; nothing is written, and no weights are kept."""
    config, device = session.config.meta, session.device
    batches = Batches(session.modality, session.train, session.config)
    batch = batches.batch(0)
    learner = build_learner(session.modality.spec, session.config.model, config, seed=0).to(device)
    problem = batches.problem(learner, batch, 0, largest_share(len(batch))).to(device)
    plan = chosen(learner, problem, config)
    # What is loaded when it is first used is there before main memory is looked at.
    few = problem.signals(0, 2)
    tiny = attrs.evolve(few, observations=few.observations.slice(0, 16), whole=None)
    footprint(learner, tiny, config, Plan(1))
    process = resident() + sum(t.numel() * t.element_size() for t in batch.tensors())
    return Estimate(
        parameters=sum(p.numel() for p in learner.parameters()),
        update=footprint(learner, problem, config, plan, PATIENCE),
        plan=plan,
        signals=len(problem.observations),
        observations=problem.observations.count,
        steps=config.steps,
        device=device,
        process=process,
    )


def resident() -> float:
    """Bytes of main memory that this process takes now; where that is not told, its most."""
    status = Path("/proc/self/status")
    if status.is_file():
        told = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024.0 * int(told["VmRSS"].split()[0])
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most) * (1 if sys.platform == "darwin" else 1024)


def _size(number: float) -> str:
    """Bytes in MB or GB, to three digits."""
    return f"{number / 1e9:.3g} GB" if number >= 1e9 else f"{number / 1e6:.3g} MB"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"about {seconds / length:.2g} {unit}"
    return f"about {seconds:.2g} s"
