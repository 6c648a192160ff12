"""What a network is to the rest, and a network bound to latents: a field."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from functa_core.networks.passes import SirenPasses


class Network(nn.Module, ABC):
    """Shared weights: coordinates and a latent → features.

    Attributes:
        latent_shape: of one signal's latent; () × its entries is Z.
    """

    latent_shape: tuple[int, ...]

    @abstractmethod
    def forward(
        self, coords: Float[Tensor, "*B N D"], latent: Float[Tensor, "B *latent"]
    ) -> Float[Tensor, "B N C"]:
        """Features at coordinates that all latents share (N, D) or of each its own (B, N, D)."""

    @property
    def latent_numbers(self) -> int:
        """How many numbers one signal is stored as."""
        return int(torch.Size(self.latent_shape).numel())


class ModulatedNetwork(Network):
    """A network that its latent reaches only through one vector of M modulations a signal.

    Splitting it so lets the engine share work between signals: see `functa_core.meta.shared`.
    """

    def slope(self, latent: Float[Tensor, "1 *latent"]) -> Float[Tensor, "M Z"]:
        """Derivatives of the modulations by the latent, at a latent."""
        jacobian: Tensor = torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
            lambda one: self.modulate(one)[0],
            latent,
            create_graph=torch.is_grad_enabled(),
            vectorize=True,
        )
        return jacobian.flatten(1)

    def passes(self, dtype: torch.dtype | None = None) -> SirenPasses | None:
        """The network's passes by hand, through its weights as they are now.

        Args:
            dtype: of what is kept and of products between hidden layers; None for the weights'.

        Default: None, autograd does all.
        """
        return None

    def forget(self) -> None:
        """Give up the memory that passes use again. Default: there is none."""

    def passed(self) -> list[Tensor]:
        """The parameters that `passes` go through, in their order; none where there are no passes.

        Default: none.
        """
        return []

    @abstractmethod
    def modulate(self, latent: Float[Tensor, "B *latent"]) -> Float[Tensor, "B M"]:
        """The modulations of each signal."""

    @abstractmethod
    def evaluate(
        self, coords: Float[Tensor, "*B N D"], modulations: Float[Tensor, "B n M"]
    ) -> Float[Tensor, "B N C"]:
        """Features under modulations of each signal (n = 1), or of each coordinate (n = N)."""

    def forward(
        self, coords: Float[Tensor, "*B N D"], latent: Float[Tensor, "B *latent"]
    ) -> Float[Tensor, "B N C"]:
        """Features at coordinates that all latents share (N, D) or of each its own (B, N, D)."""
        return self.evaluate(coords, self.modulate(latent).unsqueeze(1))


class NetworkField:
    """A network with B latents: a function of coordinates alone.

    Args:
        network: the shared weights.
        latents: (B, *latent_shape).
        most: with gradients off, at most this many coordinates at a time, those of all latents
            counted together, so that memory is bounded at any resolution. None for no bound.
    """

    def __init__(
        self, network: Network, latents: Float[Tensor, "B *latent"], most: int | None = None
    ) -> None:
        self.network = network
        self.latents = latents
        self.most = most

    def __len__(self) -> int:
        """The number of latents B."""
        return self.latents.shape[0]

    def __getitem__(self, chosen: slice) -> NetworkField:
        """The field of some of the latents."""
        return NetworkField(self.network, self.latents[chosen], self.most)

    def __call__(self, coords: Float[Tensor, "*B N D"]) -> Float[Tensor, "B N C"]:
        """Features at coordinates (N, D) or (B, N, D); they are moved to the field's device."""
        coords = coords.to(self.latents.device)
        count = coords.shape[-2]
        each = count if self.most is None else max(1, self.most // len(self))
        if torch.is_grad_enabled() or count <= each:
            features: Tensor = self.network(coords, self.latents)
            return features
        parts = [
            self.network(coords[..., start : start + each, :], self.latents)
            for start in range(0, count, each)
        ]
        return torch.cat(parts, dim=1)
