"""Checks of options, signals, prepared state and observations."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from typing import Any

import attrs
import torch
import yaml
from jaxtyping import Float
from torch import Generator, Tensor

from functa_core.dataset import DataSource, Split
from functa_core.modality import Box, Field, UnitSphere, seeded
from functa_core.networks.base import NetworkField
from functa_core.runs.answers import check_labels, check_observations
from functa_core.runs.config import build_config, to_yaml
from functa_core.testing.check import Inapplicable, located, require, require_tensor
from functa_core.testing.conditions import (
    environment,
    global_generators,
    no_network,
    scattered_generators,
)
from functa_core.testing.options import require_options
from functa_core.testing.subject import MOST, Subject, thinned

SPLITS: tuple[Split, Split] = ("train", "test")
TOLERANCE = 1e-3
"""Share of a range by which float32 may leave it."""


def config(subject: Subject) -> None:
    """The options are a frozen attrs class, each explained, and come back from their own YAML as
    they were.
    """
    made = subject.config
    require_options(made.modality)
    layer = ("its own YAML", yaml.safe_load(to_yaml(made)))
    again = build_config(subject.cls, [layer], subject.tasks)
    require(
        again == made,
        "config.yaml gives the options that wrote it",
        f"{again.modality} after {made.modality}",
        "Let options be numbers, texts, booleans, None or tuples of them, without converters.",
    )


def data(subject: Subject) -> None:
    """Both splits have signals, the first and the last of which load, each with an id of its own,
    and labels that count the label names.
    """
    for split, signals in zip(SPLITS, subject.splits, strict=True):
        ids = list(signals.ids)
        require(
            len(set(ids)) == len(ids) and all(isinstance(name, str) for name in ids),
            f"ids of the {split} split are different texts",
            _repeated(ids),
            "Use an index or a path.",
        )
        check_labels(subject.make(), signals)
        for place in (0, -1):
            signals[place]
        require(
            list(subject.make(subject.state).dataset(split).ids) == ids,
            "a prepared modality lists the signals that it was prepared with",
            "other ids",
            "Let dataset() depend on the source and the options alone.",
        )


def _repeated(ids: Sequence[Any]) -> str:
    seen = [name for name in ids if ids.count(name) > 1 or not isinstance(name, str)]
    return f"{seen[0]!r} and others" if seen else "none"


def offline(subject: Subject) -> None:
    """The embedded data is there without a network and with an empty cache."""
    cls, options = subject.cls, subject.config.modality
    with (
        tempfile.TemporaryDirectory() as cache,
        environment(XDG_CACHE_HOME=cache),
        no_network() as attempts,
    ):
        modality = cls(options, DataSource())
        try:
            for split in SPLITS:
                modality.dataset(split)[0]
        except Exception as error:
            found = attempts[0] if attempts else located(error)
            require(False, "there is data when no --data is given", found, "Embed a small set.")
    require(
        not attempts,
        "embedded data needs no network",
        ", ".join(attempts),
        "Make it from nothing, or ship it with the plugin.",
    )


def state(subject: Subject) -> None:
    """The prepared state is the same at every call and comes back from JSON as it was, and a
    modality made with what came back has the same spec.
    """
    prepared = subject.state
    back = json.loads(json.dumps(dict(prepared)))
    require(
        back == _with_lists(prepared),
        "the prepared state comes back from JSON as it was",
        f"{back} after {prepared}",
        "Use texts as keys, and plain numbers.",
    )
    again = subject.make().prepare(subject.splits[0])
    require(
        _with_lists(again) == _with_lists(prepared),
        "prepare() says the same of the same signals",
        f"{again} after {prepared}",
        "Draw nothing at random there.",
    )
    before, after = subject.prepared.spec, subject.make(back).spec
    require(before == after, f"the spec {before}", f"{after} from JSON", "Convert what was read.")


def _with_lists(value: Any) -> Any:
    """Tuples as lists, which JSON makes of them."""
    if isinstance(value, dict):
        return {key: _with_lists(one) for key, one in value.items()}
    return [_with_lists(one) for one in value] if isinstance(value, list | tuple) else value


def spec(subject: Subject) -> None:
    """Observations and predictions have the shapes and dtypes of the contract and values inside
    the spec's range, and masks leave something to fit and something to score.
    """
    about, whole = subject.prepared.spec, subject.whole
    low, high = about.value_range
    sample = subject.prepared.observations(subject.signals, seeded(0))
    check_observations(subject.prepared, sample, len(subject.signals))
    for observed in (whole, sample):
        require(
            bool((observed.weights > 0).any(dim=1).all()),
            "something observed of every training signal",
            "weights that are all 0",
            "Leave such signals out of dataset().",
        )
        known = observed.values[observed.weights > 0]
        slack = TOLERANCE * about.peak
        require(
            bool(((known >= low - slack) & (known <= high + slack)).all()),
            f"values of training signals from {low:g} to {high:g} (spec.value_range)",
            f"{float(known.min()):g} to {float(known.max()):g}",
            "Scale them in observations(), or widen the range.",
        )
    few = thinned(whole, MOST)
    learner = subject.learner(torch.float32)
    field = NetworkField(learner.network, subject.latents(len(few), torch.float32))
    predicted = require_tensor("forward() gives", subject.prepared.forward(field, few.queries))
    _check_like("forward() gives", predicted, few.values)
    _check_masks(subject)
    rows = len(require_tensor("decode() gives", subject.prepared.decode(field, 8)))
    require(rows == len(field), f"decode() of {len(field)} latents", f"{rows} rows", "Keep B.")


def _check_like(what: str, found: Tensor, wanted: Tensor) -> None:
    require(
        found.shape == wanted.shape and found.dtype == wanted.dtype,
        f"{what} {tuple(wanted.shape)} {wanted.dtype}, as the values are",
        f"{tuple(found.shape)} {found.dtype}",
        "Mend its last steps.",
    )


def _check_masks(subject: Subject) -> None:
    """Where something is held out, something is left."""
    modality, signals = subject.prepared, list(subject.splits[1][:2])
    observations = modality.observations(signals)
    used = modality.fitted(observations)
    hidden = modality.held_out(signals, observations)
    known = observations.weights > 0
    for name, mask in (("fitted", used), ("held_out", hidden)):
        if mask is None:
            continue
        require_tensor(f"{name}() gives", mask)
        require(
            mask.shape == known.shape and mask.dtype == torch.bool,
            f"{name}() gives a mask {tuple(known.shape)} of booleans",
            f"{tuple(mask.shape)} {mask.dtype}",
            "Or return None for all.",
        )
        some = bool((mask & known).any(dim=1).all())
        require(some, f"{name}() names some of every signal", "none", "Or return None for all.")
    if hidden is not None:
        left = known & ~hidden
        require(left.any(dim=1).all(), "something left to fit", "all held out", "Hide less.")


@attrs.frozen(eq=False)
class _Watched:
    """A field that notes where it was asked."""

    field: Field
    asked: list[Tensor] = attrs.Factory(list)

    def __len__(self) -> int:
        return len(self.field)

    def __getitem__(self, chosen: slice) -> _Watched:
        return _Watched(self.field[chosen], self.asked)

    def __call__(self, coords: Float[Tensor, "*B N D"]) -> Float[Tensor, "B N C"]:
        self.asked.append(coords.detach())
        return self.field(coords)


def domain(subject: Subject) -> None:
    """The field is asked at finite coordinates inside the spec's domain, padding included, by
    training with its noise as by evaluation.
    """
    modality, about = subject.prepared, subject.prepared.spec.domain
    learner = subject.learner(torch.float32)
    network = NetworkField(learner.network, subject.latents(len(subject.signals), torch.float32))
    field = _Watched(network)
    with torch.no_grad():
        modality.forward(field, thinned(subject.whole, 16 * MOST).queries)
        sample = modality.observations(subject.signals, seeded(0))
        modality.forward(field, sample.queries, seeded(1))
    for coords in field.asked:
        require(
            coords.shape[-1] == about.dim and bool(torch.isfinite(coords).all()),
            f"finite coordinates of dimension {about.dim}",
            f"{tuple(coords.shape)}, {int((~torch.isfinite(coords)).sum())} not finite",
            "Give padding finite queries too; its weight is 0 all the same.",
        )
        _check_inside(coords.double().reshape(-1, about.dim), about)


def _check_inside(coords: Tensor, about: Box | UnitSphere) -> None:
    if isinstance(about, UnitSphere):
        norms = coords.norm(dim=1)
        far = float((norms - 1).abs().max())
        require(far <= TOLERANCE, "unit vectors", f"one {far:g} off", "Normalise them.")
        return
    low, high = torch.tensor(about.low).double(), torch.tensor(about.high).double()
    slack = TOLERANCE * (high - low)
    require(
        bool(((coords >= low - slack) & (coords <= high + slack)).all()),
        f"coordinates between {about.low} and {about.high} (spec.domain)",
        f"{coords.amin(dim=0).tolist()} to {coords.amax(dim=0).tolist()}",
        "Scale them, or widen the domain: outside it a network extrapolates.",
    )


def sampling(subject: Subject) -> None:
    """The same generator gives the same observations and predictions; without one they are the
    same at every call, and of a signal that is loaded again.
    """
    modality, signals = subject.prepared, subject.signals
    again = modality.observations(list(subject.make().dataset("train")[: len(signals)]))
    require(
        again.values.shape == subject.whole.values.shape
        and _identical(again.values, subject.whole.values),
        "the same values of signals that are loaded again",
        "others",
        "Draw nothing at random in dataset(), or from a generator made with a seed.",
    )
    field = NetworkField(
        subject.learner(torch.float32).network, subject.latents(len(signals), torch.float32)
    )
    for which in ("generator", "evaluation"):

        def draw(purpose: int, which: str = which) -> Generator | None:
            return seeded(purpose) if which == "generator" else None

        one, two = (modality.observations(signals, draw(0)) for _ in range(2))
        for name in ("queries", "values", "weights", "groups"):
            first, second = getattr(one, name), getattr(two, name)
            same = first is second or (
                first is not None and second is not None and _identical(first, second)
            )
            asked = f"the same {name} twice ({which})"
            require(same, asked, "others", "Draw from the generator that is given, or not at all.")
        queries = thinned(one, MOST).queries
        first, second = (modality.forward(field, queries, draw(1)) for _ in range(2))
        require(
            _identical(first, second),
            f"forward() gives the same twice ({which})",
            "other values",
            "Draw from the generator that is given, or not at all.",
        )


def _identical(one: Tensor, other: Tensor) -> bool:
    """Bit for bit, NaN being like NaN."""
    return one.shape == other.shape and bool(
        torch.equal(torch.nan_to_num(one.detach()), torch.nan_to_num(other.detach()))
        and torch.equal(one.isnan(), other.isnan())
    )


def random_state(subject: Subject) -> None:
    """Nothing draws from Python's, NumPy's or PyTorch's global random generator."""
    learner = subject.learner(torch.float32)
    field = NetworkField(learner.network, subject.latents(len(subject.signals), torch.float32))
    prepared = subject.prepared
    with scattered_generators():
        before = global_generators()
        signals = list(subject.make().dataset("train")[: len(field)])
        prepared.observations(signals)
        sample = prepared.observations(signals, seeded(0))
        prepared.forward(field, thinned(sample, MOST).queries, seeded(1))
        prepared.decode(field, 8)
        after = global_generators()
    touched = [name for name, known in before.items() if after[name] != known]
    require(
        not touched,
        "global random generators stay as they are",
        f"{', '.join(touched)} moved on",
        "Draw from the generator that is given, or from one made with a seed.",
    )


def masks(subject: Subject) -> None:
    """Each mask of `masks()` has a name of its own that can name a folder, says what is seen, gives
    booleans (B, N) that leave something seen and something hidden, and is the same for the same
    generator.
    """
    modality, signals, whole = subject.prepared, subject.signals, subject.whole
    named = list(modality.masks())
    if not named:
        raise Inapplicable("the modality names no masks")
    names = [mask.name for mask in named]
    fine = len(set(names)) == len(names) and all(re.fullmatch(r"[a-z0-9_-]+", n) for n in names)
    require(fine, "names of small letters, digits, - and _, each once", names, "Rename them.")
    for mask in named:
        require(
            mask.summary.strip(), f"a summary of mask '{mask.name}'", "none", "Say what is seen."
        )
        first, second = (
            require_tensor(f"mask '{mask.name}' is", mask.visible(signals, whole, seeded(5)))
            for _ in range(2)
        )
        asked = f"mask '{mask.name}' as booleans {tuple(whole.weights.shape)}"
        found = f"{tuple(first.shape)} {first.dtype}"
        fits = first.shape == whole.weights.shape and first.dtype == torch.bool
        require(fits, asked, found, "Give one for each observation.")
        known = whole.weights > 0
        for what, part in (("seen", known & first), ("hidden", known & ~first)):
            some = bool(part.any(dim=1).all())
            require(some, f"something {what} by '{mask.name}'", "nothing", "Mend visible().")
        require(
            torch.equal(first, second),
            f"the same mask '{mask.name}' from the same generator",
            "another",
            "Draw from the generator that is given.",
        )
