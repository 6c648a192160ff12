"""The checks as tests of pytest, which is imported nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from functa_core.modality import Modality
from functa_core.tasks.base import Task
from functa_core.testing.running import CHECKS, refuse_unknown, run_check
from functa_core.testing.subject import Subject


def conformance(
    modality: str | type[Modality[Any]],
    *,
    expected_failures: Mapping[str, str] | None = None,
    data: Path | None = None,
    tasks: Sequence[type[Task]] = (),
    **options: Any,
) -> Callable[[str], None]:
    """A test function with one case for each check, to be given a name that starts with `test_`.

    Args:
        modality: an installed one's name, or a class.
        expected_failures: checks that will fail, each with a reason; strict, so that one which
            passes is a failure.
        data: a file or folder, None for the embedded set.
        tasks: of the plugin that a class is of, where the class names them.
        options: of the modality: choose such that make it small.

    Raises:
        UserError: an expected failure of a check that does not exist.
    """
    import pytest

    expected = dict(expected_failures or {})
    refuse_unknown(expected)
    subject = Subject(modality, options, data, tasks)

    @pytest.mark.parametrize("check", list(CHECKS))
    def test(check: str) -> None:
        result = run_check(subject, CHECKS[check], expected.get(check))
        about = f"{result.message}\n{result.summary}"
        if result.state == "failed":
            pytest.fail(about, pytrace=False)
        if result.state == "expected":
            pytest.xfail(result.message)
        if result.state == "skipped":
            pytest.skip(result.message)

    return test
