"""One plugin cannot spoil another, with distributions that are really broken."""

import json
import os
import subprocess
import sys

import pytest
from distributions import PLUGINS, TINY_IMAGES, install, install_all
from distributions import functa as apart

from functa_core.discovery.installed import installed

ANNOUNCE = """
from functa_core import hookimpl
{class_}
@hookimpl
def functa_modalities():
    return [Broken]
"""
MODALITY = """
from functa_clips import Clips
class Broken(Clips):
    name = "broken"
    api_version = {version}
"""

BROKEN = {
    "import error": ("import no_such_module", "failed", "ModuleNotFoundError"),
    "exits": ("raise SystemExit(7)", "failed", "SystemExit"),
    "kills its process": ("import os; os._exit(3)", "failed", "ended the process"),
    "wrong hook": (
        "from functa_core import hookimpl\n@hookimpl\ndef functa_modalties(): return []",
        "failed",
        "functa_modalties",
    ),
    "wrong signature": (
        "from functa_core import hookimpl\n@hookimpl\ndef functa_event(evnt): pass",
        "failed",
        "evnt",
    ),
    "announces nothing": ("", "failed", "announces nothing"),
    "not a modality": (ANNOUNCE.format(class_="Broken = 3"), "failed", "not a Modality"),
    "exits in its hook": (
        "from functa_core import hookimpl\n@hookimpl\ndef functa_modalities(): raise SystemExit(3)",
        "failed",
        "SystemExit",
    ),
    "not whole": (
        ANNOUNCE.format(
            class_="from functa_core import Modality\nclass Broken(Modality): name = 'broken'"
        ),
        "failed",
        "lacks dataset, observations, render, spec, api_version",
    ),
    "wrong version": (
        ANNOUNCE.format(class_=MODALITY.format(version=99)),
        "incompatible",
        "api_version 99",
    ),
    "options are no attrs class": (
        ANNOUNCE.format(class_=MODALITY.format(version=1) + "    Config = dict"),
        "failed",
        "not an attrs class",
    ),
    "an option of a reserved name": (
        "import attrs\n@attrs.frozen\nclass C:\n    plugin: str = ''\n"
        + ANNOUNCE.format(class_=MODALITY.format(version=1) + "    Config = C"),
        "failed",
        "option 'plugin' of 'broken' is a reserved name",
    ),
    "starts a thread that never ends": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1e6,)).start()\n"
        + ANNOUNCE.format(class_=MODALITY.format(version=1)),
        "ok",
        "",
    ),
    "prints": (
        "print('noise' * 100)\n" + ANNOUNCE.format(class_=MODALITY.format(version=1)),
        "ok",
        "",
    ),
}


def distribution(case: str) -> tuple[str, str, str]:
    """A broken plugin under a name of its own: entry point, module and text."""
    number = list(BROKEN).index(case)
    text = BROKEN[case][0]
    for quote in "\"'":
        text = text.replace(f"name = {quote}broken{quote}", f"name = {quote}b{number}{quote}")
    return f"b{number}", f"broken{number}", text


@pytest.fixture(scope="module")
def listing(tmp_path_factory):
    """`plugins list --json` with all broken plugins installed at once, each under its own name."""
    folder = tmp_path_factory.mktemp("site")
    cases = [distribution(case) for case in BROKEN]
    install_all(folder, [*cases, ("twin", "twin_a", ""), ("twin", "twin_b", "")])
    done = apart(folder, "plugins", "list", "--json")
    assert done.returncode == 0, done.stderr
    install(folder, "hangs", "hangs", "import time; time.sleep(1e6)")
    return folder, {row["distribution"]: row for row in json.loads(done.stdout)}


@pytest.mark.parametrize("case", BROKEN)
def test_listing_says_what_is_wrong(case, listing):
    _, rows = listing
    row = rows[f"functa-broken{list(BROKEN).index(case)}"]
    _, state, reason = BROKEN[case]
    assert row["state"] == state, row
    assert reason.replace("'broken'", f"'{row['name']}'") in row["reason"]
    assert row["version"] == "0.1"


def test_listing_shows_the_good_beside_the_broken(listing):
    _, rows = listing
    for name in ("images", "nerf", "clips"):
        row = rows[f"functa-{name}"]
        assert (row["state"], row["modalities"]) == ("ok", [name])
    for twin in ("functa-twin_a", "functa-twin_b"):
        assert rows[twin]["state"] == "duplicate"
        assert "functa-twin_a 0.1 and functa-twin_b 0.1" in rows[twin]["reason"]


def test_unreadable_metadata_is_named_and_left_out(tmp_path, monkeypatch, capsys):
    """By what imports no torch, which itself reads all metadata and cannot be imported then."""
    unreadable = tmp_path / "nobodys-1.0.dist-info"
    unreadable.mkdir()
    (unreadable / "entry_points.txt").write_text("[functa]\nno equals sign\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"clips", "images"} <= {entry.name for entry in installed()}
    installed()
    assert capsys.readouterr().err.count("nobodys-1.0.dist-info cannot be read") == 1


@pytest.mark.slow
def test_one_that_hangs_is_given_up(tmp_path):
    text = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(1e6)"
    install(tmp_path, "hangs", "hangs", text)
    done = apart(tmp_path, "plugins", "list", "--json", "--timeout", "3")
    assert done.returncode == 0, done.stderr
    row = next(row for row in json.loads(done.stdout) if row["name"] == "hangs")
    assert row["state"] == "failed"
    assert row["reason"] == "plugin functa-hangs 0.1 did not load within 3 s"


@pytest.mark.slow
def test_a_good_plugin_works_beside_the_broken(listing, tmp_path):
    """Beside all of them at once, one that hangs too; tests/test_isolation.py has each alone."""
    folder, _ = listing
    done = apart(folder, "run", "--modality", "images", "--out", tmp_path / "run", *TINY_IMAGES)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()


def test_asking_for_a_broken_one_shows_its_failure(listing, functa, monkeypatch):
    folder, _ = listing
    monkeypatch.syspath_prepend(folder)
    code, _, err = functa("config", "--modality", "b0")
    assert code == 2
    assert "plugin functa-broken0 0.1 failed at import: ModuleNotFoundError" in err
    assert "pip uninstall functa-broken0" in err
    code, _, err = functa("config", "--modality", "twin")
    assert code == 2
    assert "functa-twin_a 0.1 and functa-twin_b 0.1" in err


def test_known_but_not_installed_says_how_to_install(functa, tmp_path, monkeypatch):
    monkeypatch.setenv("FUNCTA_REGISTRY", str(tmp_path / "r.yaml"))
    (tmp_path / "r.yaml").write_text(
        "- {name: tides, distribution: functa-tides, source: nowhere, entry_point: functa_tides,"
        " api_version: 1, description: Tides.}"
    )
    code, _, err = functa("config", "--modality", "tides")
    assert code == 2
    assert "pip install functa-tides" in err
    _, _, err = functa("config", "--modality", "tide")
    assert "Did you mean 'tides'?" in err
    (tmp_path / "r.yaml").write_text("- {nme: tides}")
    code, _, err = functa("config", "--modality", "tides")
    assert code == 2
    assert "catalogue" in err


def test_help_and_version_import_neither_torch_nor_plugins(tmp_path):
    install(tmp_path, "loud", "loud", "import sys; sys.exit('imported')")
    (tmp_path / "pip.py").write_text("")  # does nothing, successfully
    for arguments in (
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["plugins", "--help"],
        ["loud", "--help"],  # as of a task, which it may be
        ["plugins", "available"],
        ["plugins", "new", "tides"],
        ["plugins", "install", "images"],
        ["plugins", "uninstall", "loud"],
    ):
        code = (
            "import sys\nfrom functa_core.cli.main import main\n"
            f"try: main({arguments!r})\nexcept SystemExit as e: assert e.code == 0\n"
            "assert not {'torch', 'functa_loud', 'functa_clips'} & set(sys.modules)\n"
        )
        path = os.pathsep.join([str(tmp_path), str(PLUGINS), str(PLUGINS.parents[1])])
        environment = {**os.environ, "PYTHONPATH": path}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=tmp_path)
