"""Property tests draw the same examples on every machine and at every run.

To look for new ones: `pytest --hypothesis-profile=default`.
"""

import os
import sys

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
