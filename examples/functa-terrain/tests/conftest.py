"""Every test of `terrain` has a cache of its own, and a smaller embedded set."""

import pytest

from functa_terrain import embedded


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(embedded, "TRAIN", 2)
        patch.setattr(embedded, "TEST", 1)
        yield
