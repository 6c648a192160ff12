import pytest

from functa_core import DataSource
from functa_nerf.config import NerfConfig
from functa_nerf.modality import Nerf


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """One cache for all tests of this plugin, so that the embedded set is made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
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
