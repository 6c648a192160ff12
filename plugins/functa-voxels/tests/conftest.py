import pytest


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """One cache for all tests of this plugin, so that the embedded set is made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
