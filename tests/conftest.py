"""What every test has: types checked at run time, a stranger's plugin installed."""

import os
import sys
from pathlib import Path

import pytest
import typecheck
from jaxtyping import install_import_hook

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what is claimed bit for bit is claimed for CPUs

PLUGINS = Path(__file__).parent / "plugins"
sys.path.insert(0, str(PLUGINS))

_hook = install_import_hook(
    [
        "functa_core",
        *("functa_images", "functa_nerf", "functa_sphere", "functa_terrain", "functa_voxels"),
    ],
    "typecheck.check",
)


@pytest.fixture(autouse=True)
def _types_checked_anew():
    typecheck.begin()


@pytest.fixture
def functa(capfd):
    """Run the command line in this process: (exit code, standard output, standard error)."""
    from functa_core.cli.main import main

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return call


@pytest.fixture(scope="session")
def clips_run(tmp_path_factory):
    """A finished run of the stranger's modality. Read it only."""
    from functa_core.cli.main import main

    root = tmp_path_factory.mktemp("runs") / "clips"
    with pytest.raises(SystemExit) as ended:
        main(["run", "--modality", "clips", "--out", str(root)])
    assert ended.value.code == 0
    return root


# What imports functa is imported inside fixtures, after the hook above.


@pytest.fixture
def case():
    """Figures of the authors' code for the weights of the release files."""
    import numpy as np
    from published import PARITY

    return np.load(PARITY / "image_shift_linear.npz")


@pytest.fixture(scope="session")
def imported(tmp_path_factory):
    """An imported run. Read it only."""
    from published import NUMPY

    from functa_core.cli.main import main

    out = tmp_path_factory.mktemp("imported") / "run"
    with pytest.raises(SystemExit) as ended:
        main(["import-deepmind", str(NUMPY), "--out", str(out)])
    assert ended.value.code == 0
    return out


@pytest.fixture
def refused(functa, tmp_path, monkeypatch):
    """Import something that must be refused; give the message."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments) -> str:
        before = sorted(tmp_path.rglob("*"))
        code, out, err = functa("import-deepmind", *arguments)
        assert code == 2, (out, err)
        assert sorted(tmp_path.rglob("*")) == before, "something was written"
        assert out == ""
        errors = [line for line in err.splitlines() if line.startswith("functa: error: ")]
        assert len(errors) == 1
        assert "Traceback" not in err
        return err

    return call
