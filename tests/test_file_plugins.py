"""A plugin that is one file: `--plugin FILE.py`, there and in every later command of the run."""

import json

import pytest
import yaml

import functa_core
from functa_core.files import sha256

ONE = """
from __future__ import annotations

from functa_clips import Clips

class Base(Clips):
    "What the modality shares with others."

class Mine(Base):
    name = "mine"

Again = Mine
LISTS = [[]]
"""
TWO = ONE + "class Other(Base):\n    name = 'other'\n"
TINY = ("--set", "meta.steps=2", "--set", "modality.bars=9")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(ONE)
    return path


@pytest.mark.slow
def test_a_run_remembers_its_plugin_file(functa, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "run"
    code, _, err = functa("run", "--plugin", "mine.py", "--out", root, *TINY)
    assert code == 0, err
    assert {path.name for path in tmp_path.iterdir()} == {"mine.py", "run"}  # no __pycache__
    stored = yaml.safe_load((root / "config.yaml").read_text())
    assert stored["modality"]["name"] == "mine"
    assert stored["modality"]["plugin"] == str(file)
    about = json.loads((root / "modality.json").read_text())
    assert about["plugin_sha256"] == sha256(file)
    assert about["plugin_version"] == f"sha256:{sha256(file)[:12]}"

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    latents = tmp_path / "latents.safetensors"
    for command in (
        ("encode", "--run", root, "--out", latents),
        ("decode", "--run", root, "--latents", latents, "--out", tmp_path / "decoded"),
        ("evaluate", "--run", root),
        ("report", "--run", root),
        ("views", "--run", root),
        ("run", "--plugin", file, "--out", root, "--resume"),
        ("train", "--config", root / "config.yaml", "--out", tmp_path / "again"),
    ):
        code, _, err = functa(*command)
        assert code == 0, (command, err)
        assert "is not what it was" not in err
    assert functa_core.load_run(tmp_path / "again").config.plugin == str(file)


def test_a_changed_file_is_said_and_a_lost_one_refused(functa, file, tmp_path):
    root = tmp_path / "run"
    assert functa("train", "--plugin", file, "--out", root, *TINY)[0] == 0
    file.write_text(ONE + "# changed\n")
    code, _, err = functa("report", "--run", root)
    assert code == 0
    assert err.count(f"the plugin file {file} is not what it was") == 1
    file.unlink()
    code, _, err = functa("report", "--run", root)
    assert code == 2
    assert f"the plugin file of this run is gone: {file}" in err
    assert "config.yaml" in err


def test_python_takes_a_file_too(file, tmp_path):
    config = {"modality": {"plugin": str(file)}, "meta": {"steps": 1}}
    run = functa_core.train(config, tmp_path / "run")
    assert run.modality.name == "mine"


def test_config_and_inspect_take_a_file(functa, file):
    code, out, _ = functa("config", "--plugin", file)
    assert code == 0
    assert yaml.safe_load(out)["modality"]["plugin"] == str(file)
    code, out, _ = functa("inspect", "--plugin", file)
    assert code == 0
    assert "signals" in out


def test_of_several_modalities_one_has_to_be_named(functa, file):
    file.write_text(TWO)
    code, _, err = functa("config", "--plugin", file)
    assert code == 2
    assert "announces mine, other" in err
    assert "--modality" in err
    code, out, _ = functa("config", "--plugin", file, "--modality", "other")
    assert code == 0
    assert yaml.safe_load(out)["modality"]["name"] == "other"
    code, _, err = functa("config", "--plugin", file, "--modality", "third")
    assert code == 2
    assert "'third' was asked for" in err


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("import no_such_module", "failed at import: ModuleNotFoundError"),
        ("def f(:", "failed at import: SyntaxError"),
        ("raise SystemExit(0)", "failed at import: SystemExit"),
        ("from functa_clips import Clips", "its modalities: it announces nothing"),
        (ONE.replace('"mine"', "3"), "Mine has no name"),
        (ONE + "    api_version = 99", "failed at its version"),
        (
            "from functa_core import hookimpl\n@hookimpl\ndef functa_modality(): pass",
            "failed at its hooks",
        ),
    ],
)
def test_a_file_that_fails_says_at_which_stage(text, stage, functa, file, tmp_path):
    file.write_text(text.replace("Again = Mine\nLISTS = [[]]\n    api", "    api"))
    code, _, err = functa("train", "--plugin", file, "--out", tmp_path / "run")
    assert code == 2
    assert err.startswith(f"functa: error: plugin {file} failed at ")
    assert stage in err
    assert not (tmp_path / "run").exists()


def test_what_is_no_file(functa, tmp_path):
    for given, said in ((tmp_path / "no.py", "cannot be read"), (tmp_path, "takes a Python file")):
        code, _, err = functa("train", "--plugin", given)
        assert code == 2
        assert said in err
        assert str(given) in err
    code, _, err = functa("train", "--set", "modality.plugin=3")
    assert code == 2
    assert "modality.plugin must be a path" in err
