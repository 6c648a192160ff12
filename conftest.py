"""Property tests draw the same examples on every machine and at every run.

To look for new ones: `pytest --hypothesis-profile=default`.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,  # a busy machine is no failure
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")
