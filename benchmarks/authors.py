"""The authors' own update beside our JAX implementation of it, once, at the size `small`.

    git clone https://github.com/google-deepmind/functa CLONE
    pip install jax dm-haiku optax chex absl-py ml_collections
    python benchmarks/authors.py CLONE --out benchmarks/results/authors.json

Nothing of theirs is here: their files are imported from the clone and run as they are. What they
need and a measurement does not (jaxline, TensorFlow's datasets) are empty modules, and
`jax.tree_map`, which JAX 0.6 removed, is put back. From the same weights and on the same batch both
losses must agree to 1e-5 before anything is timed. Their update ends with a second fit of the
batch, for the PSNR that they log, which ours leaves out; so their gradient and Adam step are timed
without it too.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import types
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from functa_core.bench.case import Asked, Case
from functa_core.bench.implementation import Implementation, Work
from functa_core.bench.machine import hardware, versions
from functa_core.bench.peers.in_jax import Jax
from functa_core.bench.timing import interleaved, sample
from functa_core.discovery.loading import load_plugin

SECONDS = 60.0


def authors_experiment(clone: Path) -> Any:
    """Their module `experiment_meta_learning`, imported from a clone."""
    for name in ("jaxline", "functa"):
        sys.modules[name] = types.ModuleType(name)
    for name in ("base_config", "experiment", "platform", "utils"):
        module = types.ModuleType(f"jaxline.{name}")
        sys.modules[module.__name__] = module
        setattr(sys.modules["jaxline"], name, module)
    sys.modules["jaxline"].experiment.AbstractExperiment = object  # type: ignore[attr-defined]
    sys.modules["functa"].__path__ = [str(clone)]
    sys.modules["functa.data_utils"] = types.ModuleType("functa.data_utils")
    sys.modules["functa"].data_utils = sys.modules["functa.data_utils"]  # type: ignore[attr-defined]
    if not hasattr(jax, "tree_map"):
        jax.tree_map = jax.tree_util.tree_map  # type: ignore[attr-defined]
    from functa import experiment_meta_learning  # type: ignore[import-not-found]

    return experiment_meta_learning


class Authors(Implementation):
    """Their `Experiment`, without the parts that read data."""

    name = "the authors' update"

    def __init__(self, case: Case, module: Any) -> None:
        from ml_collections import ConfigDict

        self.case = case
        ours = Jax(case)
        siren = ours.siren
        model, meta = case.model, case.meta
        config = {
            "model": {
                "type": "latent_modulated_siren",
                "w0": model.w0,
                "width": model.width,
                "depth": model.depth,
                "modulate_scale": False,
                "modulate_shift": True,
                "l2_weight": meta.l2_weight,
                "noise_std": 0.0,
                "latent_dim": model.latent_dim,
                "layer_sizes": (),
                "latent_init_scale": 0.0,
                "use_meta_sgd": True,
                "meta_sgd_init_range": meta.rates_init,
                "meta_sgd_clip_range": meta.rates_clip,
            },
            "dataset": {"type": "image", "num_channels": case.modality.spec.channels},
            "training": {"inner_steps": meta.inner_steps, "coord_noise": False},
        }
        import haiku as hk

        self.reps = module.function_reps
        experiment = object.__new__(module.Experiment)
        experiment.config = ConfigDict(config)
        experiment.forward = hk.without_apply_rng(hk.transform(experiment._forward_fn))
        experiment._opt_inner = optax.sgd(learning_rate=1e-2)
        experiment._opt_outer = optax.adam(learning_rate=meta.lr)
        self.experiment = experiment
        queries, values, _ = ours.batch
        self.coords, self.values = queries, values
        key = jax.random.PRNGKey(0)
        self.params = _with_weights(experiment.forward.init(key, queries[0]), siren)
        self.key = key

    def updating(self) -> Work:
        """`Experiment._update_func`, mapped over one device as theirs is."""
        one = jax.tree_util.tree_map
        weights, _ = self.reps.partition_params(self.params)
        state = [one(lambda x: x[None], (self.params, self.experiment._opt_outer.init(weights)))]
        batch = one(lambda x: x[None], (self.values, self.coords, self.key))
        mapped = jax.pmap(self.experiment._update_func, axis_name="i")

        def work() -> Any:
            params, optimiser, scalars = mapped(*state[0], *batch)
            state[0] = (params, optimiser)
            return scalars["loss"]

        return work

    def without_logging(self) -> Work:
        """Gradient and Adam step of theirs, jitted, without the second fit."""
        weights, modulations = self.reps.partition_params(self.params)
        optimiser = self.experiment._opt_outer

        def step(weights: Any, moments: Any) -> Any:
            loss, gradient = jax.value_and_grad(self.experiment._loss_func)(
                weights, modulations, self.values, self.coords, self.key
            )
            updates, moments = optimiser.update(gradient, moments)
            return optax.apply_updates(weights, updates), moments, loss

        jitted = jax.jit(step)
        state = [(weights, optimiser.init(weights))]

        def work() -> Any:
            *rest, loss = jitted(*state[0])
            state[0] = tuple(rest)
            return loss

        return work

    def encoding(self) -> Work:
        """Not compared."""
        raise NotImplementedError

    def decoding(self) -> Work:
        """Not compared."""
        raise NotImplementedError

    def finish(self, result: Any) -> Any:
        """Wait for the result."""
        return jax.block_until_ready(result)  # type: ignore[no-untyped-call]

    def device_peak(self) -> int:
        """Not measured."""
        raise NotImplementedError


def _with_weights(params: Any, siren: Any) -> Any:
    """Their parameters by name, with our values."""

    def linear(pair: tuple[Any, Any]) -> dict[str, Any]:
        return {"w": jnp.array(pair[0].T.numpy()), "b": jnp.array(pair[1].numpy())}

    found = {}
    for name, values in params.items():
        layer = re.search(r"modulated_siren_layer(?:_(\d+))?/linear$", name)
        if layer:
            found[name] = linear(siren.layers[int(layer[1] or 0)])
        elif "mlp" in name:
            found[name] = linear(siren.to_modulations[0])
        elif "meta_sgd_lrs" in name:
            found[name] = {key: jnp.array(siren.rates.numpy()) for key in values}
        else:
            found[name] = values
    return found


def main() -> None:
    """Check, time, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clone", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    case = Asked(load_plugin("images").modality, "small").case(torch.device("cpu"))
    ours, theirs = Jax(case), Authors(case, authors_experiment(given.clone))
    works: dict[str, tuple[Implementation, Work]] = {
        ours.name: (ours, ours.updating()),
        theirs.name: (theirs, theirs.updating()),
        "theirs without the fit for the log": (theirs, theirs.without_logging()),
    }
    losses = {
        name: [float(np.ravel(who.finish(work()))[0]) for _ in range(2)]
        for name, (who, work) in works.items()
    }
    before, after = losses[ours.name]
    np.testing.assert_allclose(losses[theirs.name][0], after, rtol=1e-5)  # theirs tell it after
    np.testing.assert_allclose(losses["theirs without the fit for the log"], [before, after], 1e-5)
    samplers = {name: partial(sample, who, work) for name, (who, work) in works.items()}
    timed = interleaved(samplers, SECONDS)
    base = timed[ours.name].median
    found = {
        "hardware": hardware(torch.device("cpu")),
        "versions": versions(),
        "results": {
            name: {"median": t.median, "spread": t.spread, "to ours in JAX": t.median / base}
            for name, t in timed.items()
        },
        "losses": losses,
    }
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["results"], indent=1))


if __name__ == "__main__":
    main()
