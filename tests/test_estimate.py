"""`functa train --estimate`: what training would take, told before anything is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from functa_core.runs import opening

ASK = ("train", "--modality", "clips", "--estimate")
LABELS = [
    "parameters",
    "weights, gradients, moments",
    "a batch",
    "work",
    "Python, libraries, data",
    "peak",
    "an update",
    "30 updates",
]


@pytest.fixture(autouse=True)
def nothing_written(tmp_path, monkeypatch):
    """Whatever is asked, and whatever comes of it."""
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


def parsed(out: str) -> dict[str, str]:
    return dict(re.split(r":\s+", line, maxsplit=1) for line in out.splitlines())


def number(text: str) -> float:
    """Bytes of what is said in MB or GB."""
    value, unit = text.split()[:2]
    return float(value) * {"MB": 1e6, "GB": 1e9}[unit.rstrip(":")]


def test_it_says_what_a_run_takes(functa):
    code, out, err = functa(*ASK)
    assert (code, err) == (0, "")
    said = parsed(out)
    assert list(said) == LABELS
    # Width 16, depth 3, latent 6: 1·16 + 16 and 16·16 + 16 in front, 16·1 + 1 behind, and
    # 6·32 + 32 from latents to shifts; as many rates as a latent has numbers.
    parameters = 32 + 272 + 17 + 224 + 6
    assert said["parameters"] == str(parameters)
    assert number(said["weights, gradients, moments"]) == pytest.approx(16 * parameters, rel=1e-2)
    assert said["a batch"].endswith("4 signals, 24 each")
    assert said["work"].endswith("4 signals at a time, all observations")
    assert said["peak"].endswith("on cpu, in each process")
    assert said["an update"].endswith("s, measured")
    parts = LABELS[1:5]
    assert number(said["peak"]) == pytest.approx(sum(number(said[p]) for p in parts), rel=2e-2)


@pytest.mark.slow
def test_more_of_anything_takes_more(functa):
    def work(*sets: str) -> float:
        code, out, err = functa(*ASK, *(part for each in sets for part in ("--set", each)))
        assert code == 0, err
        return number(parsed(out)["work"])

    little = work()
    assert work("model.width=32") > little
    assert work("model.depth=5") > little
    assert work("modality.points=48") > little
    assert work("meta.inner_steps=6") > little
    assert work("meta.batch_size=8", "meta.group=8") > little


@pytest.mark.slow
def test_a_limit_is_seen(functa):
    sets = ("--set", "modality.points=null", "--set", "modality.longest=300")
    code, out, _ = functa(*ASK, *sets, "--set", "meta.max_memory=0.0003")
    assert code == 0
    held = parsed(out)
    assert held["work"].endswith(("1 signals at a time, all observations", "of the observations"))
    code, out, _ = functa(*ASK, *sets)
    assert number(held["work"]) < 3e5 < number(parsed(out)["work"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--resume", "--out", "run"), "leave --resume out"),
        (("--set", "meta.max_memory=1e-6"), "meta.max_memory is 1e-06 GB"),
        (("--set", "meta.max_memory=-1"), "meta.max_memory"),
        (("--set", "model.witdh=8"), "model.width"),
        (("--data", "nowhere.npz"), "nowhere.npz"),
        (("--device", "cuda:7"), "no device 'cuda:7'"),
    ],
)
def test_what_cannot_be_trained_cannot_be_estimated(functa, options, said):
    code, out, err = functa(*ASK, *options)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_limit_that_nothing_fits_is_refused_before_a_run_begins(functa):
    sets = ("--set", "meta.max_memory=1e-6")
    code, out, err = functa("train", "--modality", "clips", *sets, "--out", "run")
    assert (code, out) == (2, "")
    assert err.count("\n") == 2
    assert "at least" in err
    assert "Allow more, or lower meta.batch_size" in err


@pytest.mark.slow
def test_as_a_process_of_its_own():
    paths = os.pathsep.join([str(Path(__file__).parent / "plugins"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "functa_core", *ASK],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert list(parsed(done.stdout)) == LABELS
    assert done.stderr == ""


@pytest.mark.parametrize("pays", [False, True])
def test_bfloat16_is_warned_of_where_it_is_emulated(functa, monkeypatch, pays):
    monkeypatch.setattr(opening, "bfloat16_pays", lambda device: pays)
    code, _, err = functa(*ASK, "--set", "meta.precision=bfloat16")
    assert code == 0
    assert ("no instructions for bfloat16" in err) is not pays
