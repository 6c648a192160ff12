"""Checks of the numbers: signals and observations do not disturb each other."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from functa_core.meta.problem import predict_all
from functa_core.modality import seeded
from functa_core.observations import Observations
from functa_core.testing.check import require, require_tensor
from functa_core.testing.subject import META, MOST, Subject, as_float64, row, thinned

CHUNK = 7
"""Observations at a time: few, and no divisor of what is usual."""


def weight_zero(subject: Subject) -> None:
    """Values whose weight is 0 (padding, what is missing, hidden or masked) change no latent, no
    mask and no metric, not even if they are NaN.
    """
    known = subject.whole.weights > 0
    hidden = torch.rand(known.shape, generator=seeded(2)) < 0.3
    hidden &= (known & ~hidden).any(dim=1, keepdim=True)  # something is left of every signal
    masked = subject.whole.masked(~hidden)
    calm = attrs.evolve(masked, values=masked.known_values)
    read = masked.weights.unsqueeze(-1) > 0
    wild = attrs.evolve(masked, values=torch.where(read, masked.values, torch.nan))
    _same_masks(subject, calm, wild)
    noise = 0.1 * torch.randn(calm.values.shape, generator=seeded(3))
    predicted = calm.values + subject.prepared.spec.peak * noise
    for metric in subject.prepared.metrics():
        one, other = metric.compute(predicted, calm), metric.compute(predicted, wild)
        require(
            _close(one, other),
            f"metric '{metric.name}' does not read values of weight 0",
            f"{other.tolist()} with NaN there, {one.tolist()} with 0",
            "Use observations.known_values and observations.weights.",
        )
    learner = subject.learner()
    one, other = (
        learner.solver.fit(
            subject.problem(learner, as_float64(thinned(each, MOST))), META.inner_steps
        )[-1]
        for each in (calm, wild)
    )
    remedy = "Look for it in forward() and loss()."
    _require_close(other, one, "the same latent whatever a value of weight 0 is", remedy)


def _same_masks(subject: Subject, calm: Observations, wild: Observations) -> None:
    modality = subject.prepared
    pairs = {
        "fitted()": (modality.fitted(calm), modality.fitted(wild)),
        "held_out()": tuple(modality.held_out(subject.signals, each) for each in (calm, wild)),
    }
    for name, (one, other) in pairs.items():
        same = one is other or (one is not None and other is not None and torch.equal(one, other))
        require(same, f"{name} does not read values of weight 0", "other masks", "Read weights.")


def chunks(subject: Subject) -> None:
    """An evaluation of all observations at once equals one of a few at a time, and so does the fit
    of a latent: each query's value is independent of the queries it came with.
    """
    learner, few = subject.learner(), subject.few
    problem = subject.problem(learner, few)
    cut = attrs.evolve(problem, chunk=CHUNK)
    latents = subject.latents(len(few))
    whole, parts = predict_all(problem, latents), predict_all(cut, latents)
    remedy = "Let forward() treat each query by itself where it has no generator."
    _require_close(parts, whole, f"predictions {CHUNK} queries at a time as of all", remedy)
    fits = [learner.solver.fit(each, META.inner_steps)[-1] for each in (problem, cut)]
    _require_close(fits[1], fits[0], "the same latents in chunks", remedy)


def batch(subject: Subject) -> None:
    """A signal's observations and its latent do not depend on the batch that it comes in."""
    together = subject.whole
    for i, signal in enumerate(subject.signals):
        alone = subject.prepared.observations([signal])
        ours, theirs = _used(row(together, i)), _used(alone)
        for name, one in ours.items():
            _require_close(
                one,
                theirs[name],
                f"{name} of a signal in a batch as of it alone",
                "Let observations() treat each signal by itself; what they have in common "
                "belongs in prepare().",
            )
    learner, few = subject.learner(), subject.few
    latents = learner.solver.fit(subject.problem(learner, few), META.inner_steps)[-1]
    for i in range(len(few)):
        problem = subject.problem(learner, row(few, i))
        _require_close(
            latents[i : i + 1],
            learner.solver.fit(problem, META.inner_steps)[-1],
            "the latent of a signal in a batch as of it alone",
            "Let forward() and loss() treat each signal by itself.",
        )


def _used(one: Observations) -> dict[str, Tensor]:
    """What was observed of a single signal."""
    known = one.weights[0] > 0
    queries = one.queries if one.shared else one.queries[0]
    return {
        "queries": queries[known],
        "values": one.values[0, known],
        "weights": one.weights[0, known],
    }


def loss(subject: Subject) -> None:
    """The loss is finite, one number for each observation that depends on nothing else, and least
    where the prediction is the measured value.
    """
    few, modality = subject.few, subject.prepared
    target = few.known_values
    best = require_tensor("loss() gives", modality.loss(target, target))
    wanted = few.weights.shape
    shape = tuple(best.shape)
    require(shape == wanted, f"losses {tuple(wanted)}", shape, "Take the mean over channels only.")
    for share in (0.01, 0.1, 0.5):
        noise = torch.randn(target.shape, generator=seeded(4), dtype=target.dtype)
        off = target + share * modality.spec.peak * noise
        losses = modality.loss(off, target)
        for found in (best, losses):
            finite = bool(torch.isfinite(found).all())
            require(finite, "finite losses", "NaN or infinity", "Look at logarithms and roots.")
        require(
            bool((best <= losses + 1e-9).all()),
            "the least loss where the prediction is right",
            f"a lower one {share:g} of the value range beside it",
            "Compare loss(values, values) with loss(others, values).",
        )
        other = torch.cat([off[:, :1], target[:, 1:]], dim=1)
        _require_close(
            modality.loss(other, target)[:, 1:],
            best[:, 1:],
            "the loss of an observation whatever is predicted elsewhere",
            "Let loss() treat each observation by itself; the core takes the mean.",
        )


def _require_close(found: Tensor, wanted: Tensor, asked: str, remedy: str) -> None:
    if found.shape != wanted.shape:
        shapes = f"shape {tuple(found.shape)}, not {tuple(wanted.shape)}"
        require(False, asked, shapes, remedy)
    far = (found - wanted).abs().max() if found.numel() else torch.tensor(0.0)
    require(_close(found, wanted), asked, f"a difference of up to {float(far):g}", remedy)


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-5, atol=1e-6)
