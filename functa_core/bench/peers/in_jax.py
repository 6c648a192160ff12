"""google-deepmind/functa's mathematics in JAX, written anew from the paper and from what it does.

As there, one signal's fit is written out and `jax.vmap` makes the batch of it, each signal with its
own copy of the queries; the whole update, Adam with it, is one jitted function. The authors' update
ends with a second fit of the batch, for the PSNR it logs; that is left out here.

Needs jax, which nothing else of this project does: import it when it is wanted.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from torch import Tensor

from functa_core.bench.case import Case
from functa_core.bench.implementation import Absent, Implementation, Work
from functa_core.bench.peers.weights import Siren, siren_of

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the GPU is PyTorch's as well
try:
    import jax
    import jax.numpy as jnp
except ImportError as error:
    raise Absent("jax is not installed") from error

Pytree = dict[str, Any]


class Jax(Implementation):
    """The paper's update, jitted."""

    name = "functa in JAX"

    def __init__(self, case: Case, precision: str | None = None) -> None:
        """`precision` is that of float32 products; None for jax's default on the device."""
        self.case = case
        self.precision = precision
        self._update_compiled: Any = None
        platform = "gpu" if case.device.type == "cuda" else "cpu"
        try:
            self.device = jax.devices(platform)[0]
        except RuntimeError as error:
            raise Absent(f"jax has no {platform} here") from error
        self.siren = siren_of(case)
        makes = case.benchmark.jax_forward
        self.forward = (
            (lambda field, queries: field(queries)) if makes is None else makes(case.modality)
        )
        known = case.observations
        total = known.weights.sum(dim=1, keepdim=True)
        queries = known.queries.expand(len(known), -1, -1)
        self.batch = tuple(map(self._array, (queries, known.known_values, known.weights / total)))

    def precisely(self) -> Implementation:
        """On a GPU jax's products are in TensorFloat-32 by default; here they are in float32."""
        return Jax(self.case, "highest") if self.case.device.type == "cuda" else self

    def _compiled(self, function: Any, *arguments: Any) -> Any:
        with jax.default_matmul_precision(self.precision):
            return jax.jit(function).lower(*arguments).compile()

    def _array(self, tensor: Tensor) -> Any:
        return jax.device_put(tensor.detach().cpu().numpy(), self.device)

    def _weights(self) -> Pytree:
        """The weights as a pytree, each (in, out) as Haiku has them."""
        siren = self.siren

        def pairs(linears: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
            return [(self._array(weight.T), self._array(bias)) for weight, bias in linears]

        return {
            "layers": pairs(siren.layers),
            "to_modulations": pairs(siren.to_modulations),
            "rates": self._array(siren.rates),
        }

    def _fit(self, weights: Pytree, batch: Any) -> Any:
        """The latent of one signal after all steps (Z,)."""
        rates = jnp.clip(weights["rates"], *self.siren.clip)
        latent = jnp.zeros_like(rates)
        for _ in range(self.case.meta.inner_steps):
            latent = latent - rates * jax.grad(self._loss)(latent, weights, batch)
        return latent

    def _loss(self, latent: Any, weights: Pytree, batch: Any) -> Any:
        queries, values, shares = batch
        errors = (self._predict(latent, weights, queries) - values) ** 2
        penalty = self.case.meta.l2_weight * (latent**2).sum()
        return (errors.mean(axis=-1) * shares).sum() + penalty

    def _predict(self, latent: Any, weights: Pytree, queries: Any) -> Any:
        """One signal's values (N, C)."""
        return self.forward(lambda coords: _features(self.siren, weights, coords, latent), queries)

    def _mean_loss(self, weights: Pytree, batch: Any) -> Any:
        def one(signal: Any) -> Any:
            return self._loss(self._fit(weights, signal), weights, signal)

        return jax.vmap(one)(batch).mean()

    def _update(self, state: Any, batch: Any) -> Any:
        weights, first, second, count = state
        loss, gradient = jax.value_and_grad(self._mean_loss)(weights, batch)
        moved = _adam(weights, gradient, first, second, count + 1, self.case.meta.lr)
        return (*moved, count + 1), loss

    def updating(self) -> Work:
        """One jitted function of weights, Adam's moments and the batch; compiled here."""
        state = [self._state()]
        compiled = self._compiled_update(state[0])

        def work() -> Any:
            state[0], loss = compiled(state[0], self.batch)
            return loss

        return work

    def _state(self) -> Any:
        """Weights, Adam's moments, and how many updates there were."""
        weights = self._weights()
        zeros = jax.tree_util.tree_map(jnp.zeros_like, weights)
        return weights, zeros, zeros, jax.device_put(np.float32(0), self.device)

    def _compiled_update(self, state: Any) -> Any:
        """Compiled once: that takes a while."""
        if self._update_compiled is None:
            self._update_compiled = self._compiled(self._update, state, self.batch)
        return self._update_compiled

    def encoding(self) -> Work:
        """The fit alone, jitted."""
        weights, batch = self._weights(), Jax(self.case.fitted()).batch
        fit = jax.vmap(self._fit, in_axes=(None, 0))
        compiled = self._compiled(fit, weights, batch)
        return lambda: compiled(weights, batch)

    def decoding(self) -> Work:
        """The field under the forward operator, jitted."""
        weights, latents = self._weights(), self._array(self.case.latents())
        predict = jax.vmap(self._predict, in_axes=(0, None, 0))
        compiled = self._compiled(predict, latents, weights, self.batch[0])
        return lambda: compiled(latents, weights, self.batch[0])

    def finish(self, result: Any) -> Any:
        """Wait for the result."""
        return jax.block_until_ready(result)

    def device_peak(self) -> int:
        """As the compiler plans it."""
        plan = self._compiled_update(self._state()).memory_analysis()
        return int(
            plan.temp_size_in_bytes
            + plan.argument_size_in_bytes
            + plan.output_size_in_bytes
            - plan.alias_size_in_bytes
        )


def _features(siren: Siren, weights: Pytree, coords: Any, latent: Any) -> Any:
    """The network: (n, D) and (Z,) → (n, C)."""
    modulations = latent
    for i, (weight, bias) in enumerate(weights["to_modulations"]):
        modulations = (jax.nn.relu(modulations) if i else modulations) @ weight + bias
    x = coords
    *hidden, (last, offset) = weights["layers"]
    for (weight, bias), block in zip(hidden, jnp.split(modulations, len(hidden)), strict=True):
        x = x @ weight + bias
        if siren.scales:
            scale, block = jnp.split(block, 2)
            x = (1 + scale) * x
        x = jnp.sin(siren.w0 * (x + block))
    return x @ last + offset + siren.offset


def _adam(
    weights: Pytree, gradient: Pytree, first: Pytree, second: Pytree, count: Any, lr: float
) -> tuple[Pytree, Pytree, Pytree]:
    """A step of Adam (Kingma and Ba 2015) with its usual constants."""
    tree_map = jax.tree_util.tree_map
    first = tree_map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = tree_map(lambda v, g: 0.999 * v + 0.001 * g**2, second, gradient)
    fast, slow = 1 - 0.9**count, 1 - 0.999**count
    moved = tree_map(
        lambda w, m, v: w - lr * (m / fast) / (jnp.sqrt(v / slow) + 1e-8), weights, first, second
    )
    return moved, first, second
