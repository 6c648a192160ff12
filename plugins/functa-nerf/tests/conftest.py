import os

import pytest

from functa_core import DataSource
from functa_nerf.config import NerfConfig
from functa_nerf.modality import Nerf


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """One cache for all processes of the tests, so that the embedded set is made once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            folder = folder.parent
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield


@pytest.fixture(scope="session")
def nerf(_cache):
    """The modality, prepared on the embedded set."""
    return prepared()


@pytest.fixture(scope="session")
def make_nerf(_cache):
    """The modality, prepared on what its arguments say."""
    return prepared


def prepared(path=None, skip_bad=False, **options):
    config, source = NerfConfig(**options), DataSource(path, skip_bad=skip_bad)
    first = Nerf(config, source)
    return Nerf(config, source, first.prepare(first.dataset("train")))
