"""What the README's first screen promises: the default runs, and that they beat their baselines."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from functa_core import load_run


@pytest.fixture(scope="module", params=["images", "nerf", "sphere", "voxels"])
def default_run(request, tmp_path_factory):
    """`functa run --modality M` with no other option than where to."""
    out = tmp_path_factory.mktemp("default") / request.param
    done = subprocess.run(
        [sys.executable, "-m", "functa_core", "run", "--modality", request.param, "--out", out],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(out)
    return request.param, out


# The least that the figures may fall to: a change of the method that costs quality shows here.
GOLDEN = {"images": 21.0, "nerf": 16.9, "sphere": 29.5, "voxels": 17.5}
AHEAD_OF_MEAN = {"images": 6.0, "nerf": 3.0, "sphere": 6.0, "voxels": 6.0}


@pytest.mark.slow
def test_default_runs_beat_their_baselines(default_run):
    modality, out = default_run
    metrics = json.loads((out / "metrics.json").read_text())
    ours = metrics["reconstruction"]["test"]["psnr_db"]
    baselines = {name: row["psnr_db"] for name, row in metrics["baselines"].items()}
    assert ours > GOLDEN[modality]
    assert ours > baselines["nearest"]
    assert ours > baselines["mean"] + AHEAD_OF_MEAN[modality]
    assert ("pca" in baselines) == (modality != "nerf")
    assert ("context_psnr_db" in metrics["reconstruction"]["test"]) == (modality == "nerf")


@pytest.mark.slow
def test_pictures_are_of_the_test_signals(default_run):
    """Not a grey blur: decoded pictures resemble their own signal more than any other."""
    modality, out = default_run
    run = load_run(out)
    # Of voxels the first ten are all aeroplanes, some much alike, and of fields all are seasons;
    # six apart they are of all kinds.
    some = slice(0, 60, 6) if modality in ("sphere", "voxels") else slice(0, 10)
    signals = run.dataset("test")[some]
    decoded = run.decode(run.functaset("test").latents[some]).numpy()
    if modality == "images":
        originals = np.stack([np.asarray(signals[i]) / 255 for i in range(10)])
        error = ((decoded[:, None] - originals[None]) ** 2).mean(axis=(2, 3, 4))
        assert (error.argmin(axis=1) == np.arange(10)).all()
    elif modality == "voxels":
        originals = np.stack([np.asarray(signals[i]) for i in range(10)])
        error = ((decoded[:, None] - originals[None]) ** 2).mean(axis=(2, 3, 4))
        assert (error.argmin(axis=1) == np.arange(10)).sum() >= 8
    elif modality == "sphere":
        assert decoded.shape == (10, 46, 90, 1)
        originals = np.stack([signals[i].values for i in range(10)])
        fits = decoded.reshape(10, 1, -1, 1)
        error = ((fits - originals[None]) ** 2 * signals[0].grid.areas[:, None]).sum(axis=(2, 3))
        assert (error.argmin(axis=1) == np.arange(10)).all()
    else:
        assert decoded.shape[2:] == (32, 32, 3)
        corners = decoded[:, :, [0, -1]][:, :, :, [0, -1]]
        assert corners.mean() > 0.9, "the background is white"
        assert decoded[:, :, 12:20, 12:20].mean() < 0.75, "the objects are not"
    page = (out / "report.html").read_text()
    assert page.count("data:image/") >= 2
    assert not re.findall(r'src="(?!data:)', page)
    pictures = [path for path in (out / "figures").rglob("*") if path.suffix in (".png", ".gif")]
    assert {path.parent.name for path in pictures} == {"figures", "data"}
    for picture in pictures:
        with Image.open(picture) as image:
            image.verify()
