"""The tutorial is true: its files are written, its commands run, its output is what it shows.

In the order of the page, by a user who has a home of his own and an environment of his own. That
environment sees the packages of the one that tests run in, so that nothing is downloaded.
"""

import json
import os
import re
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "modality-in-15-minutes.md"
BLOCK = re.compile(r"(<!-- not run[^\n]*-->\n)?^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.M | re.S)


def blocks():
    """(not run?, language, file, text) of each fenced block."""
    return [match.groups() for match in BLOCK.finditer(PAGE.read_text())]


def shown_in(line, output):
    """Whether a line of the page, with "…" for anything, is a line of the output."""
    parts = [re.escape(" ".join(part.split())) for part in line.split("…")]
    pattern = re.compile(".*".join(parts).replace(r"\ .*\ ", ".*"))
    return any(pattern.fullmatch(" ".join(there.split())) for there in output.splitlines())


def test_the_page_is_read_as_it_is_written():
    languages = [language for _, language, _, _ in blocks()]
    assert PAGE.read_text().count("```") == 2 * len(languages)
    assert set(languages) == {"sh", "python", "markdown", "text"}
    assert [text for skipped, _, _, text in blocks() if skipped] == [
        text for _, language, _, text in blocks() if "venv" in text or "twine" in text
    ]
    assert shown_in("a … ok", "b\na   lot  of ok")
    assert not shown_in("a … ok", "a lot of okay")


@pytest.fixture
def environment(tmp_path):
    """The variables of a shell in a fresh environment."""
    place = tmp_path / "environment"
    venv.create(place, symlinks=True)
    packages = sysconfig.get_path("purelib", vars={"base": str(place)})
    outer = [folder for folder in site.getsitepackages() if Path(folder).is_dir()]
    lines = [f"import site; site.addsitedir({folder!r})" for folder in outer]
    Path(packages, "outer.pth").write_text("\n".join(lines))
    for name, module in {
        "functa": "functa_core",
        "pip": "pip",
        "pytest": "pytest",
        "mypy": "mypy",
    }.items():
        script = place / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {place}/bin/python -P -m {module} "$@"\n')
        script.chmod(0o755)
    (tmp_path / "home").mkdir()
    outside = ("PYTHONPATH", "PYTHONSTARTUP", "XDG_CACHE_HOME", "VIRTUAL_ENV")
    kept = {key: value for key, value in os.environ.items() if key not in outside}
    return kept | {
        "HOME": str(tmp_path / "home"),
        "PATH": f"{place}/bin:{Path(sys.executable).parent}:{kept['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # which to pip means: none, so nothing is downloaded
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


@pytest.mark.slow
def test_the_tutorial_from_beginning_to_end(environment, tmp_path):
    folder = tmp_path / "home" / "plucks"
    folder.mkdir()
    output = ""
    for skipped, language, file, text in blocks():
        if skipped:
            continue
        if file is not None:
            (folder / file).write_text(text)
        elif language == "sh":
            where = tmp_path / "where"
            done = subprocess.run(
                ["bash", "-e", "-c", f"{text}\npwd > {where}"],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=900,
            )
            output = done.stdout
            assert done.returncode == 0, f"{text}\n{output}"
            folder = Path(where.read_text().strip())
        elif language == "text":
            for line in text.splitlines():
                assert shown_in(line, output), f"{line}\nis not in\n{output}"
    report = (tmp_path / "home" / "plucks" / "run" / "report.html").read_text()
    assert report.count("<figcaption>Note fit-") == 8
    metrics = json.loads((tmp_path / "home" / "plucks" / "run" / "metrics.json").read_text())
    assert 35 < metrics["reconstruction"]["test"]["psnr_db"] < 45  # "about 40 dB"
