"""Bad input: exit code 2, one or two lines that help, and nothing written."""

import json
import shutil

import numpy as np
import pytest
import torch

from functa_core import Functaset
from functa_core.files import save_tensors


@pytest.fixture
def refused(functa, tmp_path, monkeypatch):
    """Run a command that must be refused; give its message."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments) -> str:
        before = sorted(tmp_path.rglob("*"))
        code, out, err = functa(*arguments)
        assert code == 2, (out, err)
        assert sorted(tmp_path.rglob("*")) == before, "something was written"
        assert out == ""
        assert err.startswith("functa: error: ")
        assert err.count("\n") <= 2, err
        assert "Traceback" not in err
        return err

    return call


CLIPS = ["--modality", "clips"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--modality", "clps"], "Did you mean 'clips'?"),
        ([], "Give --modality"),
        ([*CLIPS, "--data", "nowhere.npz"], "nowhere.npz"),
        ([*CLIPS, "--set", "meta.stpes=3"], "no option 'meta.stpes' (--set). Did you mean 'meta.s"),
        ([*CLIPS, "--set", "modality.piont=3"], "Did you mean 'modality.points'?"),
        ([*CLIPS, "--set", "mta.steps=3"], "Did you mean 'meta'?"),
        ([*CLIPS, "--set", "meta.steps=many"], "meta.steps must be a whole number, got 'many'"),
        ([*CLIPS, "--set", "meta.steps=2.5"], "meta.steps must be a whole number"),
        ([*CLIPS, "--set", "meta.steps=true"], "meta.steps must be a whole number"),
        ([*CLIPS, "--set", "meta.lr=-1"], "meta.lr must be greater than 0"),
        (
            [*CLIPS, "--set", "meta.precision=bfloat16", "--set", "model.modulate_scale=true"],
            "meta.precision=bfloat16 is for networks whose shifts alone are modulated",
        ),
        ([*CLIPS, "--set", "meta.lr=.nan"], "meta.lr must be a finite number"),
        ([*CLIPS, "--set", "meta.steps=0"], "meta.steps must be at least 1"),
        ([*CLIPS, "--set", "model.depth=1"], "model.depth must be at least 2"),
        ([*CLIPS, "--set", "modality.points=0"], "modality.points must be at least 1"),
        ([*CLIPS, "--set", "modality.name=images"], "for modality 'images'"),
        ([*CLIPS, "--set", "tasks.generate.steps=3"], "no option 'tasks.generate.steps'"),
        ([*CLIPS, "--set", "meta.steps"], "--set takes section.key=value"),
        ([*CLIPS, "--set", "meta.steps=["], "not valid YAML"),
        ([*CLIPS, "--set", "meta.steps=5", "--set", "meta.steps.x=3"], "'steps' was given a value"),
        ([*CLIPS, "--set", "meta.rates_init=[0.1,0.005]"], "rates_init must go from low to high"),
        ([*CLIPS, "--set", "meta.rates_init=[0.1]"], "must be a list of 2, each a number"),
        ([*CLIPS, "--set", "tasks.impute.masks=[first-hlf]"], "Did you mean 'first-half'?"),
        ([*CLIPS, "--set", "tasks.impute.mask_file=no.npy"], "no.npy cannot be read"),
        ([*CLIPS, "--data", ""], "data.path is empty"),
        ([*CLIPS, "--set", "data.path=' '"], "data.path is empty"),
        ([*CLIPS, "--out", "x" * 300], "File name too long"),
        ([*CLIPS, "--out", "/proc/functa"], "cannot be made"),
        ([*CLIPS, "--seed", "x"], "--seed"),
        ([*CLIPS, "--set", "seed=-3"], "seed must be"),
        ([*CLIPS, "--device", "cuda:99"], "no device 'cuda:99'"),
        ([*CLIPS, "--device", "tpu"], "no device 'tpu'"),
        ([*CLIPS, "--config", "absent.yaml"], "absent.yaml"),
        ([*CLIPS, "--resume"], "--resume needs --out"),
        ([*CLIPS, "--colour"], "--colour"),
        ([*CLIPS, "extra"], "extra"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("command", ["run", "train"])
def test_training_commands(command, arguments, message, refused):
    assert message in refused(command, *arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("meta: [", "not valid YAML"),
        ("- 1", "mapping of sections"),
        ("meta: 3", "section 'meta' must be a mapping"),
        ("modality: clips", "section 'modality' must be a mapping, got 'clips'"),
        ("meta: {stepz: 3}", "Did you mean 'meta.steps'?"),
        ("modality: {name: nerf}", "for modality 'nerf'"),
        ("tasks: 3", "section 'tasks' must be a mapping"),
        ("on: 1", "no option 'True'"),
        ("? [a, b]\n: 1", "not valid YAML"),
        ("model: {map_hidden: 3}", "model.map_hidden must be a list"),
        ("model: {map_hidden: [0]}", "model.map_hidden must be at least 1"),
        ("meta: {steps: 3, lr: 0.1, steps: 4}", "'steps' stands there twice"),
    ],
)
def test_configuration_files(text, message, refused, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    assert message in refused("train", *CLIPS, "--config", "c.yaml")


def test_a_binary_configuration_file(refused, tmp_path):
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not valid YAML" in refused("train", *CLIPS, "--config", "c.yaml")


def test_an_output_folder_in_use(refused, tmp_path, clips_run):
    shutil.copytree(clips_run, tmp_path / "run")
    assert "holds a run already" in refused("run", *CLIPS, "--out", "run")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("mine")
    assert "not empty and holds no run" in refused("run", *CLIPS, "--out", "photos")
    assert "is a file" in refused("run", *CLIPS, "--out", "photos/a.txt")
    assert "is a file" in refused("run", *CLIPS, "--out", "photos/a.txt/run")
    (tmp_path / "link").symlink_to("nowhere")
    assert "a link to what is not there" in refused("run", *CLIPS, "--out", "link")


def test_resuming_another_run(refused, tmp_path, clips_run):
    shutil.copytree(clips_run, tmp_path / "run")
    resume = ["--out", "run", "--resume"]
    message = refused("run", "--modality", "images", *resume)
    assert "holds a run of modality 'clips'" in message
    assert "another seed" in refused("run", *CLIPS, *resume, "--seed", 5)
    message = refused("run", *CLIPS, *resume, "--set", "meta.steps=31")
    assert "another meta.steps" in message
    assert "Did you mean" in refused("run", *CLIPS, *resume, "--set", "meta.stepz=31")


def test_a_directory_without_a_trained_run(refused, tmp_path, clips_run):
    for command in (["evaluate"], ["report"], ["encode", "--out", "x.safetensors"]):
        assert "no run in" in refused(*command, "--run", "nothing")
    shutil.copytree(clips_run, tmp_path / "half")
    (tmp_path / "half" / "weights.safetensors").unlink()
    for command in (["evaluate"], ["report"], ["encode", "--out", "x.safetensors"]):
        message = refused(*command, "--run", "half")
        assert "not trained yet" in message
        assert "functa train --out half --resume" in message


def test_a_run_that_another_process_started_first(functa, tmp_path, monkeypatch):
    from functa_core.runs import starting

    def late(directory):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "config.yaml").write_text("theirs")

    monkeypatch.setattr(starting, "check_fresh", late)
    code, _, err = functa("train", *CLIPS, "--out", tmp_path / "run")
    assert code == 2
    assert "holds a run already" in err
    assert (tmp_path / "run" / "config.yaml").read_text() == "theirs"
    assert len(list((tmp_path / "run").iterdir())) == 1


def test_weights_of_another_shape(refused, tmp_path, clips_run):
    shutil.copytree(clips_run, tmp_path / "run")
    text = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(text.replace("width: 16", "width: 17"))
    assert "does not fit" in refused("encode", "--run", "run", "--out", "x.safetensors")


def test_functasets(refused, tmp_path, clips_run):
    other = Functaset.load(clips_run / "functaset" / "test.safetensors")
    import attrs

    attrs.evolve(other, weights_sha256="0" * 64).save(tmp_path / "other.safetensors")
    (tmp_path / "junk.safetensors").write_text("junk")
    save_tensors(tmp_path / "plain.safetensors", {"latents": other.latents}, {})
    old = {"functa": json.dumps({"schema_version": 0})}
    save_tensors(tmp_path / "old.safetensors", {"latents": other.latents}, old)
    part = {"functa": json.dumps({"schema_version": 1})}
    save_tensors(tmp_path / "part.safetensors", {"latents": other.latents}, part)
    for name, message in {
        "absent": "no functaset at",
        "other": "other weights",
        "junk": "not a functaset",
        "plain": "not a functaset",
        "old": "schema version 0",
        "part": "not a whole functaset",
    }.items():
        decode = ["decode", "--run", clips_run, "--latents", f"{name}.safetensors", "--out", "d"]
        assert message in refused(*decode)
        if name != "other":
            assert message in refused("functaset", "info", f"{name}.safetensors")


def test_encoding(refused, tmp_path, clips_run):
    encode = ["encode", "--run", clips_run]
    assert "must end in .safetensors" in refused(*encode, "--out", "x.npz")
    assert "is a folder" in refused(*encode, "--out", tmp_path)
    assert "--split must be" in refused(*encode, "--out", "x.safetensors", "--split", "val")
    missing = ["--data", "nowhere", "--out", "x.safetensors"]
    assert "nowhere" in refused(*encode, *missing)
    assert "--out" in refused(*encode)
    (tmp_path / "notes.txt").write_text("mine")
    assert "is a file" in refused(*encode, "--out", "notes.txt/x.safetensors")


def test_files_that_are_not_ours_to_replace(refused, functa, tmp_path, clips_run):
    shutil.copytree(clips_run, tmp_path / "run")
    test = tmp_path / "run" / "functaset" / "test.safetensors"
    save_tensors(tmp_path / "model.safetensors", {"w": torch.zeros(3)}, {})
    for name in ("mine.npz", "mine.parquet", "mine.json"):
        (tmp_path / name).write_text("{}")
    np.savez(tmp_path / "images.npz", images=np.zeros(3), about=np.zeros(3))
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    encode = ["encode", "--run", "run", "--split", "test", "--out"]
    commands = [
        [*encode, "run/weights.safetensors"],
        [*encode, "model.safetensors"],
        ["functaset", "concat", test, "--out", "model.safetensors"],
        ["export-npz", test, "--out", "mine.npz"],
        ["export-npz", test, "--out", "images.npz"],
        ["export-npz", test, "--out", "array.npz"],
        ["functaset", "export", test, "--out", "mine.parquet"],
        ["bench", "--out", "mine.json"],
    ]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for command in commands:
        assert "is not what this command writes" in refused(*command)
    assert "one of the files" in refused("functaset", "concat", test, test, "--out", test)
    assert {path: path.read_bytes() for path in before} == before
    for command in (
        [*encode, "new.safetensors"],
        ["export-npz", test, "--out", "new.npz"],
        ["functaset", "export", test, "--out", "new.parquet"],
    ):
        for _ in range(2):  # what it wrote itself it writes again
            code, _, err = functa(*command)
            assert code == 0, err


def test_what_was_decoded_is_not_written_over(refused, tmp_path, clips_run, functa):
    latents = clips_run / "functaset" / "test.safetensors"
    decode = ["decode", "--run", clips_run, "--latents", latents, "--out", "photos"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.txt").write_text("mine")
    assert functa(*decode)[0] == 0
    assert (tmp_path / "photos" / "notes.txt").read_text() == "mine"
    assert "photos has a 000000" in refused(*decode)


def test_a_task_takes_its_own_options_only(refused, clips_run):
    others = ["--set", "tasks.generate.samples=2"]
    assert "tasks.generate: a task takes options of its own only" in refused(
        "impute", "--run", clips_run, *others
    )


def test_decoding_into_the_wrong_place(refused, tmp_path, clips_run):
    latents = clips_run / "functaset" / "test.safetensors"
    decode = ["decode", "--run", clips_run, "--latents", latents, "--out"]
    (tmp_path / "notes.txt").write_text("mine")
    assert "is a file" in refused(*decode, "notes.txt/d")
    assert "is a run" in refused(*decode, clips_run)


def test_looking(refused, tmp_path):
    assert "Did you mean 'clips'?" in refused("config", "--modality", "clip")
    assert "nowhere" in refused("inspect", *CLIPS, "--data", "nowhere")
    assert "Did you mean 'inspect'?" in refused("inspct")
    (tmp_path / "notes.txt").write_text("mine")
    assert "is a file" in refused("inspect", *CLIPS, "--out", "notes.txt")
    assert "cannot be made" in refused("inspect", *CLIPS, "--out", "notes.txt/d")


def test_a_bug_is_not_the_users(functa, monkeypatch):
    import functa_clips

    monkeypatch.setattr(functa_clips.Clips, "dataset", lambda self, split: 1 / 0)
    code, _, err = functa("inspect", *CLIPS)
    assert code == 1
    assert "bug: ZeroDivisionError" in err
    assert "--debug" in err
    assert "Traceback" not in err
    code, _, err = functa("inspect", *CLIPS, "--debug")
    assert code == 1
    assert "Traceback" in err
