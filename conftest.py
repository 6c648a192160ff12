"""Property tests draw the same examples on every machine and at every run.

To look for new ones: `pytest --hypothesis-profile=default`.
"""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")
