"""What all tests have: the same examples of properties on every machine, one core, a cache.

To look for new examples: `pytest --hypothesis-profile=default`.
"""

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

# Compiled modules are kept: each of the hundred processes that tests start compiles them otherwise.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Each process of the tests, and each that it starts, has one core: two processes with two threads
# each on two cores wait for one another far longer than they compute. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,  # a busy machine is no failure
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """One for all processes of the tests: what is embedded is made once, or twice at most."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
