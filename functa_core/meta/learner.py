"""What is learned: the network's weights and the inner solver's."""

from __future__ import annotations

from typing import Any

import attrs
from torch import Generator, nn

from functa_core.meta.gauss_newton import GaussNewton
from functa_core.meta.inner import InnerSolver, MetaSGD
from functa_core.meta.precision import PRECISIONS
from functa_core.meta.recording import Recording
from functa_core.modality import Spec, seeded
from functa_core.networks.base import Network
from functa_core.networks.siren import LatentModulatedSiren, SirenConfig
from functa_core.options import option


@attrs.frozen
class MetaConfig:
    """The two loops."""

    steps: int = option(2000, "outer updates; training ends after this many", low=1)
    solver: str = option(
        "meta-sgd",
        "of the inner loop. meta-sgd: gradient steps with learned rates, the paper's; "
        "gauss-newton: for signals that share their queries and are measured point by point; "
        "trains through its first step alone, several times faster and to better fits",
        choices=("meta-sgd", "gauss-newton"),
    )
    inner_steps: int = option(3, "steps of a fit, in training and after it", low=1)
    batch_size: int = option(16, "signals of an update", low=1)
    lr: float = option(
        3e-4,
        "rate of Adam; 3e-6 at width 512, depth 15; 5e-5 at width 256, depth 8; 1e-4 to 5e-4 for "
        "small networks",
        above=0,
    )
    lr_final: float = option(
        1.0,
        "share of lr that is left at the last update, reached along half a cosine; 1: constant, "
        "as in the paper",
        low=0,
        high=1,
    )
    # The gradients of the beginning are up to a thousand times those of the end, and Adam's second
    # moment would hold its steps down long after them. Mostly every update is cut.
    clip: float | None = option(
        0.01,
        "norm that the outer gradient is cut to; so small, most updates are alike to Adam, and "
        "spikes harmless; null for never",
        above=0,
    )
    l2_weight: float = option(0.0, "weight of a latent's squared norm in both losses", low=0)
    latent_noise: float = option(
        0.0, "standard deviation of noise on fitted latents in the outer loss", low=0
    )
    rates_init: tuple[float, float] = option(
        (0.005, 0.1), "range that the learned inner rates are drawn from", low=0
    )
    rates_clip: tuple[float, float] = option(
        (0.0, 1.0), "range that the learned inner rates are held in; imported ones may be negative"
    )

    damping_init: float = option(
        1e-2, "what the learned damping of gauss-newton begins with", above=0
    )

    @rates_init.validator
    @rates_clip.validator
    def _ascending(self, attribute: attrs.Attribute[Any], value: tuple[float, float]) -> None:
        if not value[0] <= value[1]:
            raise ValueError(f"{attribute.name} must go from low to high, got {value}")

    group: int | None = option(
        None,
        "signals of an update in memory at once; the result is the same. null: what the "
        "processor's cache holds, all on a GPU",
        low=1,
    )
    precision: str = option(
        "auto",
        "of products between hidden layers, and of what is kept for the way back; bfloat16 halves "
        "both on hardware that has it, at three digits. auto: bfloat16 by meta-sgd on NVIDIA GPUs "
        "from Ampere on, else float32",
        choices=PRECISIONS,
    )
    checkpoint_every: int = option(200, "updates between two checkpoints", low=1)
    log_every: int = option(20, "updates between two lines of metrics.jsonl", low=1)
    encode_batch: int = option(16, "signals fitted at once after training", low=1)
    max_memory: float | None = option(
        None,
        "gigabytes (1e9 bytes) that the tensors of an update may take on a device: fewer signals "
        "at a time, then (meta-sgd on shifts alone) fewer observations, computed twice, until it "
        "fits; null for no limit",
        above=0,
    )
    chunk: int | None = option(
        1024, "observations of a signal held in memory at once after training; null for all", low=1
    )


class Learner(nn.Module):
    """Network and inner solver: all that `weights.safetensors` holds."""

    def __init__(self, network: Network, solver: InnerSolver) -> None:
        super().__init__()
        self.network = network
        self.solver = solver
        self.recording = Recording()


def build_learner(spec: Spec, model: SirenConfig, meta: MetaConfig, seed: int) -> Learner:
    """An untrained learner; the same seed gives the same weights."""
    generator = seeded(seed)
    network = LatentModulatedSiren(spec, model, generator)
    return Learner(network, _solver(network, meta, generator))


def _solver(network: Network, meta: MetaConfig, generator: Generator) -> InnerSolver:
    if meta.solver == "gauss-newton":
        return GaussNewton(network.latent_shape, meta.damping_init)
    return MetaSGD(network.latent_shape, meta.rates_init, meta.rates_clip, generator)
