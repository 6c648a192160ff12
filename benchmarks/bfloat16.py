"""Whether bfloat16 reaches what float32 does: the same training in both, and latents in both.

    python benchmarks/bfloat16.py --data chest_xray64.npz [--updates 500] [--device auto]

Meta-SGD, three steps, the network of `small`, the same seed, weights and batches, at a rate that
falls as in any training: where it stays high, two trainings that round at other places differ by
half a dB and more. Held-out PSNR of each training in its own precision; and how far latents that
are fitted by the weights that float32 trained move when they are fitted in bfloat16, relative to
their norm.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from functa_core.bench.machine import hardware, versions
from functa_core.console import ticking
from functa_core.encoding import Encoder, encode
from functa_core.meta.learner import Learner, build_learner
from functa_core.meta.outer import rate, update
from functa_core.meta.precision import kept_type
from functa_core.runs.batches import Batches
from functa_core.runs.opening import Session
from functa_core.runs.starting import open_session
from functa_core.seeding import derive

HERE = Path(__file__).parent
OPTIONS = {
    "modality": {"name": "images", "points": 512},
    "model": {"latent_dim": 128, "width": 256, "depth": 10, "w0": 30.0},
    "meta": {"solver": "meta-sgd", "batch_size": 16, "lr": 1.0e-4},
}
SCORED = 256
"""Held-out pictures, evenly spread over all."""


def trained(session: Session, precision: str, updates: int) -> tuple[Learner, float]:
    """A learner after so many updates, and the seconds they took."""
    config = attrs.evolve(
        session.config, meta=attrs.evolve(session.config.meta, precision=precision, steps=updates)
    )
    batches = Batches(session.modality, session.train, config)
    seed = derive(config.seed, "weights")
    learner = build_learner(session.modality.spec, config.model, config.meta, seed)
    learner.to(session.device)
    optimiser = torch.optim.Adam(learner.parameters(), lr=config.meta.lr)
    began = time.monotonic()
    with ticking(precision, updates) as tick:
        for step in range(updates):
            batch = batches.batch(step)
            problem = batches.problem(learner, batch, step, slice(0, len(batch)))
            for group in optimiser.param_groups:
                group["lr"] = rate(step, config.meta)
            update(learner, optimiser, problem.to(session.device), config.meta)
            tick(step + 1)
    return learner.requires_grad_(False), time.monotonic() - began


def fitted(session: Session, learner: Learner, precision: str) -> tuple[Tensor, float]:
    """Latents of held-out pictures, and their mean PSNR in dB."""
    meta = attrs.evolve(session.config.meta, precision=precision)
    count = len(session.test)
    places = [place * count // SCORED for place in range(min(SCORED, count))]
    encoder = Encoder(
        learner=learner,
        modality=session.modality,
        inner_steps=meta.inner_steps,
        l2_weight=meta.l2_weight,
        batch=meta.encode_batch,
        chunk=meta.chunk,
        device=session.device,
        precision=kept_type(precision, learner, session.device),
    )
    latents, psnr = encode(encoder, session.test.select(places), f"fit in {precision}")
    return latents, float(psnr.double().mean())


def main() -> None:
    """Train twice, fit three times, write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "bfloat16.json")
    arguments = parser.parse_args()
    given = {"data": {"path": str(arguments.data)}, "seed": arguments.seed}
    layers = [("benchmark", OPTIONS), ("command line", given)]
    session = open_session(None, layers, out=None, resume=False, device=arguments.device)
    found: dict[str, Any] = {
        "date": f"{datetime.date.today()}",
        "versions": versions(),
        "hardware": hardware(session.device),
        "config": OPTIONS,
        "data": arguments.data.name,
        "updates": arguments.updates,
        "scored": min(SCORED, len(session.test)),
    }
    learners = {}
    for precision in ("float32", "bfloat16"):
        learners[precision], seconds = trained(session, precision, arguments.updates)
        _, psnr = fitted(session, learners[precision], precision)
        found[precision] = {"psnr_db": psnr, "training_seconds": seconds}
    exact, _ = fitted(session, learners["float32"], "float32")
    rounded, _ = fitted(session, learners["float32"], "bfloat16")
    found["psnr_difference_db"] = found["bfloat16"]["psnr_db"] - found["float32"]["psnr_db"]
    found["latents_relative_difference"] = float((rounded - exact).norm() / exact.norm())
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
