"""`functa plugins available|check|new|install|uninstall`, with a pip and a kit that only say what
they were asked for."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from functa_core.discovery import checking

PIP = """
import json, os, sys
print("pip says hello")
with open(os.environ["PIP_SAW"], "a") as file: print(json.dumps(sys.argv[1:]), file=file)
sys.exit(int(os.environ.get("PIP_EXITS", "0")))
"""


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    """A catalogue of `tides`, whose folder is here, and `winds`, whose folder is not."""
    row = "- {{name: {0}, distribution: functa-{0}, source: {0}, entry_point: functa_{0}, "
    row += "api_version: 1, description: About {0}.}}\n"
    (tmp_path / "r.yaml").write_text(row.format("tides") + row.format("winds"))
    (tmp_path / "tides").mkdir()
    monkeypatch.setenv("FUNCTA_REGISTRY", str(tmp_path / "r.yaml"))
    return tmp_path


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """Calls of pip so far, as lists of arguments."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "pip.py").write_text(PIP)
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("PIP_SAW", str(site / "saw"))

    def calls() -> list[list[str]]:
        saw = site / "saw"
        return [json.loads(line) for line in saw.read_text().splitlines()] if saw.exists() else []

    return calls


def test_available_prints_the_catalogue(functa, catalogue):
    code, out, _ = functa("plugins", "available")
    assert code == 0
    assert str(catalogue / "r.yaml") in out
    tides, winds = out.splitlines()[-2:]
    assert "functa-tides" in tides
    assert str(catalogue / "tides") in tides
    assert "About winds." in winds
    assert "by name" in winds


def test_available_says_what_is_installed(functa, monkeypatch):
    monkeypatch.delenv("FUNCTA_REGISTRY", raising=False)
    _, out, _ = functa("plugins", "available")
    rows = {line.split()[0]: line.split() for line in out.splitlines()[2:]}
    assert "installed" in rows["images"]


def test_install_takes_the_folder_first(functa, catalogue, pip):
    code, out, _ = functa("plugins", "install", "tides")
    assert code == 0
    assert pip() == [["install", str(catalogue / "tides")]]
    said = out.index(f"{sys.executable} -m pip install {catalogue / 'tides'}")
    assert str(catalogue / "r.yaml") in out
    assert said < out.index("pip says hello")


def test_install_takes_the_name_else(functa, catalogue, pip):
    assert functa("plugins", "install", "winds")[0] == 0
    assert pip() == [["install", "functa-winds"]]


def test_what_cannot_be_installed_is_the_users_error(functa, catalogue, pip, monkeypatch):
    monkeypatch.setenv("PIP_EXITS", "1")
    code, _, err = functa("plugins", "install", "winds")
    assert code == 2
    assert "there is no folder winds" in err
    assert "could not install functa-winds" in err
    code, _, err = functa("plugins", "install", "tides")
    assert code == 2
    assert str(catalogue / "tides") in err
    calls = pip()
    code, _, err = functa("plugins", "install", "tide")
    assert code == 2
    assert "Did you mean 'tides'?" in err
    assert pip() == calls


@pytest.mark.parametrize("name", ["clips", "functa-clips", "Functa_Clips"])
def test_uninstall_takes_modality_or_distribution(name, functa, pip):
    code, out, _ = functa("plugins", "uninstall", name)
    assert code == 0
    assert pip() == [["uninstall", "--yes", "functa-clips"]]
    assert out.index("running: ") < out.index("pip says hello")


def test_uninstall_refuses_what_is_no_plugin(functa, pip, monkeypatch):
    for name in ("numpy", "functa-core", "tides"):
        code, _, err = functa("plugins", "uninstall", name)
        assert code == 2
        assert f"'{name}' is no plugin" in err
    assert pip() == []
    monkeypatch.setenv("PIP_EXITS", "1")
    code, _, err = functa("plugins", "uninstall", "clips")
    assert code == 2
    assert "could not uninstall functa-clips" in err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Tides", "cannot be a plugin's name"),
        ("1st", "cannot be"),
        ("a-b", "cannot be"),
        ("a_", "cannot be"),
        ("../a", "cannot be"),
        ("x" * 25, "at most 24"),
        ("clips", "there is a plugin 'clips' here already"),
        ("core", "module functa_core"),
        ("winds", "functa-winds of the plugin catalogue"),
        ("full", "exists already"),
    ],
)
def test_new_refuses(name, said, functa, catalogue, tmp_path, monkeypatch):
    (tmp_path / "functa-full").mkdir()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, _, err = functa("plugins", "new", name)
    assert code == 2
    assert said in err
    assert sorted(tmp_path.rglob("*")) == before


def as_installed(folder: Path) -> None:
    """Write beside a plugin's package the metadata that an installation would."""
    about = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
    )
    lines = [f"{name} = {value}" for name, value in about["entry-points"]["functa"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[functa]", *lines]))


def python(folder: Path, *arguments: str) -> str:
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["a1", "x" * 12 + "_" + "y" * 11])
def test_what_new_makes_is_tidy(name, functa, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = functa("plugins", "new", name)
    assert code == 0
    folder = Path(out.splitlines()[-1])
    python(folder.absolute(), "ruff", "check", "--no-cache", ".")
    python(folder.absolute(), "ruff", "format", "--no-cache", "--check", ".")
    assert (folder / ".github" / "workflows" / "ci.yml").is_file()
    assert f"functa run --modality {name}" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_what_new_makes_passes_its_own_tests(functa, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    functa("plugins", "new", "sea_level")
    folder = tmp_path / "functa-sea-level"
    as_installed(folder)
    said = python(folder, "pytest", "-q", "-p", "no:cacheprovider")
    assert " passed" in said
    assert "failed" not in said


@pytest.mark.slow
def test_what_new_makes_is_typed_and_runs(functa, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    functa("plugins", "new", "sea_level")
    folder = tmp_path / "functa-sea-level"
    as_installed(folder)
    python(folder, "mypy")
    python(folder, "functa_core", "run", "--modality", "sea_level", "--out", str(tmp_path / "run"))
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    ours = figures["reconstruction"]["test"]["psnr_db"]
    assert ours > figures["baselines"]["mean"]["psnr_db"] + 6


def kit(tmp_path, monkeypatch, text):
    """A conformance kit that does as it is told, and a plugin that loads."""
    lines = ["import json, sys, time", "from pathlib import Path"]
    lines += ["def answer(rows): Path(sys.argv[-1]).write_text(json.dumps(rows))", text]
    (tmp_path / "fake_kit.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(checking, "KIT", "fake_kit")
    ok = {"state": "ok", "reason": "", "modalities": ["clips"]}
    monkeypatch.setattr(checking, "probe", lambda entries, limit: [ok for _ in entries])


ROWS = [
    {"name": "shapes", "summary": "shapes are right", "state": "passed", "message": ""},
    {"name": "chunks", "summary": "chunks agree", "state": "skipped", "message": "no rays"},
]
BAD = {"name": "range", "summary": "values in range", "state": "failed", "message": "7 > 1\nat 3"}


def test_check_passes_and_explains(functa, tmp_path, monkeypatch):
    # What the plugin prints does not disturb the answer.
    kit(tmp_path, monkeypatch, f"print('[1] ['); answer({ROWS!r}); print('bye [')")
    code, out, _ = functa("plugins", "check", "clips")
    assert code == 0
    assert "passed   shapes: shapes are right" in out
    assert "no rays" in out
    assert json.loads(functa("plugins", "check", "clips", "--json")[1]) == ROWS


def test_check_fails_with_what_was_found(functa, tmp_path, monkeypatch):
    kit(tmp_path, monkeypatch, f"answer({[*ROWS, BAD]!r}); sys.exit(1)")
    code, out, _ = functa("plugins", "check", "clips")
    assert code == 1
    assert "failed   range: values in range\n         7 > 1\n         at 3" in out
    assert "1 of 3 checks failed" in out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise ValueError('no kit')", "exit code 1 (ValueError: no kit)"),
        ("import os; os._exit(0)", "exit code 0"),
        ("sys.exit('functa: no clips there')", "no clips there"),
        ("time.sleep(1e6)", "not done within 1 s"),
    ],
)
def test_checks_that_give_no_answer(text, said, functa, tmp_path, monkeypatch):
    kit(tmp_path, monkeypatch, text)
    limit = 1 if "sleep" in text else 300
    code, _, err = functa("plugins", "check", "clips", "--timeout", limit)
    assert code == 2
    assert said in err


@pytest.mark.slow
def test_the_conformance_kit_is_what_is_run(functa):
    code, out, _ = functa("plugins", "check", "clips", "--set", "modality.longest=16")
    assert code == 0
    assert "second-derivatives" in out
    assert "clips: ok" in out


@pytest.mark.slow
def test_checks_say_what_is_wrong_with_what_they_were_given(functa, tmp_path):
    code, _, err = functa("plugins", "check", "clips", "--data", tmp_path / "none.npz")
    assert code == 2
    assert "none.npz" in err
    code, _, err = functa("plugins", "check", "clips", "--set", "meta.steps=1")
    assert code == 2
    assert "modality.key=value" in err


def test_check_of_what_does_not_load(functa, monkeypatch):
    failed = {"state": "failed", "reason": "plugin functa-clips 1.0 failed at import", "name": ""}
    monkeypatch.setattr(checking, "probe", lambda entries, limit: [failed])
    code, _, err = functa("plugins", "check", "clips")
    assert code == 2
    assert "failed at import" in err
    code, _, err = functa("plugins", "check", "clip")
    assert code == 2
    assert "Did you mean 'clips'?" in err
