"""The method gives the numbers that the authors' JAX code gives (see tests/data/parity)."""

import json
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from published import PARITY, load_weights, our_tensors, relative

from functa_core import Box, DataSource, Modality, Observations, Spec
from functa_core.meta.learner import MetaConfig, build_learner
from functa_core.meta.outer import outer_loss, psnr_db, update
from functa_core.meta.problem import Problem
from functa_core.networks.base import NetworkField
from functa_core.networks.siren import SirenConfig
from functa_nerf.cameras import Lens, rays
from functa_nerf.modality import Nerf
from functa_nerf.rendering import depths, render_rays

TOLERANCE = 1e-5


class Grid(Modality[Any]):
    """Values on a grid: as little of a modality as the inner loop needs."""

    name = "grid"
    api_version = 1
    channels = 3

    @property
    def spec(self) -> Spec:
        return Spec(Box((0.0, 0.0), (1.0, 1.0)), self.channels)

    def dataset(self, split):
        raise AssertionError

    def observations(self, signals, generator=None):
        raise AssertionError

    def render(self, field, out, names, resolution=None):
        raise AssertionError


def grid_case(name: str) -> tuple[Any, Any, Modality[Any], Observations]:
    file = np.load(PARITY / f"{name}.npz")
    config = json.loads(str(file["config_json"]))
    targets = torch.from_numpy(file["targets"]).flatten(1, 2)
    coords = torch.from_numpy(file["coords"]).flatten(0, 1)
    modality = Grid(None, DataSource())
    modality.channels = config["out_channels"]
    return file, config, modality, Observations(coords, targets, torch.ones(targets.shape[:2]))


def scene_case(name: str) -> tuple[Any, Any, Modality[Any], Observations]:
    file = np.load(PARITY / f"{name}.npz")
    config = json.loads(str(file["config_json"]))
    # The reference keeps origins and directions apart: (B, 2, V, H, W, 3).
    beams = torch.from_numpy(file["rays"]).movedim(1, -2).flatten(-2).flatten(1, 3)
    targets = torch.from_numpy(file["targets"]).flatten(1, 3)
    options = Nerf.Config(points_per_ray=config["points_per_ray"], coord_noise=False)
    state = {"near": config["near"], "far": config["far"], "bound": 1.8}
    modality = Nerf(options, DataSource(), state)
    return file, config, modality, Observations(beams, targets, torch.ones(targets.shape[:2]))


CASES = {
    "image_shift_linear": grid_case,
    "image_scale_shift_mlp": grid_case,
    "nerf_shift_linear": scene_case,
}


@pytest.fixture(params=CASES)
def case(request):
    file, config, modality, observations = CASES[request.param](request.param)
    model = SirenConfig(
        latent_dim=config["latent_dim"],
        width=config["width"],
        depth=config["depth"],
        w0=config["w0"],
        modulate_scale=config["modulate_scale"],
        map_hidden=tuple(config["layer_sizes"]),
    )
    meta = MetaConfig(lr=3e-6, clip=None)
    learner = build_learner(modality.spec, model, meta, seed=0)
    depth, maps = config["depth"], len(config["layer_sizes"]) + 1
    load_weights(learner, file, depth, maps)
    return file, learner, Problem(learner.network, modality, observations), meta, (depth, maps)


def test_forward_pass(case):
    file, _, problem, *_ = case
    values = problem.predict(problem.start())[0]
    expected = file["forward_at_init"] if "forward_at_init" in file else file["rgb_at_init"]
    assert relative(values.reshape(expected.shape), expected) < TOLERANCE


def test_rays_and_depth():
    file, config, modality, observations = scene_case("nerf_shift_linear")
    learner = build_learner(modality.spec, SirenConfig(16, 32, 5), MetaConfig(), seed=0)
    load_weights(learner, file, depth=5, maps=1)
    height, width = config["height"], config["width_px"]
    lens = Lens(config["focal"], width / 2, height / 2, height, width)
    ours = torch.stack([rays(scene, lens) for scene in torch.from_numpy(file["poses"])])
    assert relative(ours.flatten(1, 2), observations.queries) < TOLERANCE
    field = NetworkField(learner.network, torch.zeros(1, 16))
    z = depths(config["near"], config["far"], config["points_per_ray"])
    with torch.no_grad():
        depth = render_rays(field, observations.queries[0], z).depth
    assert relative(depth.reshape(file["depth_at_init"].shape), file["depth_at_init"]) < TOLERANCE


def test_latents_losses_and_psnr_after_each_step(case):
    file, learner, problem, meta, _ = case
    path = learner.solver.fit(problem, meta.inner_steps)
    for step, latent in enumerate(path):
        predicted = problem.predict(latent)
        if step:
            assert relative(latent, file["latents_by_step"][step]) < TOLERANCE
        losses = problem.loss(latent, predicted)
        assert relative(losses, file["loss_by_step"][:, step]) < TOLERANCE
        psnr = psnr_db(predicted, problem.observations, peak=1.0)
        assert relative(psnr, file["psnr_by_step"][:, step]) < TOLERANCE


def test_fit_in_chunks_is_the_same_fit(case):
    file, learner, problem, meta, _ = case
    chunked = attrs.evolve(problem, chunk=37)
    latent = learner.solver.fit(chunked, meta.inner_steps)[-1]
    assert relative(latent, file["latents_by_step"][-1]) < TOLERANCE


def test_outer_loss_and_gradient(case):
    file, learner, problem, meta, (depth, maps) = case
    loss = outer_loss(learner, problem, meta)[0].mean()
    assert relative(loss, file["outer_loss"]) < TOLERANCE
    loss.backward()
    expected = our_tensors(file, "outer_grad:", depth, maps)
    ours = dict(learner.named_parameters())
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        assert relative(ours[name].grad, gradient) < TOLERANCE, name


def test_weights_after_one_adam_step(case):
    file, learner, problem, meta, (depth, maps) = case
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    update(learner, torch.optim.Adam(learner.parameters(), lr=meta.lr), problem, meta)
    for name, expected in our_tensors(file, "after_adam_step:", depth, maps).items():
        after = dict(learner.named_parameters())[name]
        assert relative(after, expected) < TOLERANCE, name
        assert not torch.equal(after, before[name]), name
