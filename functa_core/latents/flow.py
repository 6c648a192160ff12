"""A normalising flow on latents: a Gaussian, then neural splines (Durkan et al. 2019).

Latents are standardised and turned to the principal axes of a fitted Gaussian; rational-quadratic
spline couplings, zuko's, then bend what is not Gaussian. The splines begin as the identity, so the
flow begins as the Gaussian baseline, and goes only as far from it as latents held out of the fit
reward. On a few hundred latents a flow without this start stays far behind a Gaussian.

The splines are trained on what the Gaussian makes of latents it has not seen
(`Gaussian.to_base_unseen`): so they learn to mend what it gets wrong, and not to make the most of
how well it fits the latents it was fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from functa_core.latents.descent import LEAST as LEAST
from functa_core.latents.descent import Descent, refitted
from functa_core.latents.gaussian import Gaussian, standard_normal
from functa_core.latents.needs import require
from functa_core.latents.storage import Stored
from functa_core.seeding import derive

KIND = "flow"


@attrs.frozen
class FlowOptions:
    """Size and training of a flow.

    Attributes:
        transforms: spline couplings.
        width: units of each of the two hidden layers of a coupling's network.
        bins: of a spline.
        steps: the most updates.
        batch: latents of an update.
        lr: learning rate.
        weight_decay: of AdamW.
        patience: updates without a better held-out likelihood after which training stops.
        held_out: share of the latents by which the number of updates is chosen; the flow is then
            fitted anew, with that number, to all of them.
    """

    transforms: int = 2
    width: int = 32
    bins: int = 8
    steps: int = 300
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 1e-2
    patience: int = 60
    held_out: float = 0.15


@attrs.frozen(eq=False)
class Flow:
    """An invertible map between raw latents (Z) and standard normal numbers (K ≤ Z).

    K is Z without the dimensions in which all latents are the same.

    Attributes:
        gaussian: the affine first part.
        splines: the rest, zuko's.
        options: that it was fitted with.
        steps: updates that the held-out latents asked for; 0 leaves the Gaussian.
        about: what was said when it was saved.
    """

    gaussian: Gaussian
    splines: nn.Module
    options: FlowOptions
    steps: int
    about: Mapping[str, Any] = attrs.field(factory=dict)

    @classmethod
    def fit(
        cls,
        latents_nZ: Float[Tensor, "n Z"],
        options: FlowOptions,
        seed: int,
        tick: Callable[[int], None] = lambda done: None,
    ) -> Flow:
        """Fit a flow; the same seed gives the same flow.

        Args:
            latents_nZ: raw, at least `descent.LEAST` of them.
            options: of the flow.
            seed: of the split, the first weights and the batches.
            tick: called with the number of updates done, `2 * options.steps` at most.

        Raises:
            UserError: too few latents, some not finite, or zuko is not installed.
        """
        require("zuko")

        def begin(latents: Tensor) -> Flow:
            gaussian = Gaussian.fit(latents, _generator(seed, "folds"))
            return cls(gaussian, _splines(gaussian.dimensions, options, seed), options, 0)

        def train(flow: Flow, rows: Tensor, steps: int, after: Callable[[int], None]) -> None:
            flow._train(rows, seed, steps, after)

        flow, steps = refitted(
            begin, train, cls._loss, latents_nZ, options, _generator(seed, "split"), tick
        )
        return attrs.evolve(flow, steps=steps)

    def _train(
        self, latents: Float[Tensor, "n Z"], seed: int, steps: int, after: Callable[[int], None]
    ) -> None:
        """Train the splines on what the Gaussian makes of latents that it has not seen."""
        options = self.options
        rows = self.gaussian.to_base_unseen(latents, _generator(seed, "unseen"))

        def loss(few: Tensor) -> Tensor:
            return -self._white_log_prob(few).mean() / self.dimensions

        descent = Descent(steps, options.batch, options.lr, options.weight_decay)
        descent.run(
            self.splines.requires_grad_(True), loss, rows, _generator(seed, "batches"), after
        )
        self.splines.requires_grad_(False)

    @property
    def dimensions(self) -> int:
        """Base dimensions K."""
        return self.gaussian.dimensions

    def _white_log_prob(self, white: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
        """Log-density of what the Gaussian makes of latents."""
        u, log_det = self._map().call_and_ladj(white)
        density: Tensor = standard_normal(u) + log_det
        return density

    @torch.no_grad()
    def _loss(self, z: Float[Tensor, "B Z"]) -> float:
        """Negative log-density, the mean over latents."""
        return -float(self.log_prob(z).mean())

    def _map(self) -> Any:
        """The splines as zuko's composed transform, whitened latents → base."""
        return self.splines.transform()  # type: ignore[operator]

    def log_prob(self, z: Float[Tensor, "B Z"]) -> Float[Tensor, " B"]:
        """Log-density of raw latents, in nats, over the K dimensions that vary; differentiable."""
        return self._white_log_prob(self.gaussian.to_base(z)) + self.gaussian.log_det

    def to_base(self, z: Float[Tensor, "B Z"]) -> Float[Tensor, "B K"]:
        """Raw latents as numbers that are standard normal if the flow is right; differentiable."""
        u: Tensor = self._map()(self.gaussian.to_base(z))
        return u

    def from_base(self, u: Float[Tensor, "B K"]) -> Float[Tensor, "B Z"]:
        """Undo `to_base`; differentiable."""
        return self.gaussian.from_base(self._map().inv(u))

    @torch.no_grad()
    def sample(self, n: int, generator: Generator) -> Float[Tensor, "n Z"]:
        """Draw raw latents."""
        return self.from_base(torch.randn(n, self.dimensions, generator=generator))

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write it as safetensors.

        Args:
            path: of the file; parent folders are made.
            about: what the latents belong to, as JSON.
        """
        parts = {"gaussian": self.gaussian.tensors(), "splines": self.splines.state_dict()}
        options = attrs.asdict(self.options) | {"fitted_steps": self.steps}
        Stored.of(options, about, parts).save(path, KIND)

    @classmethod
    def load(cls, path: Path) -> Flow:
        """Read what `save` wrote; gives the same numbers.

        Raises:
            UserError: no such file, not a flow, or zuko is not installed.
        """
        require("zuko")
        stored = Stored.load(path, KIND)
        options = dict(stored.options)
        steps = int(options.pop("fitted_steps"))
        chosen = FlowOptions(**options)
        gaussian = Gaussian.from_tensors(stored.part("gaussian"))
        splines = _splines(gaussian.dimensions, chosen, seed=0)
        splines.load_state_dict(stored.part("splines"))
        return cls(gaussian, splines, chosen, steps, stored.about)


def _splines(dimensions: int, options: FlowOptions, seed: int) -> nn.Module:
    """zuko's neural spline flow in couplings, the last layer of each network zero."""
    from zuko.flows import NSF

    # zuko draws weights and permutations from the global generator, which is put back afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, KIND, "weights"))
        splines: nn.Module = NSF(
            dimensions,
            transforms=options.transforms,
            bins=options.bins,
            hidden_features=(options.width, options.width),
            passes=2,  # couplings: as fast to sample as to score
            randperm=True,
        )
    for transform in splines.transform.transforms:  # type: ignore[union-attr]
        last = transform if dimensions == 1 else transform.hyper[-1]
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
    return splines.requires_grad_(False)


def _generator(seed: int, purpose: str) -> Generator:
    return Generator().manual_seed(derive(seed, KIND, purpose))
