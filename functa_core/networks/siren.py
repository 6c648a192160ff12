"""The latent-modulated SIREN of "From data to functa" (section 3.1, equations 2 and 3)."""

from __future__ import annotations

import itertools
import math

import attrs
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from functa_core.modality import Spec
from functa_core.networks.base import ModulatedNetwork
from functa_core.networks.buffers import Buffers
from functa_core.networks.passes import SirenPasses
from functa_core.networks.sine import sine
from functa_core.options import option


@attrs.frozen
class SirenConfig:
    """Size and frequencies of the network."""

    latent_dim: int = option(64, "numbers Z that one signal is stored as", low=1)
    width: int = option(128, "units W of a hidden layer", low=1)
    depth: int = option(
        6, "layers, the linear output layer included; depth - 1 are modulated", low=2
    )
    w0: float = option(
        30.0, "frequency of the sines; higher fits finer detail and is less stable", above=0
    )
    modulate_scale: bool = option(
        False, "modulate the scale of each unit too, and not only its shift"
    )
    map_hidden: tuple[int, ...] = option(
        (), "hidden ReLU layers between latent and modulations; none (linear) is the paper's", low=1
    )


class LatentModulatedSiren(ModulatedNetwork):
    """An MLP with sine activations, whose hidden units a latent shifts (and scales).

    Layer l of the L = depth - 1 modulated ones computes, from the one before it,

        x ← sin(w0 · ((1 + scale_l) · (W_l x + b_l) + shift_l)),

    where all scales and shifts are one linear map (or a small MLP) of the latent, layer after
    layer, the scales of a layer before its shifts. The last layer is linear plus
    `spec.output_offset`.

    Initialisation is SIREN's: W_1 from U(±1/D), the others from U(±sqrt(6/W)/w0); biases 0. The
    map's is LeCun's normal with biases 0, so that latent 0 modulates nothing; hidden layers of the
    map have biases from U(±1/sqrt(fan in)), so that it does not begin where no ReLU has a slope.
    """

    def __init__(self, spec: Spec, config: SirenConfig, generator: Generator | None = None) -> None:
        super().__init__()
        self.latent_shape = (config.latent_dim,)
        self.width = config.width
        self.w0 = config.w0
        self.output_offset = spec.output_offset
        self.modulate_scale = config.modulate_scale
        sizes = [spec.domain.dim, *[config.width] * (config.depth - 1), spec.channels]
        self.layers = nn.ModuleList(map(nn.Linear, sizes, sizes[1:]))
        per_layer = config.width * (2 if config.modulate_scale else 1)
        self.to_modulations = _mlp(
            [config.latent_dim, *config.map_hidden, per_layer * (config.depth - 1)]
        )
        self._memory = Buffers()
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: Generator | None) -> None:
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            fan_in = layer.in_features
            bound = 1 / fan_in if i == 0 else math.sqrt(6 / fan_in) / self.w0
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.zero_()
        *hidden, last = [each for each in self.to_modulations if isinstance(each, nn.Linear)]
        for linear in (*hidden, last):
            bound = linear.in_features**-0.5
            linear.weight.normal_(0, bound, generator=generator)
            linear.bias.zero_()
            if linear is not last:  # at latent 0 and bias 0 a ReLU's slope is 0: no fit would begin
                linear.bias.uniform_(-bound, bound, generator=generator)

    def forward(
        self, coords: Float[Tensor, "*B N D"], latent: Float[Tensor, "B *latent"]
    ) -> Float[Tensor, "B N C"]:
        """Features; without gradients by the passes, which are faster."""
        passes = None if torch.is_grad_enabled() else self.passes()
        if passes is None:
            return super().forward(coords, latent)
        return passes.features(coords.to(latent), self.modulate(latent))

    def passes(self, dtype: torch.dtype | None = None) -> SirenPasses | None:
        """By hand where shifts alone are modulated."""
        parameters = self.passed()
        if not parameters:
            return None
        return SirenPasses.of(parameters, self.w0, self.output_offset, self._memory, dtype)

    def forget(self) -> None:
        """Begin with new buffers."""
        self._memory = Buffers()

    def passed(self) -> list[Tensor]:
        """Weight and bias of each layer in turn, where shifts alone are modulated."""
        return [] if self.modulate_scale else list(self.layers.parameters())

    def slope(self, latent: Float[Tensor, "1 *latent"]) -> Float[Tensor, "M Z"]:
        """Derivatives of the modulations by the latent; the map itself, if that is linear."""
        first, *others = self.to_modulations
        assert isinstance(first, nn.Linear)
        return super().slope(latent) if others else first.weight

    def modulate(self, latent: Float[Tensor, "B Z"]) -> Float[Tensor, "B M"]:
        """Scales (if modulated) and shifts of all hidden units, layer after layer."""
        modulations: Tensor = self.to_modulations(latent)
        return modulations

    def evaluate(
        self, coords: Float[Tensor, "*B N D"], modulations: Float[Tensor, "B n M"]
    ) -> Float[Tensor, "B N C"]:
        """Features under modulations of each signal (n = 1), or of each coordinate (n = N)."""
        # An operator that asks for slopes of the field takes one derivative more than `sine` has.
        wave = torch.sin if coords.requires_grad else sine
        x = coords
        *hidden, last = self.layers
        for layer, block in zip(hidden, modulations.chunk(len(hidden), dim=-1), strict=True):
            assert isinstance(layer, nn.Linear)
            # The frequency goes into the weights, which are few, and not into the B·N units.
            x = F.linear(x, self.w0 * layer.weight, self.w0 * layer.bias)
            if self.modulate_scale:
                scale, block = block.chunk(2, dim=-1)
                x = x + scale * x
            x = wave(x + self.w0 * block)
        features: Tensor = last(x)
        return features + self.output_offset


def _mlp(sizes: list[int]) -> nn.Sequential:
    """Linear layers of these sizes with ReLU between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.ReLU(), nn.Linear(fan_in, fan_out)]
    return nn.Sequential(*layers[1:])
