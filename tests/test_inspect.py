"""`functa inspect --out`, and the same pictures of the data in the report."""

import numpy as np
import pytest
from distributions import QUICK_TASKS
from PIL import Image


@pytest.mark.parametrize(
    ("modality", "picture"),
    [("images", "images.png"), pytest.param("nerf", "cameras.png", marks=pytest.mark.slow)],
)
def test_pictures_of_the_embedded_data(functa, modality, picture, tmp_path):
    out = tmp_path / "new" / "look"
    code, printed, err = functa("inspect", "--modality", modality, "--out", out)
    assert code == 0, err
    assert f"{out / picture}: " in printed.splitlines()[-1]
    assert [path.name for path in out.iterdir()] == [picture]
    with Image.open(out / picture) as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_inspect_writes_nothing_without_out(functa, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert functa("inspect", "--modality", "nerf")[0] == 0
    assert not list(tmp_path.iterdir())


def test_a_modality_without_pictures_says_so(functa, tmp_path):
    code, out, _ = functa("inspect", "--modality", "clips", "--out", tmp_path / "p")
    assert code == 0
    assert "draws no pictures" in out
    assert not list((tmp_path / "p").iterdir())


@pytest.mark.slow
def test_the_report_shows_the_data(functa, tmp_path):
    small = ["meta.steps=1", "modality.resolution=8", "modality.max_views=4", *QUICK_TASKS]
    assignments = [word for setting in small for word in ("--set", setting)]
    code, _, err = functa("run", "--modality", "nerf", *assignments, "--out", tmp_path / "run")
    assert code == 0, err
    page = (tmp_path / "run" / "report.html").read_text()
    _, data = page.split("<h2>The data</h2>")
    assert 'src="data:image/png;base64,' in data.split("<h2>")[0]
    assert "The cameras of scene" in data.split("<h2>")[0]
    assert (tmp_path / "run" / "figures" / "data" / "cameras.png").is_file()
