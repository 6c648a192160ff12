"""Tests of `images` have a cache of their own, one for all processes of the tests."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    """One cache for all processes of the tests, so that the embedded set is made once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            folder = folder.parent
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield
