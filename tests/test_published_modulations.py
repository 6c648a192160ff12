"""Published modulation sets become functasets, and functasets become npz files."""

import json

import numpy as np
import pytest
from published import START, edit, modulation_set, released, written

from functa_core import Functaset, load_run


def test_modulations_become_functasets_and_go_back(functa, tmp_path, case):
    tree = released()
    start = np.random.default_rng(1).uniform(-0.01, 0.01, 16).astype(np.float32)
    tree["params"][START]["latent_vector"] = start
    run = tmp_path / "run"
    np.save(tmp_path / "targets.npy", case["targets"])
    data = ["--data", tmp_path / "targets.npy"]
    functa("import-deepmind", written(tree, tmp_path / "weights.npz"), "--out", run, *data)
    sets = modulation_set()
    file = written(sets, tmp_path / "modulations.npz")
    code, out, err = functa("import-deepmind", file, "--run", run)
    assert code == 0, err
    paths = [run / "functaset" / f"{split}.safetensors" for split in ("train", "test")]
    assert out.split() == [str(path) for path in paths]
    opened = load_run(run)
    for split, content in sets.items():
        functaset = opened.functaset(split)
        np.testing.assert_allclose(functaset.latents, content["modulation"] - start, atol=1e-7)
        np.testing.assert_array_equal(functaset.psnr_db, content["psnr"])
        assert functaset.ids[1] == f"{split}/1"
        assert functaset.published
        assert functaset.modality == "images"
        assert functaset.inner_steps == 3

    target = tmp_path / "deep" / "out.npz"
    code, _, err = functa("export-npz", *paths, "--out", target, "--run", run)
    assert code == 0, err
    with np.load(target, allow_pickle=False) as found:
        for split, content in sets.items():
            np.testing.assert_allclose(
                found[f"{split}/modulation"], content["modulation"], atol=1e-6
            )
            np.testing.assert_array_equal(found[f"{split}/psnr"], content["psnr"])
            assert found[f"{split}/modulation"].dtype == np.float32
        assert list(found["test/ids"]) == ["test/0", "test/1", "test/2"]
        assert json.loads(str(found["about"]))["modality"] == "images"

    # Figures are of the run's own data, and the published latents are not lost to them.
    before = [path.read_bytes() for path in paths]
    code, _, err = functa("evaluate", "--run", run)
    assert code == 0, err
    assert "holds published latents and is left as it is" in err
    assert [path.read_bytes() for path in paths] == before
    code, _, _ = functa("decode", "--run", run, "--latents", paths[1], "--out", tmp_path / "p")
    assert code == 0
    assert len(list((tmp_path / "p").glob("*.png"))) == 3


def test_exporting_a_functaset_with_labels(functa, tmp_path, clips_run):
    file = clips_run / "functaset" / "test.safetensors"
    code, out, err = functa("export-npz", file, "--out", tmp_path / "t.npz")
    assert (code, out.strip()) == (0, str(tmp_path / "t.npz")), err
    functaset = Functaset.load(file)
    with np.load(tmp_path / "t.npz", allow_pickle=False) as found:
        assert set(found) == {"test/modulation", "test/psnr", "test/ids", "test/labels", "about"}
        np.testing.assert_array_equal(found["test/modulation"], functaset.latents)
        np.testing.assert_array_equal(found["test/labels"], functaset.labels)
        assert list(found["test/ids"]) == functaset.ids
        assert json.loads(str(found["about"]))["weights_sha256"] == functaset.weights_sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            edit("train", "modulation", to=np.zeros((5, 8))),
            "(5, 8), but this run's latents need (n",
        ),
        (edit("train", "modulation", to=np.zeros((0, 16))), "has shape (0, 16)"),
        (edit("train", "modulation", to=np.zeros(16)), "has shape (16,)"),
        (edit("train", "modulation", to=np.full((5, 16), np.nan)), "train holds NaN"),
        (edit("train", "modulation", to=[1.0]), "'modulation' is no array"),
        (edit("test", "psnr", to=np.zeros(2)), "'psnr' has shape (2,)"),
        (edit("test", "psnr", to=np.array([1, np.nan, 2])), "test holds NaN"),
        (edit("test", "psnr", to=np.array([1, np.inf, 2])), "test holds NaN or infinity"),
        (edit("test", "psnr", to=np.full(3, 1e300)), "test holds NaN or infinity"),
        (edit("train", "modulation", to=np.full((5, 16), 1e300)), "train holds NaN or infinity"),
        (edit("test", "psnr", remove=True), "'modulation' and 'psnr' are needed, found modulation"),
        (edit("test", to=3), "'modulation' and 'psnr' are needed, found 3"),
        (edit("val", to={}), "holds neither weights"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_modulations_that_do_not_fit(refused, tmp_path, imported, change, message):
    tree = modulation_set()
    change(tree)
    file = written(tree, tmp_path / "file.npz")
    assert message in refused(file, "--run", imported, "--out", "out")


def test_modulations_in_the_wrong_place(refused, functa, tmp_path, imported, clips_run):
    file = written(modulation_set(), tmp_path / "file.npz")
    assert "import those first" in refused(file, "--out", "out")
    assert "no run in nowhere" in refused(file, "--run", "nowhere")
    assert "was trained here" in refused(file, "--run", clips_run, "--out", "out")
    assert "neither --modality" in refused(file, "--run", imported, "--modality", "images")
    assert functa("import-deepmind", file, "--run", imported, "--out", "out")[0] == 0
    assert "is there already" in refused(file, "--run", imported, "--out", "out")


def test_exports_that_are_refused(functa, tmp_path, imported, clips_run):
    test, train = (clips_run / "functaset" / f"{s}.safetensors" for s in ("test", "train"))
    out = tmp_path / "x.npz"
    for arguments, message in (
        ([test, "--out", tmp_path / "x.txt"], "must end in .npz"),
        ([test, "--out", tmp_path], "is a folder"),
        ([tmp_path / "absent", "--out", out], "no functaset at"),
        ([test, test, "--out", out], "splits test, test"),
        ([test, "--out", out, "--run", imported], "belongs to other weights"),
        ([test, "--out", out, "--run", clips_run], "was trained here"),
    ):
        code, _, err = functa("export-npz", *arguments)
        assert (code, message in err) == (2, True), err
    assert not list(tmp_path.iterdir())
    assert functa("export-npz", test, train, "--out", out)[0] == 0
