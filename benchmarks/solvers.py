"""Both inner solvers on the same data, in the same time: held-out PSNR while they train.

    python benchmarks/solvers.py --data FOLDER [--sets benchmarks/solvers.yaml] [--seconds 300]

Meta-SGD and Gauss–Newton begin with the same weights and see the same batches in the same order, on
one thread, in turns of a few seconds, so that other work on the machine slows all alike. Only
updates are on the clock, with the reading of their batches; it counts the processor's time, and the
wall's beside it. Each solver is trained at each of a few outer rates for the whole of that time,
over which the rate falls along half a cosine; the rate that fits training signals best at the end
is the solver's. What is best after a short while is not, and may not even be safe, for a long one.
Each set is a process of its own.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import torch

from functa_core.bench.machine import hardware, versions
from functa_core.console import warn
from functa_core.dataset import Dataset
from functa_core.encoding import Encoder
from functa_core.meta.learner import Learner, build_learner
from functa_core.meta.outer import psnr_db, rate, update
from functa_core.meta.precision import kept_type
from functa_core.runs.batches import Batches
from functa_core.runs.config import RunConfig, read_yaml
from functa_core.runs.opening import Session
from functa_core.runs.starting import open_session
from functa_core.seeding import derive

HERE = Path(__file__).parent
SOLVERS = ("meta-sgd", "gauss-newton")
STEPS = (1, 2, 3, 5, 10)
"""Inner steps of a fit, of which the end of training is scored."""
CPU = torch.device("cpu")
TICKS = 1_000_000
"""Steps that the rate falls in: it follows the time, not the updates, which nobody knows before."""


@attrs.frozen
class Effort:
    """How long, and how often looked at.

    Attributes:
        seconds: of training, of each solver at each rate, on the processor.
        moments: how many times its PSNR is measured, evenly spread over the logarithm of the time.
        stretch: the longest turn of one of them, in seconds.
        rates: of Adam, each for all of those seconds.
    """

    seconds: float = 300.0
    moments: int = 12
    stretch: float = 5.0
    rates: tuple[float, ...] = (2.5e-4, 5e-4, 1e-3)

    def looks(self) -> list[float]:
        """Seconds at which PSNR is measured: the first at a hundredth, the last at the end."""
        last = max(self.moments - 1, 1)
        return [self.seconds * 100 ** (place / last - 1) for place in range(self.moments)]


@attrs.define(eq=False)
class Contender:
    """One solver in training.

    Attributes:
        batches: what it trains on, with the configuration.
        budget: seconds until its rate has fallen.
        updates, processor, wall: taken, and what they cost in seconds.
    """

    batches: Batches
    budget: float
    updates: int = 0
    processor: float = 0.0
    wall: float = 0.0
    learner: Learner = attrs.field(init=False)
    optimiser: torch.optim.Adam = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """As a run begins."""
        config = self.config
        seed = derive(config.seed, "weights")
        self.learner = build_learner(self.batches.modality.spec, config.model, config.meta, seed)
        self.optimiser = torch.optim.Adam(self.learner.parameters(), lr=config.meta.lr)

    @property
    def config(self) -> RunConfig:
        """Of the run that this is."""
        return self.batches.config

    def train(self, until: float) -> None:
        """Take updates until so many seconds of the processor's time are spent."""
        falling = attrs.evolve(self.config.meta, steps=TICKS)
        while self.processor < until:
            wall, processor = time.monotonic(), time.process_time()
            for group in self.optimiser.param_groups:
                group["lr"] = rate(int(TICKS * min(self.processor / self.budget, 1)), falling)
            batch = self.batches.batch(self.updates)
            part = slice(0, len(batch))
            problem = self.batches.problem(self.learner, batch, self.updates, part)
            seed = derive(self.config.seed, "latent noise", self.updates)
            update(self.learner, self.optimiser, problem, self.config.meta, seed)
            self.updates += 1
            self.processor += time.process_time() - processor
            self.wall += time.monotonic() - wall

    def scored(self, signals: Dataset[Any], steps: Sequence[int]) -> dict[int, float]:
        """Mean PSNR in dB after each of so many inner steps, off the clock."""
        meta = self.config.meta
        encoder = Encoder(
            learner=deepcopy(self.learner).requires_grad_(False),
            modality=self.batches.modality,
            inner_steps=max(steps),
            l2_weight=meta.l2_weight,
            batch=meta.encode_batch,
            chunk=meta.chunk,
            device=CPU,
            precision=kept_type(meta.precision, self.learner, CPU),
        )
        found: dict[int, list[torch.Tensor]] = {step: [] for step in steps}
        for _, observations in encoder.batches(signals):
            path = encoder.fit(observations)
            for step in steps:
                predicted = encoder.predict(path[step], observations)
                peak = encoder.modality.spec.peak
                found[step].append(psnr_db(predicted, observations, peak))
        return {step: float(torch.cat(each).mean()) for step, each in found.items()}

    def point(self, signals: Dataset[Any]) -> dict[str, float | int]:
        """Where it stands."""
        steps = self.config.meta.inner_steps
        return {
            "updates": self.updates,
            "processor_seconds": round(self.processor, 3),
            "wall_seconds": round(self.wall, 3),
            "psnr_db": round(self.scored(signals, [steps])[steps], 3),
        }


def contender(session: Session, solver: str, lr: float, budget: float) -> Contender:
    """A solver at a rate, untrained."""
    meta = attrs.evolve(session.config.meta, solver=solver, lr=lr)
    config = attrs.evolve(session.config, meta=meta)
    return Contender(Batches(session.modality, session.train, config), budget)


def spread(signals: Dataset[Any], count: int) -> Dataset[Any]:
    """At most so many of the signals, evenly spread over them."""
    count = min(count, len(signals))
    return signals.select([place * len(signals) // count for place in range(count)])


def in_turns(contenders: Sequence[Contender], until: float, stretch: float) -> None:
    """Train all of them to the same time, each for a stretch, then the next."""
    now = min(each.processor for each in contenders)
    while now < until:
        now = min(now + stretch, until)
        for each in contenders:
            each.train(now)


def best(rates: Mapping[str, Mapping[str, Any]]) -> str:
    """The rate with the highest PSNR on training signals; one that diverged has none."""

    def fitted(lr: str) -> float:
        psnr: float = rates[lr]["training_psnr_db"]
        return -math.inf if math.isnan(psnr) else psnr

    return max(rates, key=fitted)


def ended(one: Contender, train: Dataset[Any], test: Dataset[Any]) -> dict[str, Any]:
    """How training ended: fits of training signals, and of test signals by several inner steps."""
    own = one.config.meta.inner_steps
    return {
        "training_psnr_db": round(one.scored(train, [own])[own], 3),
        "steps": {str(step): round(psnr, 3) for step, psnr in one.scored(test, STEPS).items()},
    }


def measure(session: Session, effort: Effort, scored: int) -> dict[str, Any]:
    """Curves of both solvers at each rate, and their end after more and fewer inner steps.

    Args:
        session: the data and everything that all have in common.
        effort: how long.
        scored: signals that PSNR is the mean of.
    """
    train, test = spread(session.train, scored), spread(session.test, scored)
    contenders = {
        (solver, f"{lr:g}"): contender(session, solver, lr, effort.seconds)
        for solver in SOLVERS
        for lr in effort.rates
    }
    curves = {key: [each.point(test)] for key, each in contenders.items()}
    for until in effort.looks():
        in_turns(list(contenders.values()), until, effort.stretch)
        for key, each in contenders.items():
            curves[key].append(each.point(test))
            warn(f"{session.config.modality_name}, {key[0]} at {key[1]}: {curves[key][-1]}")
    found: dict[str, dict[str, Any]] = {}
    for solver in SOLVERS:
        rates = {
            lr: {"curve": curves[solver, lr], **ended(each, train, test)}
            for (its, lr), each in contenders.items()
            if its == solver
        }
        found[solver] = {"lr": best(rates), "rates": rates}
    tree = session.config.tree()
    tree["data"]["path"] = Path(tree["data"]["path"] or "").name
    for own in ("solver", "lr", "steps"):  # each one's, or the time's
        del tree["meta"][own]
    return {
        "config": {name: tree[name] for name in ("seed", "data", "modality", "model", "meta")},
        "train": len(session.train),
        "scored": len(test),
        "solvers": found,
    }


def draw(found: Mapping[str, Any], path: Path) -> None:
    """A PNG: PSNR against the processor's time and against updates, a row for each set."""
    from matplotlib.figure import Figure

    sets = found["sets"]
    figure = Figure(figsize=(10, 3.1 * len(sets)), layout="constrained")
    grid = figure.subplots(len(sets), 2, squeeze=False)
    for (name, each), (left, right) in zip(sets.items(), grid, strict=True):
        for solver, its in each["solvers"].items():
            points = its["rates"][its["lr"]]["curve"][1:]  # the first, untrained, is at no time
            psnr = [point["psnr_db"] for point in points]
            for axes, key in ((left, "processor_seconds"), (right, "updates")):
                axes.plot([p[key] for p in points], psnr, "o-", markersize=4, label=solver)
        left.set_title(f"{name}: PSNR (dB) of {each['scored']} held-out signals", fontsize=10)
        left.set_xlabel("training, seconds of one thread")
        right.set_xlabel("updates")
        for axes in (left, right):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("")
            axes.grid(alpha=0.3, which="both")
            axes.legend(fontsize=8, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def one(name: str, arguments: argparse.Namespace, effort: Effort) -> dict[str, Any]:
    """Measure one of the sets, in this process."""
    torch.set_num_threads(1)
    told = read_yaml(arguments.sets)[name]
    layers = [
        (told["recipe"], read_yaml(arguments.sets.parent / told["recipe"])),
        (str(arguments.sets), told["options"]),
        ("--data", {"data": {"path": str(arguments.data / told["data"])}}),
        ("--seed", {"seed": arguments.seed}),
    ]
    session = open_session(None, layers, out=None, resume=False, device="cpu")
    found = measure(session, effort, told["scored"])
    return {**found, "hardware": hardware(session.device)}


def apart(name: str, given: Sequence[str]) -> dict[str, Any]:
    """Measure one of the sets in a process of its own."""
    command = [sys.executable, __file__, *given, "--one", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure all sets, or one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets' files")
    parser.add_argument("--sets", type=Path, default=HERE / "solvers.yaml", help="what to train on")
    parser.add_argument("--only", default="", help="those whose name has this in it")
    parser.add_argument("--seconds", type=float, default=300.0, help="of training, for each rate")
    parser.add_argument("--rates", type=float, nargs="+", default=Effort().rates, help="of Adam")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="sets at once, a thread each")
    parser.add_argument("--out", type=Path, help="JSON; results/ with the sets' name if left out")
    parser.add_argument("--picture", type=Path, help="PNG of the curves; none if left out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    effort = Effort(seconds=arguments.seconds, rates=tuple(arguments.rates))
    if arguments.one:
        print(json.dumps(one(arguments.one, arguments, effort)))
        return
    names = [name for name in read_yaml(arguments.sets) if arguments.only in name]
    if not names:
        parser.error(f"no set of {arguments.sets} has {arguments.only!r} in its name")
    if arguments.only and arguments.out is None:
        parser.error("--only measures a part of the sets: say by --out where that goes")
    out = arguments.out or HERE / "results" / f"{arguments.sets.stem}.json"
    found: dict[str, Any] = {
        "date": f"{datetime.date.today()}",
        "versions": versions(),
        "effort": attrs.asdict(effort),
        "jobs": arguments.jobs,
        "sets": {},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        results = pool.map(partial(apart, given=sys.argv[1:]), names)
        for name, result in zip(names, results, strict=True):
            found["sets"][name] = result
            out.write_text(json.dumps(found, indent=1) + "\n")
            if arguments.picture is not None:
                draw(found, arguments.picture)


if __name__ == "__main__":
    main()
