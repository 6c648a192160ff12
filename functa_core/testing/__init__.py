"""The conformance kit: every promise of a modality as a check with a name.

In a plugin's tests:

    from functa_core.testing import conformance

    test_conformance = conformance("clips")

`run_checks(Subject.of("clips"))` does the same without pytest. See docs/testing-plugins.md.
"""

from functa_core.testing.as_tests import conformance
from functa_core.testing.check import Check, Nonconformity
from functa_core.testing.running import CHECKS, Result, run_checks
from functa_core.testing.subject import Subject

__all__ = ["CHECKS", "Check", "Nonconformity", "Result", "Subject", "conformance", "run_checks"]
