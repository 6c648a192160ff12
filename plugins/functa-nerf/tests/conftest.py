import pytest

from functa_core import DataSource
from functa_nerf.config import NerfConfig
from functa_nerf.modality import Nerf


@pytest.fixture(scope="session")
def nerf():
    """The modality, prepared on the embedded set."""
    return prepared()


@pytest.fixture(scope="session")
def make_nerf():
    """The modality, prepared on what its arguments say."""
    return prepared


def prepared(path=None, skip_bad=False, **options):
    config, source = NerfConfig(**options), DataSource(path, skip_bad=skip_bad)
    first = Nerf(config, source)
    return Nerf(config, source, first.prepare(first.dataset("train")))
