"""Generation: signals that nobody measured, drawn from models of the training latents.

A normalising flow and a diffusion model are fitted to the training functaset. What they draw is
decoded, and compared with held-out signals as those are decoded from their own latents; beside it
stand a Gaussian fitted to the same latents, and as many training signals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from functa_core.console import ticking
from functa_core.drawing import drawn
from functa_core.errors import UnfitLatents
from functa_core.latents.descent import LEAST
from functa_core.latents.diffusion import Diffusion, DiffusionOptions
from functa_core.latents.flow import Flow, FlowOptions
from functa_core.latents.gaussian import Gaussian
from functa_core.latents.needs import missing
from functa_core.modality import Artefact, seeded
from functa_core.options import option
from functa_core.seeding import derive
from functa_core.tasks.base import Material, NotApplicable, Outcome, Task
from functa_core.tasks.judging import Judge
from functa_core.tasks.priors import belongs_to

FLOW, DIFFUSION = FlowOptions(), DiffusionOptions()
LIBRARIES = {"flow": "zuko", "diffusion": "diffusers"}


@attrs.frozen
class GenerateConfig:
    """Which models, how large, and what is drawn and scored."""

    model: str = option(
        "both", "of the latents: flow, diffusion or both", choices=("flow", "diffusion", "both")
    )
    samples: int = option(8, "signals that each model draws for people to look at", low=1)
    resolution: int | None = option(
        None, "of the drawn signals, in the modality's own unit; null: the native one", low=1
    )
    flow_transforms: int = option(FLOW.transforms, "spline couplings of the flow", low=1)
    flow_width: int = option(FLOW.width, "units of their hidden layers", low=1)
    flow_steps: int = option(
        FLOW.steps, "the most updates of the flow; held-out latents end them sooner", low=1
    )
    diffusion_width: int = option(DIFFUSION.width, "units of the residual MLP", low=1)
    diffusion_depth: int = option(DIFFUSION.depth, "its residual blocks", low=1)
    diffusion_steps: int = option(DIFFUSION.steps, "the most updates of the diffusion model", low=1)
    sampler: str = option("ddpm", "of the diffusion model: ddpm or ddim", choices=("ddpm", "ddim"))
    sampler_steps: int | None = option(
        None, "noise levels that a sample passes through; null: all 1000", low=1, high=1000
    )
    scored: int = option(500, "the most held-out signals, and samples, that are compared", low=2)
    feature_resolution: int | None = option(
        16,
        "at which signals are decoded to be compared; low, because a score needs hundreds. "
        "null: the native one",
        low=1,
    )

    @property
    def models(self) -> tuple[str, ...]:
        """The models that are asked for."""
        return ("flow", "diffusion") if self.model == "both" else (self.model,)


Draw = Callable[[int, Generator], Float[Tensor, "n Z"]]


class Generate(Task):
    """Draw new signals from models of the training latents."""

    name = "generate"
    summary = "Draw new signals from a flow and a diffusion model of the latents."
    api_version = 1
    Config = GenerateConfig
    config: GenerateConfig

    def check(self, material: Material) -> None:
        """Raise `NotApplicable` without the libraries, or with too few signals."""
        reason = missing(LIBRARIES[model] for model in self.config.models)
        if reason is not None:
            raise NotApplicable(reason)
        train, test = len(material.train), len(material.test)
        if train < LEAST or test < 2:
            raise NotApplicable(
                f"a model of latents needs at least {LEAST} training signals and 2 test signals, "
                f"found {train} and {test}."
            )

    def run(self, material: Material, out: Path) -> Outcome:
        """Fit, save, draw, decode, score."""
        train, test = material.functaset("train"), material.functaset("test")
        latents, held_out = train.latents.flatten(1).float(), test.latents.flatten(1).float()
        gaussian = Gaussian.fit(latents, seeded(derive(material.seed, "gaussian")))
        draws: dict[str, Draw] = {}
        figures: dict[str, Any] = {
            "n_train": len(train),
            "n_test": len(test),
            "dimensions": gaussian.dimensions,
            "constant_dimensions": latents.shape[1] - gaussian.dimensions,
        }
        for name in self.config.models:
            model = self._fit(name, latents, material.seed)
            model.save(out / f"{name}.safetensors", belongs_to(train))
            figures[name] = {"steps": model.steps}
            draws[name] = model.sample if isinstance(model, Flow) else self._ancestral(model)
            if isinstance(model, Flow):
                figures["nll_nats_per_dim"] = _nll(model, held_out)
        figures["baseline"] = {"gaussian": {"nll_nats_per_dim": _nll(gaussian, held_out)}}
        sets = self._draw_sets(material, draws | {"gaussian": gaussian.sample})
        self._judge(material, sets, figures)
        return Outcome(figures, self._show(material, sets, out))

    def _fit(self, name: str, latents: Float[Tensor, "n Z"], seed: int) -> Flow | Diffusion:
        """One model, with its progress."""
        chosen, own = self.config, derive(seed, name)
        longest = 2 * (chosen.flow_steps if name == "flow" else chosen.diffusion_steps)
        with ticking(f"generate: fit {name}", longest) as tick:
            if name == "flow":
                flow_options = attrs.evolve(
                    FLOW,
                    transforms=chosen.flow_transforms,
                    width=chosen.flow_width,
                    steps=chosen.flow_steps,
                )
                model: Flow | Diffusion = Flow.fit(latents, flow_options, own, tick)
            else:
                options = attrs.evolve(
                    DIFFUSION,
                    width=chosen.diffusion_width,
                    depth=chosen.diffusion_depth,
                    steps=chosen.diffusion_steps,
                )
                model = Diffusion.fit(latents, options, own, tick)
            tick(longest)  # where held-out latents have ended it sooner
        return model

    def _ancestral(self, model: Diffusion) -> Draw:
        """The diffusion model with the sampler that is asked for."""
        steps = self.config.sampler_steps
        if self.config.sampler == "ddim":
            return lambda n, generator: model.sample(n, generator, "ddim", steps)
        return lambda n, generator: model.sample(n, generator, "ddpm", steps)

    def _draw_sets(
        self, material: Material, draws: Mapping[str, Draw]
    ) -> dict[str, Float[Tensor, "n *latent"]]:
        """As many latents of each kind as are shown or scored, in their own shape."""
        train, test = material.functaset("train").latents, material.functaset("test").latents
        scored = min(self.config.scored, len(test))
        count = max(self.config.samples, scored)
        sets = {"held out": _spread(test, scored), "train": _spread(train, scored)}
        for name, draw in draws.items():
            flat = draw(count, seeded(derive(material.seed, name, "samples")))
            if not bool(torch.isfinite(flat).all()):
                raise UnfitLatents(
                    f"the {name} model draws latents that hold NaN or infinity. Fit it for fewer "
                    "updates, or choose another by --set tasks.generate.model=…"
                )
            sets[name] = flat.reshape(count, *train.shape[1:])
        return sets

    def _judge(
        self, material: Material, sets: Mapping[str, Tensor], figures: dict[str, Any]
    ) -> None:
        """Put each set's scores where they belong."""
        judge = Judge.of(material.encoder, sets["held out"], self.config.feature_resolution)
        figures["feature_space"] = judge.space_figures
        with ticking("generate: score", len(sets) - 1) as tick:
            others = [name for name in sets if name != "held out"]
            for done, name in enumerate(others, start=1):
                scores = judge.score(sets[name][: len(sets["held out"])])
                if name in self.config.models:
                    figures[name] |= scores
                elif name == "gaussian":
                    figures["baseline"]["gaussian"] |= scores
                else:
                    figures["train_signals"] = scores
                tick(done)

    def _show(self, material: Material, sets: Mapping[str, Tensor], out: Path) -> list[Artefact]:
        """Write the samples: latents as a functaset, each decoded, and a picture of all of them."""
        shown = {name: sets[name][: self.config.samples] for name in self.config.models}
        ids = [f"{name}-{i}" for name, latents in shown.items() for i in range(len(latents))]
        drawn_latents = torch.cat(list(shown.values()))
        attrs.evolve(
            material.functaset("train"),
            latents=drawn_latents,
            psnr_db=torch.full((len(ids),), torch.nan),
            labels=None,
            ids=ids,
            split="samples",
        ).save(out / "samples.safetensors")
        folder = out / "samples"
        folder.mkdir(exist_ok=True)
        encoder, modality = material.encoder, material.modality
        count = min(self.config.samples, len(sets["held out"]))
        real = {"held out": _spread(sets["held out"], count)}
        beside = {name: sets[name][:count] for name in (*self.config.models, "gaussian")}
        with torch.no_grad():
            field = encoder.field(drawn_latents)
            files = modality.render(field, folder, ids, self.config.resolution)
            columns = {name: encoder.field(few) for name, few in (real | beside).items()}
            return drawn(modality, "gallery", columns, out=out) or files


def _nll(model: Flow | Gaussian, latents: Float[Tensor, "n Z"]) -> float:
    """Mean negative log-density of raw latents, in nats for each dimension that varies."""
    with torch.no_grad():
        return -float(model.log_prob(latents).mean()) / model.dimensions


def _spread(latents: Float[Tensor, "n *latent"], count: int) -> Float[Tensor, "m *latent"]:
    """At most `count` of them, evenly spread."""
    few = min(count, len(latents))
    return latents[[i * len(latents) // few for i in range(few)]]
