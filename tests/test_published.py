"""Published weights become runs, and published modulations their functasets."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pickles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from published import (
    JAX,
    LATENT_VECTOR,
    NUMPY,
    PARITY,
    ROOT,
    START,
    edit,
    modulation_set,
    relative,
    released,
    written,
)

from functa_core import Functaset, Published, UserError, load_run
from functa_core.runs.importing import read_checkpoint

RATES = ROOT + "~/meta_sgd_lrs"
FIRST = ROOT + "modulated_siren_layer/linear"
LAST = ROOT + "modulated_siren_layer_4/linear"
MAP = ROOT + "~/latent_to_modulation/~/mlp/~/linear_0"
TOLERANCE = 1e-5


def test_both_release_files_give_the_same_run(functa, tmp_path):
    for file in (NUMPY, JAX):
        code, out, err = functa("import-deepmind", file, "--out", tmp_path / file.stem)
        assert (code, out.strip()) == (0, str(tmp_path / file.stem)), err
        assert "meta.steps is 500000" in err
    first, second = tmp_path / NUMPY.stem, tmp_path / JAX.stem
    for name in ("config.yaml", "modality.json", "metrics.json", "weights.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    about = json.loads((second / "published.json").read_text())
    assert about["config"]["model"]["width"] == 32
    assert about["latent_start"] == [0.0] * 16
    metrics = json.loads((first / "metrics.json").read_text())
    assert metrics["params"] == 5555
    assert metrics["data"] is None
    assert metrics["steps"] is None


@pytest.mark.parametrize("stated", [None, 7])
def test_the_outer_loop_is_the_authors_and_not_the_modality_s_recipe(functa, tmp_path, stated):
    tree = released()
    if stated is not None:
        tree["config"]["training"]["per_device_batch_size"] = stated
    file = written(tree, tmp_path / "file.npz")
    code, _, err = functa("import-deepmind", file, "--out", tmp_path / "run")
    assert code == 0, err
    meta = load_run(tmp_path / "run").config.meta
    assert (meta.steps, meta.lr, meta.lr_final, meta.clip) == (500_000, 3e-6, 1.0, None)
    assert meta.batch_size == (16 if stated is None else 7)
    note = "training.per_device_batch_size is not in the file; taken as 16"
    assert (note in err) == (stated is None)


def test_parity_through_encode_and_decode(functa, tmp_path, case, imported):
    np.save(tmp_path / "targets.npy", case["targets"])
    latents = tmp_path / "all.safetensors"
    code, _, err = functa(
        "encode", "--run", imported, "--data", tmp_path / "targets.npy", "--out", latents
    )
    assert code == 0, err
    functaset = Functaset.load(latents)
    assert relative(functaset.latents, case["latents_by_step"][-1]) < TOLERANCE
    assert relative(functaset.psnr_db, case["psnr_by_step"][:, -1]) < TOLERANCE

    run = load_run(imported)
    errors = run.decode(functaset.latents) - torch.from_numpy(case["targets"])
    mean_square = errors.square().mean(dim=(1, 2, 3))
    assert relative(-10 * mean_square.log10(), case["psnr_by_step"][:, -1]) < TOLERANCE
    assert relative(run.decode(torch.zeros(1, 16))[0], case["forward_at_init"]) < TOLERANCE

    code, _, err = functa(
        "decode", "--run", imported, "--latents", latents, "--out", tmp_path / "out"
    )
    assert code == 0, err
    for i, expected in enumerate(run.decode(functaset.latents).numpy()):
        picture = np.asarray(Image.open(tmp_path / "out" / f"{i:06d}.png")) / 255
        assert np.abs(picture - expected).max() <= 0.5 / 255 + 1e-6


def test_scales_and_a_hidden_layer_in_the_map(functa, tmp_path):
    case = np.load(PARITY / "image_scale_shift_mlp.npz")
    params: dict[str, dict[str, np.ndarray]] = {}
    for key in case.files:
        if key.startswith("param:"):
            module, name = key.removeprefix("param:").rsplit("/", 1)
            params.setdefault(module, {})[name] = case[key]
    tree = {"params": params, "config": released()["config"]}
    tree["config"]["model"] |= {"modulate_scale": True, "layer_sizes": [24]}
    tree["config"]["dataset"] |= {"num_channels": 1, "resolution": 10}
    file = written(tree, tmp_path / "file.npz")
    assert functa("import-deepmind", file, "--out", tmp_path / "run")[0] == 0
    run = load_run(tmp_path / "run")
    latents = run.encode(list(case["targets"]))
    assert relative(latents, case["latents_by_step"][-1]) < TOLERANCE


def theirs(params: Any, targets: np.ndarray, coords: np.ndarray, steps: int) -> torch.Tensor:
    """The authors' fit, written out: from the file's own start, with rates that nobody clips."""
    weights = {
        f"{module}/{name}": torch.from_numpy(array.astype(np.float64))
        for module, inner in params.items()
        for name, array in inner.items()
    }

    def predict(latent: torch.Tensor) -> torch.Tensor:
        shifts = latent @ weights[f"{MAP}/w"] + weights[f"{MAP}/b"]
        x = torch.from_numpy(coords.astype(np.float64)).reshape(-1, 2)
        for i in range(4):
            layer = f"{ROOT}modulated_siren_layer{f'_{i}' if i else ''}/linear"
            x = x @ weights[f"{layer}/w"] + weights[f"{layer}/b"] + shifts[32 * i : 32 * (i + 1)]
            x = torch.sin(30.0 * x)
        return x @ weights[f"{LAST}/w"] + weights[f"{LAST}/b"] + 0.5

    fits = []
    for target in torch.from_numpy(targets.astype(np.float64)):
        latent = weights[LATENT_VECTOR].clone()
        for _ in range(steps):
            latent.requires_grad_()
            loss = (predict(latent) - target.reshape(-1, 3)).square().mean()
            (gradient,) = torch.autograd.grad(loss, latent)
            latent = (latent - weights[f"{RATES}/meta_sgd_lrs"] * gradient).detach()
        fits.append(latent)
    return torch.stack(fits)


def test_another_start_and_rates_beyond_the_range(functa, tmp_path, case):
    tree = released()
    rng = np.random.default_rng(0)
    start = rng.uniform(-0.2, 0.2, 16).astype(np.float32)
    rates = rng.uniform(-0.5, 4.0, 16).astype(np.float32)
    tree["params"][START]["latent_vector"] = start
    tree["params"][RATES]["meta_sgd_lrs"] = rates
    file = written(tree, tmp_path / "file.npz")
    code, _, err = functa("import-deepmind", file, "--out", tmp_path / "run")
    assert code == 0
    assert "beyond the range (0.0, 1.0)" in err
    run = load_run(tmp_path / "run")
    expected = theirs(tree["params"], case["targets"], case["coords"], steps=3)
    moved = run.encode(list(case["targets"])).numpy()
    assert relative(moved + start, expected) < TOLERANCE
    assert relative(moved, expected.numpy() - start) < TOLERANCE


def test_an_independent_fit_agrees_with_the_reference(case):
    fits = theirs(released()["params"], case["targets"], case["coords"], steps=3)
    assert relative(fits, case["latents_by_step"][-1]) < TOLERANCE


def test_one_rate_without_meta_sgd(functa, tmp_path, case):
    tree = released()
    del tree["params"][RATES]
    tree["config"]["model"]["use_meta_sgd"] = False
    tree["config"]["opt_inner"]["lr"] = 2.0
    file = written(tree, tmp_path / "file.npz")
    assert functa("import-deepmind", file, "--out", tmp_path / "run")[0] == 0
    params = {**tree["params"], RATES: {"meta_sgd_lrs": np.full(16, 2.0)}}
    expected = theirs(params, case["targets"], case["coords"], steps=3)
    ours = load_run(tmp_path / "run").encode(list(case["targets"]))
    assert relative(ours, expected) < TOLERANCE


@pytest.mark.parametrize("section", ["model", "dataset", "training", "opt_inner"])
def test_old_configurations_take_the_authors_values_and_say_so(functa, tmp_path, section, imported):
    """Whatever key is missing, the run is the same run."""
    tree = released()
    config = dict(tree["config"][section])
    if section == "dataset":
        config = {key: config[key] for key in ("num_channels", "type")}
    for key in config:
        del tree["config"][section][key]
    file = written(tree, tmp_path / "file.npz")
    code, _, err = functa("import-deepmind", file, "--out", tmp_path / "run")
    assert code == 0, err
    silent = {"type", "modulate_shift", "latent_init_scale", "use_meta_sgd"}
    if section != "opt_inner":  # of no consequence where rates are learned
        for key in config.keys() - (silent if section == "model" else set()):
            assert f"{section}.{key} is not in the file" in err
    for name in ("config.yaml", "weights.safetensors", "modality.json"):
        assert (tmp_path / "run" / name).read_bytes() == (imported / name).read_bytes()
    notes = json.loads((tmp_path / "run" / "published.json").read_text())["notes"]
    assert all(f"functa: {note}" in err for note in notes)


def test_a_missing_resolution_is_celeba_s(functa, tmp_path):
    tree = released()
    del tree["config"]["dataset"]["resolution"]
    file = written(tree, tmp_path / "file.npz")
    _, _, err = functa("import-deepmind", file, "--out", tmp_path / "run")
    assert "dataset.resolution is not in the file; taken as 64" in err
    assert load_run(tmp_path / "run").decode(torch.zeros(1, 16)).shape == (1, 64, 64, 3)


NAN = np.full(3, np.nan, np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            edit("config", "model", "width", to=64),
            "has shape (2, 32), but its configuration asks f",
        ),
        (edit("config", "model", "width", to="wide"), "model.width must be a whole number"),
        (edit("config", "model", "depth", to=6), "modulated_siren_layer_5/linear/w' and 1 more"),
        (edit("config", "model", "depth", to=10**9), "asks for 1000000000 layers"),
        (edit("config", "model", "depth", to=4), "has the parameter 'latent_modulated_siren/modu"),
        (edit("config", "model", "latent_dim", to=8), "shape (16,), but its configuration asks fo"),
        (edit("config", "model", "layer_sizes", to=(24,)), "mlp/~/linear_1/w"),
        (edit("config", "model", "modulate_scale", to=True), "asks for (16, 256)"),
        (edit("config", "model", "modulate_shift", to=False), "scales without shifts"),
        (edit("config", "model", "type", to="modulated_siren"), "type 'modulated_siren'"),
        (edit("config", "model", "w0", to=float("nan")), "model.w0 must be a finite number"),
        (edit("config", "training", "inner_steps", to=0), "meta.inner_steps must be at least 1"),
        (edit("config", "training", "inner_steps", to=1001), "inner_steps is 1001, but at most 1"),
        (edit("config", "training", "inner_steps", to=2**62), "but at most 1000 can be imported"),
        (edit("config", "dataset", "num_channels", to=2), "modality.channels must be one of"),
        (edit("config", "dataset", "num_channels", to=1), "asks for (32, 1)"),
        (edit("config", "dataset", "resolution", to="12"), "dataset.resolution is not a whole"),
        (edit("config", "dataset", "resolution", to=1), "modality.resolution must be at least 2"),
        (edit("config", "dataset", "num_channels", to=None), "num_channels is not a whole number"),
        (edit("config", "dataset", "type", to="video"), "no modality recognises"),
        (edit("config", "dataset", remove=True), "no modality recognises"),
        (edit("config", "model", "extra", to=b"x" * 99), "'extra' is no plain value"),
        (edit("config", "model", "extra", to="x" * 10**6), "'extra' is no plain value"),
        (edit("config", to=[]), "must both be mappings"),
        (edit("config", remove=True), "holds neither weights"),
        (edit("params", to={}), "lacks the parameter latent_modulated_siren/~/latent_vector"),
        (edit("params", FIRST, to=np.zeros(3)), "is no mapping of arrays"),
        (edit("params", FIRST, "w", to=3), "is no array of numbers"),
        (edit("params", FIRST, "w", to=np.zeros((2, 32), int)), "is no array of numbers"),
        (edit("params", LAST, remove=True), "modulated_siren_layer_4/linear/w' and 1 more"),
        (edit("params", LAST, "b", remove=True), "modulated_siren_layer_4/linear/b'"),
        (edit("params", LAST, "b", to=NAN), "linear/b holds NaN"),
        (edit("params", LAST, "b", to=np.array([0, np.inf, 0])), "linear/b holds NaN or infini"),
        (edit("params", LAST, "b", to=np.full(3, 1e300)), "linear/b holds NaN or infinity as flo"),
        (edit("params", LAST, "b", to=np.zeros((1, 3))), "shape (1, 3), but its configuration a"),
        (edit("params", RATES, remove=True), "lacks the parameter 'latent_modulated_siren/~/meta"),
        (edit("params", "stranger", to={"w": np.zeros(2)}), "has the parameter 'stranger/w'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_refused(refused, tmp_path, change, message):
    tree = released()
    change(tree)
    assert message in refused(written(tree, tmp_path / "file.npz"), "--out", "run")


def test_a_start_whose_shift_overflows_is_refused(refused, tmp_path):
    """All parameters are finite; what our learner makes of them is not."""
    tree = released()
    tree["params"][START]["latent_vector"] = np.full(16, 1e30, np.float32)
    tree["params"][MAP]["w"] = np.full_like(tree["params"][MAP]["w"], 1e30)
    message = refused(written(tree, tmp_path / "file.npz"), "--out", "run")
    assert "network.to_modulations.0.bias, computed from its parameters, overflows" in message


def test_big_endian_files_are_the_same_weights_and_modulations(functa, tmp_path, imported):
    tree = released()
    for inner in tree["params"].values():
        for key, array in inner.items():
            inner[key] = array.astype(">f4")
    file = written(tree, tmp_path / "weights.npz")
    run = tmp_path / "run"
    code, _, err = functa("import-deepmind", file, "--out", run)
    assert code == 0, err
    name = "weights.safetensors"
    assert (run / name).read_bytes() == (imported / name).read_bytes()

    sets = modulation_set()
    swapped = {
        split: {key: array.astype(">f8") for key, array in content.items()}
        for split, content in sets.items()
    }
    file = written(swapped, tmp_path / "modulations.npz")
    code, _, err = functa("import-deepmind", file, "--run", run)
    assert code == 0, err
    functaset = load_run(run).functaset("test")
    np.testing.assert_array_equal(functaset.latents, sets["test"]["modulation"])
    np.testing.assert_array_equal(functaset.psnr_db, sets["test"]["psnr"])


def test_a_penalty_around_another_start_is_refused(refused, tmp_path):
    tree = released()
    tree["config"]["model"]["l2_weight"] = 0.1
    tree["params"][START]["latent_vector"] = np.ones(16, np.float32)
    assert "cannot be carried over" in refused(written(tree, tmp_path / "f.npz"), "--out", "run")


def test_other_files_are_refused(refused, tmp_path, case):
    assert "No such file" in refused("absent.npz", "--out", "run")
    assert "Is a directory" in refused(tmp_path, "--out", "run")
    assert "zip archive" in refused(PARITY / "image_shift_linear.npz", "--out", "run")
    (tmp_path / "text.npz").write_text("hello")
    assert "not a whole pickle" in refused("text.npz", "--out", "run")
    cut = NUMPY.read_bytes()[:-100]
    (tmp_path / "cut.npz").write_bytes(cut)
    assert "not a whole pickle" in refused("cut.npz", "--out", "run")
    assert "holds something else" in refused(written([1], tmp_path / "l.npz"), "--out", "run")
    assert "it holds 'a', 'b'" in refused(written({"a": 1, "b": 2}, tmp_path / "d.npz"))


def test_where_it_is_written(refused, tmp_path, imported):
    assert "--out says which run" in refused(NUMPY)
    assert "holds a run already" in refused(NUMPY, "--out", imported)
    (tmp_path / "notes.txt").write_text("mine")
    assert "is not empty" in refused(NUMPY, "--out", ".")
    assert "is a file" in refused(NUMPY, "--out", "notes.txt")
    assert "leave --run" in refused(NUMPY, "--run", imported, "--out", "x")
    assert "nowhere" in refused(NUMPY, "--out", "x", "--data", "nowhere")


def test_nothing_half_written_is_left(functa, tmp_path, monkeypatch):
    from functa_core.runs import importing

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(importing, "write_new", full)
    code, _, err = functa("import-deepmind", NUMPY, "--out", tmp_path / "run")
    assert code == 2
    assert "No space left" in err
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.slow
def test_gadgets_through_the_command_line(tmp_path):
    """A real process, in which jax and the others that the files name cannot be imported."""
    program = (
        "import sys\n"
        "for name in ('jax', 'jaxlib', 'haiku', 'ml_collections', 'dill'):\n"
        "    sys.modules[name] = None\n"
        "from functa_core.cli.main import main\n"
        "main()\n"
    )

    def call(file: Path, out: str) -> subprocess.CompletedProcess[str]:
        arguments = ["import-deepmind", str(file), "--out", str(tmp_path / out)]
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ)

    marker = tmp_path / "marker"
    data, message = pickles.gadgets(marker)["nested in params"]
    (tmp_path / "gadget.npz").write_bytes(data)
    refused = call(tmp_path / "gadget.npz", "bad")
    assert refused.returncode == 2, refused.stderr
    assert message in refused.stderr
    assert "Nothing in it was run" in refused.stderr
    assert not marker.exists()
    assert not (tmp_path / "bad").exists()
    fine = call(JAX, "good")
    assert fine.returncode == 0, fine.stderr
    assert fine.stdout.strip() == str(tmp_path / "good")


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.floats(), max_size=3),
    st.just({}),
    st.just(np.zeros((2, 0), np.float32)),
    st.just(np.full((1,), np.inf)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), JUNK, st.booleans()), min_size=1, max_size=4))
def test_any_edit_is_imported_or_refused(edits):
    """Wherever junk is put, or something left out: a run, or a `UserError`."""
    tree = released()
    for number, junk, remove in edits:
        places = [
            (inner, key)
            for inner in (tree["config"], *tree["config"].values(), *tree["params"].values())
            if isinstance(inner, dict)
            for key in inner
        ]
        inner, key = places[number % len(places)]
        if remove:
            del inner[key]
        else:
            inner[key] = junk
    try:
        made = read_checkpoint(tree, NUMPY, "images")
    except UserError:
        return
    assert all(bool(tensor.isfinite().all()) for tensor in made.tensors.values())


def test_several_modalities_and_broken_ones(functa, refused, tmp_path, monkeypatch):
    import functa_clips

    def answer(given: Any) -> None:
        monkeypatch.setattr(functa_clips.Clips, "from_published", classmethod(given))

    answer(lambda cls, config: Published({}, {"label_names": []}))
    message = refused(NUMPY, "--out", "run")
    assert "recognised by clips and images; choose one with --modality NAME" in message
    assert "has shape (2, 32), but its configuration asks for (1, 32)" in refused(
        NUMPY, "--out", "run", "--modality", "clips"
    )
    assert "asked: nerf" in refused(NUMPY, "--out", "run", "--modality", "nerf")
    assert "Did you mean 'images'?" in refused(NUMPY, "--out", "run", "--modality", "image")

    answer(lambda cls, config: config.clear() or {"options": 1})
    assert "instead of Published" in refused(NUMPY, "--out", "run", "--modality", "clips")
    answer(lambda cls, config: 1 / 0)
    assert "ZeroDivisionError" in refused(NUMPY, "--out", "run", "--modality", "clips")
    code, _, err = functa("import-deepmind", NUMPY, "--out", tmp_path / "run")
    assert code == 0
    assert "left out: plugin functa-clips 1.0 failed: from_published of modality 'clips'" in err


@pytest.mark.slow
def test_evaluating_without_data_and_resuming(functa, tmp_path, imported):
    run = tmp_path / "run"
    shutil.copytree(imported, run)
    before = (run / "weights.safetensors").read_bytes()
    code, out, err = functa("train", "--resume", "--out", run)
    assert (code, out.strip()) == (0, str(run)), err
    code, _, err = functa("evaluate", "--run", run)
    assert code == 0, err
    assert "the modality's embedded set" in err
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["data"] == "embedded"
    assert metrics["steps"] is None
    assert metrics["reconstruction"]["test"]["psnr_db"] > 0
    assert (run / "weights.safetensors").read_bytes() == before


def test_evaluating_on_ones_own_data(functa, tmp_path, case):
    np.save(tmp_path / "targets.npy", case["targets"])
    run = tmp_path / "run"
    code, _, err = functa(
        "import-deepmind", NUMPY, "--out", run, "--data", tmp_path / "targets.npy"
    )
    assert code == 0, err
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["n_train"], metrics["n_test"]) == (2, 1)
    code, _, err = functa("evaluate", "--run", run)
    assert code == 0
    assert "embedded" not in err
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["data"] == str(tmp_path / "targets.npy")
    both = metrics["reconstruction"]["train"]["psnr_db"] * 2
    both += metrics["reconstruction"]["test"]["psnr_db"]
    assert both / 3 == pytest.approx(case["psnr_by_step"][:, -1].mean(), rel=1e-5)
    before = (run / "weights.safetensors").read_bytes()
    assert functa("run", "--resume", "--out", run)[0] == 0
    assert (run / "report.html").is_file()
    assert (run / "weights.safetensors").read_bytes() == before
    assert not (run / "checkpoints").exists()
