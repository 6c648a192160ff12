import json

import attrs
import pytest
import torch
from nerf_helpers import Balls, Waves, write_scene

from functa_core import DataSource, UserError
from functa_core.modality import seeded
from functa_nerf.cameras import rays
from functa_nerf.config import NerfConfig
from functa_nerf.modality import Nerf
from functa_nerf.pictures import to_bytes


@pytest.fixture
def mixed(tmp_path, make_nerf):
    """A run on scenes with cameras of their own, and with 6, 4 and 3 views."""
    for i, views in enumerate((6, 4, 3)):
        write_scene(tmp_path / f"train/{i}", views=views, seed=i)
    write_scene(tmp_path / "test/0", views=5, seed=9)
    return make_nerf(tmp_path, views=4, rays=10)


def test_the_state_is_json_and_enough(nerf):
    state = json.loads(json.dumps(nerf.state))
    again = Nerf(nerf.config, nerf.source, state)
    assert again.spec == nerf.spec
    assert again.observations([nerf.dataset("train")[0]]).values.shape == (1, 16 * 1024, 3)
    assert state["label_names"] == ["chair", "lamp", "shelf", "sofa", "table"]


def test_the_domain_holds_every_point_of_every_ray(mixed):
    bound = mixed.spec.domain.high[0]
    for scene in mixed.dataset("train"):
        beams = rays(scene.poses, scene.lens)
        for z in (mixed.state["near"], 1.1, mixed.state["far"]):
            assert (beams[..., :3] + z * beams[..., 3:]).abs().max() <= bound


@pytest.fixture
def same_rig(nerf):
    """Three scenes seen by the same cameras."""
    first, *others = nerf.dataset("train")[:3]
    return [first, *(attrs.evolve(scene, poses=first.poses) for scene in others)]


def test_whole_observations_of_one_rig_are_shared(nerf, same_rig):
    scenes = same_rig
    seen = nerf.observations(scenes)
    assert seen.shared
    assert seen.queries.shape == (16 * 32 * 32, 6)
    assert (seen.weights == 1).all()
    torch.testing.assert_close(seen.values[1, 1024 + 5 * 32 + 7], scenes[1].images[1, 5, 7] / 255)
    assert seen.groups[0, 1024 + 3] == 1
    own = rays(scenes[0].poses[1:2], scenes[0].lens)[0]
    assert torch.equal(seen.queries[1024 : 2 * 1024], own)


def test_a_fit_spreads_its_rays_over_the_views_it_sees(mixed):
    scenes = list(mixed.dataset("train"))
    seen = mixed.observations(scenes)
    assert mixed.fitted(seen) is None  # views of 8x8 have fewer rays than a fit would use
    few = Nerf(attrs.evolve(mixed.config, fit_rays=20), mixed.source, mixed.state)
    used = few.fitted(seen) & (seen.weights > 0)
    per_view = used.unflatten(1, (-1, 64)).sum(dim=2)
    for scene, rays_used in zip(scenes, per_view, strict=True):
        wanted = -(-20 // scene.views)
        assert rays_used.tolist() == [wanted] * scene.views + [0] * (6 - scene.views)
    only = seen.masked(seen.groups == 2)
    assert (few.fitted(only) & (only.weights > 0)).sum(dim=1).tolist() == [20, 20, 20]
    alone = few.fitted(few.observations(scenes[1:2]))
    assert torch.equal(alone[0], used[1, : scenes[1].views * 64])


def test_training_draws_views_and_rays_without_repeats(nerf, same_rig):
    scenes = same_rig[:2]
    drawn = nerf.observations(scenes, seeded(5))
    assert drawn.shared
    assert drawn.count == nerf.config.views * nerf.config.rays
    assert len(drawn.groups[0].unique()) == nerf.config.views
    assert len(drawn.queries.unique(dim=0)) == drawn.count
    whole = nerf.observations(scenes)
    same = (whole.queries == drawn.queries[17]).all(dim=-1).nonzero()[0, 0]
    assert torch.equal(whole.values[:, same], drawn.values[:, 17])


def test_observations_depend_on_the_generator_alone(nerf):
    scenes = list(nerf.dataset("train")[:2])
    before = torch.random.get_rng_state()
    one, two = (nerf.observations(scenes, seeded(5)) for _ in range(2))
    other = nerf.observations(scenes, seeded(6))
    assert torch.equal(one.queries, two.queries)
    assert not torch.equal(one.queries, other.queries)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("generator", [None, 1])
def test_scenes_with_fewer_views_are_padded(mixed, generator):
    scenes = list(mixed.dataset("train"))
    seen = mixed.observations(scenes, None if generator is None else seeded(generator))
    assert not seen.shared
    sizes = [6 * 64, 4 * 64, 3 * 64] if generator is None else [40, 40, 30]
    assert (seen.weights > 0).sum(dim=1).tolist() == sizes
    assert (seen.groups[2, sizes[2] :] == -1).all()
    assert (seen.weights[2, sizes[2] :] == 0).all()
    for i in range(3):
        alone = mixed.observations([scenes[i]])
        if generator is None:
            assert torch.equal(alone.queries, seen.queries[i, : sizes[i]])
            assert torch.equal(alone.values[0], seen.values[i, : sizes[i]])


def test_another_size_is_refused(nerf):
    scene = nerf.dataset("train")[0]
    with pytest.raises(UserError, match="16x16"):
        nerf.observations([scene.resized(16, 16)])


def test_every_fourth_view_is_held_out(nerf):
    scenes = [nerf.dataset("test")[0]]
    seen = nerf.observations(scenes)
    hidden = nerf.held_out(scenes, seen)
    assert seen.groups[hidden].unique().tolist() == [3, 7, 11, 15]
    assert hidden.float().mean() == 0.25


def test_held_out_views_of_short_scenes_and_padding(mixed):
    scenes = list(mixed.dataset("train"))
    hidden = mixed.held_out(scenes, mixed.observations(scenes))
    per_view = hidden.reshape(3, 6, 64).all(dim=2)
    assert [row.nonzero()[:, 0].tolist() for row in per_view] == [[3], [3], [2]]
    assert hidden.sum() == 3 * 64


def test_nothing_is_held_out_of_a_single_view(nerf):
    alone = [nerf.dataset("test")[0].only([5])]
    assert not nerf.held_out(alone, nerf.observations(alone)).any()


def test_views_that_the_data_keeps_for_testing_are_held_out(nerf):
    scenes = list(nerf.dataset("test")[:2])
    kept = torch.arange(scenes[0].views) > 12
    scenes[0] = attrs.evolve(scenes[0], for_test=kept)
    seen = nerf.observations(scenes)
    hidden = nerf.held_out(scenes, seen)
    assert seen.groups[0][hidden[0]].unique().tolist() == [13, 14, 15]
    assert seen.groups[1][hidden[1]].unique().tolist() == [3, 7, 11, 15]
    assert scenes[0].only([2, 14]).hidden(4).tolist() == [False, True]


def test_forward_without_a_generator_is_deterministic_and_chunks_do_not_matter(nerf):
    queries = nerf.observations([nerf.dataset("test")[0]]).queries[:300]
    whole = nerf.forward(Waves(), queries)
    assert torch.equal(whole, nerf.forward(Waves(), queries))
    parts = [nerf.forward(Waves(), part) for part in queries.split(77)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)
    torch.testing.assert_close(nerf.forward(Waves(), queries.expand(2, -1, -1)), whole)


def test_forward_with_a_generator_samples_at_random_if_asked(nerf):
    queries = nerf.observations([nerf.dataset("test")[0]]).queries[5000:5100]
    before = torch.random.get_rng_state()
    one, two = (nerf.forward(Waves(), queries, seeded(1)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, nerf.forward(Waves(), queries, seeded(2)))
    quiet = Nerf(attrs.evolve(nerf.config, coord_noise=False), nerf.source, nerf.state)
    assert torch.equal(quiet.forward(Waves(), queries, seeded(1)), nerf.forward(Waves(), queries))
    assert torch.equal(torch.random.get_rng_state(), before)


def psnr(predicted, seen, mask):
    error = (predicted - seen.values).square().mean(dim=-1)
    return -10 * ((error * mask).sum(dim=1) / mask.sum(dim=1)).log10()


def test_baselines_never_read_what_is_hidden_and_nearest_beats_mean(nerf):
    train, test = nerf.dataset("train"), list(nerf.dataset("test")[:4])
    seen = nerf.observations(test)
    hidden = nerf.held_out(test, seen)
    spoiled = torch.where(hidden[..., None], torch.nan, seen.values)
    blind = attrs.evolve(seen, values=spoiled)
    figures = {}
    for name, predict in nerf.baselines(train).items():
        predicted = predict(test, blind, ~hidden)
        assert predicted.shape == seen.values.shape
        assert predicted.isfinite().all()
        figures[name] = psnr(predicted, seen, hidden.float()).mean()
    assert figures["mean"] > 10
    assert figures["nearest"] > figures["mean"]


def test_the_nearest_scene_of_a_training_scene_is_itself(nerf):
    train = nerf.dataset("train")[:6]
    seen = nerf.observations([train[4]])
    everything = torch.ones_like(seen.weights, dtype=torch.bool)
    assert torch.equal(nerf.baselines(train)["nearest"]([train[4]], seen, everything), seen.values)


def test_baselines_take_scenes_with_other_cameras_and_padding(mixed):
    scenes = list(mixed.dataset("train"))
    seen = mixed.observations(scenes)
    for predict in mixed.baselines(mixed.dataset("train")).values():
        predicted = predict(scenes, seen, ~mixed.held_out(scenes, seen))
        assert predicted.shape == seen.values.shape
        assert predicted.isfinite().all()


def test_decode_renders_an_orbit_at_any_resolution(nerf):
    field = Balls([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]], radius=0.2)
    views = nerf.decode(field, 12)
    assert views.shape == (2, 24, 12, 12, 3)
    assert views.dtype == torch.float32
    torch.testing.assert_close(views[0, 3], views[0, 15], atol=0.35, rtol=0)
    assert (views[0, :, 6, 6] - field.colour).abs().max() < 0.2  # in the middle of every view
    assert (views[:, :, 0] == 1).all()
    assert torch.equal(nerf.decode(field[1:2], 12)[0], views[1])


def test_describe_says_what_would_be_read(nerf):
    lines = nerf.describe(nerf.dataset("train"))
    assert lines["views per scene"] == "16"
    assert "32x32" in lines["view size"]
    assert lines["rays"] == "12 points, depth 0.787 to 1.82 (derived from the training cameras)"
    unprepared = Nerf(NerfConfig(far=1.9), DataSource()).describe(nerf.dataset("train"))
    assert "could not be derived" in unprepared["rays"]


def test_colours_become_bytes_without_wrapping():
    assert to_bytes(torch.tensor([-0.2, 0.5, 1.7])).tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    "wrong", [{"near": 0.8, "far": 0.5}, {"points_per_ray": 1}, {"held_out_every": 1}]
)
def test_options_are_checked(wrong):
    with pytest.raises(ValueError, match="must be"):
        NerfConfig(**wrong)


def test_the_embedded_set_obeys_resolution_and_views(make_nerf):
    small = make_nerf(resolution=16, max_views=4)
    scene = small.dataset("test")[0]
    assert scene.images.shape == (4, 16, 16, 3)
    assert scene.lens.focal == pytest.approx(32.8125 / 2)
