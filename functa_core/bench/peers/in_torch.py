"""Two ways people write this in PyTorch, without anything of this project's engine.

`AutogradLoop` is how COIN++ does it: latents of the whole batch in one tensor, and
`torch.autograd.grad(…, create_graph=True)` for each inner step. `VmapGrad` writes one signal's fit
and lets `torch.func` make the batch of it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from functa_core.bench.case import Case
from functa_core.bench.implementation import Work
from functa_core.bench.ours import TorchImplementation
from functa_core.bench.peers.weights import Siren, siren_of


class PlainField:
    """The network bound to B latents, by the formula and nothing else."""

    def __init__(self, siren: Siren, latents: Float[Tensor, "B Z"]) -> None:
        self.siren = siren
        self.latents = latents

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, chosen: slice) -> PlainField:
        return PlainField(self.siren, self.latents[chosen])

    def __call__(self, coords: Float[Tensor, "*B N D"]) -> Float[Tensor, "B N C"]:
        """Features at coordinates, shared (N, D) or each latent's own (B, N, D)."""
        siren, modulations = self.siren, self.latents
        for i, (weight, bias) in enumerate(siren.to_modulations):
            modulations = F.linear(F.relu(modulations) if i else modulations, weight, bias)
        x = coords
        *hidden, (weight, bias) = siren.layers
        blocks = modulations.unsqueeze(1).chunk(len(hidden), dim=-1)
        for (w, b), block in zip(hidden, blocks, strict=True):
            x = F.linear(x, w, b)
            if siren.scales:
                scale, block = block.chunk(2, dim=-1)
                x = (1 + scale) * x
            x = torch.sin(siren.w0 * (x + block))
        return F.linear(x, weight, bias) + siren.offset


class AutogradLoop(TorchImplementation):
    """A plain loop over `torch.autograd.grad`, as in COIN++."""

    name = "autograd loop"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.steps = case.meta.inner_steps
        siren_of(case)  # or it is absent
        known = case.observations
        self.queries = known.queries
        self.values = known.known_values
        self.shares = known.weights / known.weights.sum(dim=1, keepdim=True)

    def _losses(self, siren: Siren, latents: Tensor) -> Float[Tensor, " B"]:
        modality = self.case.modality
        predicted = modality.forward(PlainField(siren, latents), self.queries)
        data = (modality.loss(predicted, self.values) * self.shares).sum(dim=1)
        return data + self.case.meta.l2_weight * latents.square().sum(dim=1)

    def _gradient(
        self, siren: Siren, latents: Float[Tensor, "B Z"], graph: bool
    ) -> Float[Tensor, "B Z"]:
        loss = self._losses(siren, latents).sum()
        (gradient,) = torch.autograd.grad(loss, latents, create_graph=graph)
        return gradient

    def _fit(self, siren: Siren, graph: bool) -> Float[Tensor, "B Z"]:
        rates = siren.rates.clamp(*siren.clip)
        latents = torch.zeros_like(self.case.latents()).requires_grad_()
        for _ in range(self.steps):
            latents = latents - rates * self._gradient(siren, latents, graph)
            if not graph:
                latents = latents.detach().requires_grad_()
        return latents

    def updating(self) -> Work:
        """Adam on the mean loss after the fit, differentiated through it."""
        siren = siren_of(self.case)
        learned = [weight.requires_grad_() for weight in siren.learned()]
        optimiser = torch.optim.Adam(learned, lr=self.case.meta.lr)

        def work() -> Tensor:
            loss = self._losses(siren, self._fit(siren, graph=True)).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            return loss.detach()

        return work

    def encoding(self) -> Work:
        """The same fit, without a graph from step to step."""
        siren, fitted = siren_of(self.case), type(self)(self.case.fitted())
        return lambda: fitted._fit(siren, graph=False).detach()

    def decoding(self) -> Work:
        """The forward operator on the plain field."""
        field = PlainField(siren_of(self.case), self.case.latents())
        return torch.no_grad()(lambda: self.case.modality.forward(field, self.queries))


class VmapGrad(AutogradLoop):
    """The inner gradient by `torch.func.vmap(torch.func.grad)`, one signal written out."""

    name = "vmap of grad"

    def _gradient(
        self, siren: Siren, latents: Float[Tensor, "B Z"], graph: bool
    ) -> Float[Tensor, "B Z"]:
        modality, l2_weight = self.case.modality, self.case.meta.l2_weight

        def loss(latent: Tensor, queries: Tensor, values: Tensor, shares: Tensor) -> Tensor:
            predicted = modality.forward(PlainField(siren, latent[None]), queries)
            data = (modality.loss(predicted, values[None])[0] * shares).sum()
            return data + l2_weight * latent.square().sum()

        own = 0 if self.queries.ndim == 3 else None
        each: Callable[..., Tensor] = torch.func.vmap(torch.func.grad(loss), in_dims=(0, own, 0, 0))
        return each(latents, self.queries, self.values, self.shares)
