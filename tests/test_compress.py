"""Latents in few bits: exact round trips, real sizes, and figures that files bear out."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import functa_core
from functa_core import UserError, decompress, load_run
from functa_core.latents.quantise import Compressed, Quantiser
from functa_core.latents.standardise import Standardiser

SHA = "ab" * 32


def latents_of(seed, *shape, scale=0.3):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + 0.1


def quantiser_of(training, bits, reach=3.0):
    return Quantiser(Standardiser.of(training), bits, reach)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 9),
    grid=st.sampled_from([(1,), (7,), (2, 3), (2, 2, 2)]),
    bits=st.integers(2, 12),
    reach=st.floats(0.5, 8.0),
)
def test_a_file_gives_back_exactly_the_quantised_latents(
    tmp_path_factory, seed, count, grid, bits, reach
):
    training = latents_of(seed, 20, *grid).flatten(1)
    quantiser = quantiser_of(training, bits, reach)
    given_latents = latents_of(seed + 1, count, *grid, scale=1.0)  # many beyond the reach
    path = tmp_path_factory.mktemp("c") / "z.safetensors"
    Compressed.of(given_latents, quantiser, quantiser.frequencies(training), SHA).save(path)
    back = decompress(path, SHA)
    wanted = quantiser.values(quantiser.symbols(given_latents.flatten(1)))
    assert torch.equal(back, wanted.reshape(given_latents.shape))
    # What is quantised already stays as it is.
    again = Compressed.of(back, quantiser, quantiser.frequencies(training), SHA).latents()
    assert torch.equal(again, back)


def test_levels_are_equally_far_apart_and_errors_at_most_half_a_step():
    training = latents_of(0, 200, 5)
    quantiser = quantiser_of(training, 4)
    mean, std = training.numpy().mean(0), training.numpy().std(0)
    levels = mean + std * np.linspace(-3, 3, 15)[:, None]
    found = quantiser.values(np.arange(15, dtype=np.int32)[:, None].repeat(5, 1)).numpy()
    np.testing.assert_allclose(found, levels, rtol=1e-4, atol=1e-6)
    values = latents_of(1, 100, 5)
    nearest = np.abs(values.numpy()[:, None] - levels).min(1)
    error = (quantiser.values(quantiser.symbols(values)) - values).abs().numpy()
    np.testing.assert_allclose(error, nearest, atol=1e-5)


def test_a_dimension_with_one_value_is_kept_to_the_last_bit():
    training = latents_of(0, 50, 3)
    training[:, 1] = 0.25
    quantiser = quantiser_of(training, 3)
    assert (quantiser.values(quantiser.symbols(training))[:, 1] == 0.25).all()


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_the_coded_size_is_the_entropy_under_the_training_frequencies(bits):
    training, test = latents_of(0, 300, 64), latents_of(1, 200, 64)
    quantiser = quantiser_of(training, bits)
    symbols = quantiser.symbols(test)
    counts = np.bincount(quantiser.symbols(training).ravel(), minlength=2**bits - 1)
    model = np.maximum(counts / counts.max() * 65535, 1.0)
    ideal = -np.log2((model / model.sum())[symbols]).sum()
    words = Compressed.of(test, quantiser, quantiser.frequencies(training), SHA).words
    assert 0.999 * ideal <= 32 * len(words) <= 1.01 * ideal + 64
    assert 32 * len(words) < bits * symbols.size  # less than without entropy coding


@pytest.fixture
def stored(tmp_path):
    training = latents_of(0, 20, 6)
    quantiser = quantiser_of(training, 4)
    path = tmp_path / "z.safetensors"
    Compressed.of(training, quantiser, quantiser.frequencies(training), SHA).save(path)
    return path


def test_files_that_are_something_else_are_refused(stored, tmp_path):
    with pytest.raises(UserError, match="other weights"):
        decompress(stored, "cd" * 32)
    with pytest.raises(UserError, match="no compressed latents at"):
        decompress(tmp_path / "nothing")
    other = tmp_path / "other"
    for content in (b"", b"no tensors", stored.read_bytes()[:-4]):
        other.write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            decompress(other)
    from safetensors.numpy import load_file, save_file

    arrays = load_file(stored)
    about = {"format": 1, "bits": 4, "reach": 3.0, "shape": [20, 6], "weights_sha256": SHA}
    save_file(arrays, other, {"compressed": json.dumps(about)})
    assert torch.equal(decompress(other), decompress(stored))
    for wrong in (
        {**about, "format": 2},
        {**about, "bits": 5},
        {**about, "bits": "4"},
        {**about, "shape": [20, 7]},
        {**about, "shape": [20]},
        {**about, "reach": "far"},
        {"bits": 4},
        4,
    ):
        save_file(arrays, other, {"compressed": json.dumps(wrong)})
        with pytest.raises(UserError, match="is damaged"):
            decompress(other)


def compressed(functa, run, *options):
    code, printed, err = functa("compress", "--run", run, *options)
    assert code == 0, err
    return json.loads(printed[printed.index("{") :])


def test_the_command_writes_what_its_figures_say(clips_run, functa, tmp_path):
    run = shutil.copytree(clips_run, tmp_path / "run")
    figures = compressed(functa, run, "--set", "tasks.compress.bits=[3, 6]")
    assert json.loads((run / "metrics.json").read_text())["tasks"]["compress"] == figures
    opened = functa_core.load_run(run)
    weights = 32 * sum(p.numel() for p in opened.encoder.learner.network.parameters())
    n = figures["n_test"]
    for bits in (3, 6):
        path = run / f"tasks/compress/latents-{bits}bit.safetensors"
        row = figures["curve"][str(bits)]
        assert row["bits_per_signal"] == pytest.approx(8 * path.stat().st_size / n)
        with_weights = row["with_weights_bits_per_signal"]
        assert with_weights - row["bits_per_signal"] == pytest.approx(weights / n)
        assert row["coded_bits_per_signal"] < row["bits_per_signal"]
        latents = decompress(path, opened.weights_sha256)
        errors = np.array([error_of(opened, latents, i) for i in range(n)])
        assert row["psnr_db"] == pytest.approx(np.mean(10 * np.log10(4.0 / errors)), abs=1e-3)
    top = {key: figures[key] for key in ("bits_per_signal", "psnr_db")}
    assert top == {key: figures["curve"][str(figures["bits"])][key] for key in top}
    assert figures["unquantised"]["bits_per_signal"] == 32 * 6
    fitted = opened.functaset("test").psnr_db
    assert figures["unquantised"]["psnr_db"] == pytest.approx(float(fitted.mean()), abs=1e-4)
    code, _, err = functa("report", "--run", run)
    assert code == 0, err
    assert "Task: compress" in (run / "report.html").read_text()


@torch.no_grad()
def error_of(run, latents, place):
    """Mean squared error of a test clip decoded from its latent."""
    clip = run.dataset("test")[place]
    queries = torch.from_numpy((np.arange(len(clip)) + 0.5) / len(clip)).float()[:, None]
    return np.mean((run.field(latents[place : place + 1])(queries)[0, :, 0].numpy() - clip) ** 2)


def test_the_codec_stands_beside(clips_run, functa, tmp_path):
    figures = compressed(functa, clips_run_copy(clips_run, tmp_path))
    curve = figures["baseline"]["rounding"]["curve"]
    lengths = [len(clip) for clip in load_run(clips_run).dataset("test")]
    assert curve["8"]["bits_per_signal"] == pytest.approx(8 * np.mean(lengths))
    assert curve["2"]["psnr_db"] < 30 < curve["8"]["psnr_db"]


def clips_run_copy(clips_run, tmp_path):
    return shutil.copytree(clips_run, tmp_path / "run")


def test_the_same_figures_and_files_again(clips_run, functa, tmp_path):
    run = clips_run_copy(clips_run, tmp_path)
    first, second = (
        compressed(functa, run, "--out", tmp_path / name) for name in ("first", "second")
    )
    assert first == second
    name = "latents-5bit.safetensors"
    assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("bits=[]", "at least one number"),
        ("bits=[1]", "at least 2"),
        ("bits=[13]", "at most 12"),
        ("reach=0", "greater than 0"),
        ("bit=[4]", "Did you mean 'tasks.compress.bits'"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_written(clips_run, functa, option, said):
    code, _, err = functa("compress", "--run", clips_run, "--set", f"tasks.compress.{option}")
    assert code == 2
    assert said in err
    assert not (clips_run / "tasks" / "compress").exists()


def test_without_the_coder_the_task_says_what_to_install(clips_run, functa, monkeypatch):
    monkeypatch.setattr("functa_core.tasks.compress.coder_is_there", lambda: False)
    code, _, err = functa("compress", "--run", clips_run)
    assert code == 2
    assert "pip install 'functa-core[tasks]'" in err
