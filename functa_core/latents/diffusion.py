"""A diffusion model on latents: a residual MLP that predicts noise (Ho et al. 2020, DDPM).

As in "From data to functa" (section 4 and appendix) the network is a residual MLP on standardised
latents, of a size set by options; the noise schedule and both samplers are those of diffusers.

What is not the paper's: the prediction is the network's plus that of the fitted Gaussian, which is
known in closed form. With noise schedule ᾱ and variance v along a principal axis it is
E[ε | x] = √(1 − ᾱ) x / (ᾱ v + 1 − ᾱ). So the network learns only what is not Gaussian, and the
samples of a few hundred latents and a few seconds of training are not noise.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from functa_core.latents.descent import Descent, refitted
from functa_core.latents.gaussian import Gaussian
from functa_core.latents.needs import require
from functa_core.latents.storage import Stored
from functa_core.seeding import derive

KIND = "diffusion"
PROBES = 16
"""Noise levels at which each held-out latent is looked at."""

Sampler = Literal["ddpm", "ddim"]


@attrs.frozen
class DiffusionOptions:
    """Size and training of a diffusion model.

    Attributes:
        width: units of the residual MLP.
        depth: its residual blocks.
        noise_steps: T of the noise schedule: β linear from 0.1/T to 20/T, DDPM's at its T of 1000.
        steps: the most updates.
        batch: latents of an update, each at a noise level of its own.
        lr: learning rate.
        weight_decay: of AdamW.
        ema: decay of the moving average of the weights, which is what samples; less at first.
        patience: updates without a better held-out loss after which training stops.
        held_out: share of the latents by which the number of updates is chosen; the model is then
            fitted anew, with that number, to all of them.
    """

    width: int = 128
    depth: int = 2
    noise_steps: int = 1000
    steps: int = 600
    batch: int = 256
    lr: float = 3e-3
    weight_decay: float = 1e-2
    ema: float = 0.995
    patience: int = 300
    held_out: float = 0.15


class ResidualMLP(nn.Module):
    """Noise in latents (B, K) at noise steps (B): blocks of LayerNorm, SiLU and two linear layers.

    The last layer begins at zero.
    """

    def __init__(self, dimensions: int, width: int, depth: int, noise_steps: int) -> None:
        super().__init__()
        self.noise_steps = noise_steps
        self.enter = nn.Linear(dimensions, width)
        self.time = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU())
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dimensions))
        for parameter in self.leave[1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "B K"], steps: Int[Tensor, " B"]) -> Float[Tensor, "B K"]:
        """The predicted noise."""
        time = self.time(_waves(steps / self.noise_steps))
        hidden = self.enter(x)
        for block in self.blocks:
            hidden = block(hidden, time)
        noise: Tensor = self.leave(hidden)
        return noise


class _Block(nn.Module):
    """h + W₂ SiLU(W₁ LayerNorm(h) + W₃ time)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.time = nn.Linear(width, width, bias=False)

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        inner = nn.functional.silu(self.first(self.norm(hidden)) + self.time(time))
        out: Tensor = hidden + self.second(inner)
        return out


FREQUENCIES = 16


def _waves(share: Float[Tensor, " B"]) -> Float[Tensor, "B F"]:
    """Sines and cosines of the share of the noise steps, from half a wave to 250."""
    frequencies = torch.logspace(0, math.log10(500), FREQUENCIES) * math.pi
    angles = share[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


@attrs.frozen(eq=False)
class Diffusion:
    """A generative model of raw latents (Z).

    Attributes:
        gaussian: whose principal axes the network sees, and whose prediction it corrects.
        network: the moving average of its weights.
        options: that it was fitted with.
        steps: updates that the held-out latents asked for; 0 leaves the Gaussian.
        about: what was said when it was saved.
    """

    gaussian: Gaussian
    network: ResidualMLP
    options: DiffusionOptions
    steps: int
    about: Mapping[str, Any] = attrs.field(factory=dict)

    @classmethod
    def fit(
        cls,
        latents_nZ: Float[Tensor, "n Z"],
        options: DiffusionOptions,
        seed: int,
        tick: Callable[[int], None] = lambda done: None,
    ) -> Diffusion:
        """Fit a model; the same seed gives the same one.

        Args:
            latents_nZ: raw, at least `descent.LEAST` of them.
            options: of the model.
            seed: of the split, the first weights, the batches and the noise.
            tick: called with the number of updates done, `2 * options.steps` at most.

        Raises:
            UserError: too few latents, some not finite, or diffusers is not installed.
        """
        require("diffusers")

        def begin(latents: Tensor) -> Diffusion:
            gaussian = Gaussian.fit(latents, _generator(seed, "folds"))
            network = _network(gaussian.dimensions, options, seed)
            return cls(gaussian, network, options, 0)

        def train(model: Diffusion, rows: Tensor, steps: int, after: Callable[[int], None]) -> None:
            model._train(rows, seed, steps, after)

        model, steps = refitted(
            begin,
            train,
            lambda model, rows: model._held_out(rows, seed),
            latents_nZ,
            options,
            _generator(seed, "split"),
            tick,
        )
        return attrs.evolve(model, steps=steps)

    def _train(
        self, latents: Float[Tensor, "n Z"], seed: int, steps: int, after: Callable[[int], None]
    ) -> None:
        """Train a copy of the network, and keep the moving average of it in `self.network`."""
        options, kept_noise = self.options, self._kept()
        noise_source = _generator(seed, "noise")
        fast = copy.deepcopy(self.network).requires_grad_(True)
        white = self.gaussian.to_base_unseen(latents, _generator(seed, "unseen"))

        def loss(few: Tensor) -> Tensor:
            at = torch.randint(options.noise_steps, (len(few),), generator=noise_source)
            noise = torch.randn(few.shape, generator=noise_source)
            return self._error(fast, few, noise, at, kept_noise)

        def averaged(step: int) -> None:
            decay = min(options.ema, (1 + step) / (10 + step))
            for slow, new in zip(self.network.parameters(), fast.parameters(), strict=True):
                slow.data.lerp_(new.data, 1 - decay)
            after(step)

        descent = Descent(steps, options.batch, options.lr, options.weight_decay)
        descent.run(fast, loss, white * self.gaussian.spread, _generator(seed, "batches"), averaged)

    @torch.no_grad()
    def _held_out(self, latents: Float[Tensor, "m Z"], seed: int) -> float:
        """Mean squared error of the predicted noise, with the same noise at every call."""
        generator = _generator(seed, "probes")
        rows = self._along(latents).repeat(PROBES, 1)
        at = torch.linspace(0, self.options.noise_steps - 1, len(rows)).long()
        at = at[torch.randperm(len(at), generator=generator)]
        noise = torch.randn(rows.shape, generator=generator)
        return float(self._error(self.network, rows, noise, at, self._kept()))

    def _error(
        self, network: ResidualMLP, rows: Tensor, noise: Tensor, at: Tensor, kept: Tensor
    ) -> Float[Tensor, ""]:
        """The simple loss of DDPM (eq. 14)."""
        share = kept[at][:, None]
        noisy = share.sqrt() * rows + (1 - share).sqrt() * noise
        error: Tensor = self._noise(network, noisy, at, share) - noise
        return error.square().mean()

    def _noise(self, network: ResidualMLP, x: Tensor, at: Tensor, kept: Tensor) -> Tensor:
        """Predicted noise: the Gaussian's, corrected by the network.

        The network's input, and what it has to predict, have variance 1 on every axis at every
        noise level if latents are Gaussian.
        """
        signal = kept * self.gaussian.spread.square()
        variance = signal + 1 - kept
        closed = (1 - kept).sqrt() * x / variance
        correction: Tensor = network(x / variance.sqrt(), at)
        return closed + (signal / variance).sqrt() * correction

    def _kept(self) -> Float[Tensor, " T"]:
        """ᾱ: the share of a latent's variance that is left after each noise step."""
        kept: Tensor = _scheduler(self.options.noise_steps).alphas_cumprod
        return kept

    def _along(self, z: Float[Tensor, "B Z"]) -> Float[Tensor, "B K"]:
        """Standardised latents along the principal axes, where noise is added."""
        return self.gaussian.to_base(z) * self.gaussian.spread

    @torch.no_grad()
    def sample(
        self, n: int, generator: Generator, sampler: Sampler = "ddim", steps: int | None = None
    ) -> Float[Tensor, "n Z"]:
        """Draw raw latents.

        Args:
            n: how many.
            generator: of the first noise, and of DDPM's further noise.
            sampler: "ddpm" (ancestral sampling) or "ddim" (Song et al. 2021, η = 0).
            steps: of the sampler; None for all T.
        """
        scheduler = _scheduler(self.options.noise_steps)
        scheduler.set_timesteps(self.options.noise_steps if steps is None else steps)
        kept = self._kept()
        after = torch.cat([kept[scheduler.timesteps[1:]], torch.ones(1)])
        x = torch.randn(n, self.gaussian.dimensions, generator=generator)
        for at, next_kept in zip(scheduler.timesteps, after, strict=True):
            noise = self._noise(self.network, x, at.expand(n), kept[at])
            if sampler == "ddim":
                x = _ddim_step(x, noise, kept[at], next_kept)
            else:
                x = scheduler.step(noise, at, x, generator=generator).prev_sample
        drawn: Tensor = self.gaussian.from_base(x / self.gaussian.spread)
        return drawn

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write it as safetensors.

        Args:
            path: of the file; parent folders are made.
            about: what the latents belong to, as JSON.
        """
        parts = {"gaussian": self.gaussian.tensors(), "network": self.network.state_dict()}
        options = attrs.asdict(self.options) | {"fitted_steps": self.steps}
        Stored.of(options, about, parts).save(path, KIND)

    @classmethod
    def load(cls, path: Path) -> Diffusion:
        """Read what `save` wrote; gives the same numbers.

        Raises:
            UserError: no such file, not a diffusion model, or diffusers is not installed.
        """
        require("diffusers")
        stored = Stored.load(path, KIND)
        options = dict(stored.options)
        steps = int(options.pop("fitted_steps"))
        chosen = DiffusionOptions(**options)
        gaussian = Gaussian.from_tensors(stored.part("gaussian"))
        network = _network(gaussian.dimensions, chosen, seed=0)
        network.load_state_dict(stored.part("network"))
        return cls(gaussian, network, chosen, steps, stored.about)


def _network(dimensions: int, options: DiffusionOptions, seed: int) -> ResidualMLP:
    # torch's layers draw from the global generator, which is put back afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, KIND, "weights"))
        network = ResidualMLP(dimensions, options.width, options.depth, options.noise_steps)
    return network.requires_grad_(False)


def _ddim_step(x: Tensor, noise: Tensor, kept: Tensor, next_kept: Tensor) -> Tensor:
    """Song et al. 2021, eq. 12 with σ = 0, to the noise level that comes next.

    diffusers' goes to `at - 1000 // steps`, which is another level where `steps` divides no 1000.
    """
    clean = (x - (1 - kept).sqrt() * noise) / kept.sqrt()
    return next_kept.sqrt() * clean + (1 - next_kept).sqrt() * noise


def _scheduler(noise_steps: int) -> Any:
    """diffusers' ancestral sampler: from noise alone to the latents, nothing clipped on the way."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    return DDPMScheduler(
        noise_steps,
        beta_start=0.1 / noise_steps,
        beta_end=min(20.0 / noise_steps, 0.999),
        clip_sample=False,
        timestep_spacing="trailing",
    )


def _generator(seed: int, purpose: str) -> Generator:
    return Generator().manual_seed(derive(seed, KIND, purpose))
